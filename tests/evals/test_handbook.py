"""The datasets of the shipped suites: enough questions, and labels that hold in the handbook as it is now."""

from __future__ import annotations

import pytest

from llmops.clients.protocols import Embedder
from llmops.datasets import part_of
from llmops.evals.spec import SuiteSpec
from llmops.ingestion.prepare import Recipe, prepare
from llmops.ingestion.sources.folder import Folder
from llmops.ingestion.spec import FolderSource
from llmops.workspace.files import load_files
from tests.conftest import REPOSITORY

SUITES = load_files(REPOSITORY).suites


@pytest.fixture(scope="module")
def passages(embedder: Embedder) -> dict[str, list[str]]:
    """The text of every chunk of every page, white space aside, as the shipped pipeline makes them."""
    spec = load_files(REPOSITORY).pipelines["handbook"]
    assert isinstance(spec.source, FolderSource)
    source = Folder(spec.source, spec.file)
    recipe = Recipe(spec=spec, source=source, count_tokens=embedder.count_tokens, window=embedder.max_tokens)
    pages = [prepare(item, recipe) for page in source.pages(None, None) for item in page.items]
    return {page.uri: [" ".join(chunk.text.split()) for chunk in page.chunks] for page in pages}


def test_the_gate_of_the_handbook_has_enough_questions() -> None:
    suite = SUITES["handbook"]
    examples = suite.dataset().examples
    held_out = [example for example in examples if part_of(example.example_id, suite.held_out) == "held-out"]
    assert len(examples) >= 90
    assert sum(not example.is_answerable for example in examples) >= 20
    assert len(held_out) >= 30
    assert sum(not example.is_answerable for example in held_out) >= 10
    assert {rule.part for rule in suite.gate} == {"held-out"}


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
def test_every_quote_stands_in_a_passage_of_a_page_that_answers(
    suite: SuiteSpec, passages: dict[str, list[str]]
) -> None:
    lost = []
    for example in suite.dataset().examples:
        assert example.is_answerable == bool(example.sources) == bool(example.evidence), example.example_id
        assert set(example.sources) <= set(passages), example.example_id
        quotes = [" ".join(quote.split()) for quote in example.evidence]
        found = {
            page: [q for q in quotes if any(q in text for text in passages[page])] for page in example.sources
        }
        lost += [(example.example_id, q) for q in quotes if not any(q in hits for hits in found.values())]
        lost += [(example.example_id, page) for page, hits in found.items() if not hits]
    assert lost == []
