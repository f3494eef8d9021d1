"""Strategies of other packages, through real entry points."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from llmops.clients.protocols import Embedder
from llmops.config import Spec, load_spec
from llmops.errors import ConfigurationError, DocumentError, SpecError
from llmops.ingestion.chunking import AnyChunkSpec, ChunkSpec, chunk_document, recipe
from llmops.ingestion.chunking.spec import PluginSpec
from tests.ingestion.test_chunking import document

MODULE = '''
from llmops.ingestion.chunking import Piece


def by_clause(document, *, parameters, max_tokens, count_tokens):
    """Cut at a mark; the whole text is the context."""
    if "mark" not in parameters:
        raise ValueError("mark is missing")
    start = 0
    for part in document.text.split(parameters["mark"]):
        end = min(start + len(part) + len(parameters["mark"]), len(document.text))
        yield Piece(start=start, end=end, context=(0, len(document.text)))
        start = end


def lossy(document, *, parameters, max_tokens, count_tokens):
    return [Piece(start=0, end=3)]


def outside(document, *, parameters, max_tokens, count_tokens):
    return [Piece(start=0, end=10_000)]
'''
ENTRY_POINTS = """[llmops.chunkers]
by_clause = contracts_chunking:by_clause
lossy = contracts_chunking:lossy
outside = contracts_chunking:outside
nowhere = contracts_chunking:nowhere
"""


class Holder(Spec):
    kind: ClassVar[str] = "holder"

    chunk: AnyChunkSpec = ChunkSpec()


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with chunkers, installed."""
    info = tmp_path / "site" / "contracts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: contracts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "site" / "contracts_chunking.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(__import__("sys").modules, "contracts_chunking", raising=False)


@pytest.mark.usefixtures("contracts")
def test_a_chunker_of_another_package_cuts(embedder: Embedder, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("chunk: {strategy: by_clause, parameters: {mark: ';'}, max_tokens: 64}")
    spec = load_spec(Holder, file).chunk
    assert recipe(spec) == {"strategy": "by_clause", "parameters": {"mark": ";"}, "max_tokens": 64}
    made = document([("heading", 1, "Terms"), ("paragraph", 0, "One must pay; one may leave; the end.")])
    chunks = chunk_document(made, spec, count_tokens=embedder.count_tokens, window=256)
    assert [c.text for c in chunks] == ["Terms\n\nOne must pay;", "one may leave;", "the end."]
    assert {c.context for c in chunks} == {made.text}
    assert [c.heading_path for c in chunks] == [("Handbook",), ("Handbook", "Terms"), ("Handbook", "Terms")]
    assert [c.locator for c in chunks] == ["lines 1-2", "line 2", "line 2"]


@pytest.mark.usefixtures("contracts")
def test_what_it_cuts_too_large_is_cut_again(embedder: Embedder) -> None:
    spec = PluginSpec(strategy="by_clause", parameters={"mark": ";"}, max_tokens=32)
    made = document([("paragraph", 0, "word " * 200 + "; end")])
    chunks = chunk_document(made, spec, count_tokens=embedder.count_tokens, window=256)
    assert all(c.n_tokens <= 32 and c.handed_text == made.text for c in chunks)


@pytest.mark.usefixtures("contracts")
@pytest.mark.parametrize(
    ("strategy", "error", "said"),
    [
        ("by_clause", ConfigurationError, r"'by_clause' refuses chunk.parameters \{\} \(mark is missing\)"),
        ("lossy", DocumentError, "'lossy' leaves out 'words' of 'guide/handbook.md'"),
        ("outside", DocumentError, r"'outside' names Piece\(start=0, end=10000"),
        ("nowhere", ConfigurationError, "'nowhere' cannot be loaded from 'contracts_chunking:nowhere'"),
        ("unheard_of", ConfigurationError, "no installed package has the chunker 'unheard_of'"),
    ],
)
def test_a_chunker_that_fails_is_named(
    embedder: Embedder, strategy: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        chunk_document(
            document([("paragraph", 0, "Two words")]),
            PluginSpec(strategy=strategy),
            count_tokens=embedder.count_tokens,
            window=256,
        )


def test_a_strategy_that_no_package_brings_is_no_strategy(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("chunk: {strategy: by_clause}")
    with pytest.raises(SpecError, match="has no strategy 'by_clause'; there is: structure"):
        load_spec(Holder, file)
