"""Children are found, and their parent is handed over."""

from __future__ import annotations

from collections.abc import Sequence

from llmops.clients.protocols import Embedder
from llmops.ingestion.chunking import chunk_document
from llmops.ingestion.chunking.spec import ParentChildSpec
from llmops.records import Chunk
from tests.ingestion.test_chunking import Piece, document, markdown

RULE = "The gate opens when every metric has passed its threshold in the last run."


def cut(embedder: Embedder, pieces: Sequence[Piece]) -> list[Chunk]:
    spec = ParentChildSpec(strategy="parent_child", child_tokens=64, parent_tokens=400)
    return chunk_document(document(pieces), spec, count_tokens=embedder.count_tokens, window=256)


def test_children_are_small_and_share_a_parent_larger_than_the_encoder_reads(embedder: Embedder) -> None:
    paragraph: Piece = ("paragraph", 0, " ".join([RULE] * 6))
    chunks = cut(embedder, [("heading", 1, "Rules"), *[paragraph] * 4])
    parents = list(dict.fromkeys(c.handed_span for c in chunks))
    assert len(parents) < len(chunks) / 4
    assert max(c.n_context_tokens for c in chunks) > 256
    assert all(c.n_tokens <= 64 < c.n_context_tokens <= 400 for c in chunks)
    assert {c.heading_path for c in chunks} == {("Handbook", "Rules")}
    assert all(c.text.endswith("run.") for c in chunks)
    assert [c.locator for c in chunks[:3]] == ["line 2", "line 2", "line 3"]


def test_a_small_section_is_its_own_parent(embedder: Embedder) -> None:
    [made] = cut(embedder, [("heading", 1, "Rules"), ("paragraph", 0, RULE)])
    assert (made.text, made.context, made.n_context_tokens) == (RULE, "", 0)


def test_a_short_line_goes_with_the_sentence_after_it(embedder: Embedder) -> None:
    spec = ParentChildSpec(strategy="parent_child", child_tokens=64, parent_tokens=400)
    source = "# Keys\n\n## Make\n\nRun it.\n\n## List\n\n" + " ".join([RULE] * 6)
    chunks = chunk_document(markdown(source), spec, count_tokens=embedder.count_tokens, window=256)
    assert chunks[0].text == f"Make\n\nRun it.\n\nList\n\n{RULE} {RULE} {RULE}"
    assert chunks[0].heading_path == ("Keys",)
    assert chunks[0].locator == "lines 3-9"
