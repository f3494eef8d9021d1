"""What holds for every strategy and any document."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from llmops.clients.protocols import Embedder
from llmops.ingestion.chunking import AnyChunkSpec, ChunkSpec, CountTokens, chunk, chunk_document, needed_window
from llmops.ingestion.chunking.spec import (
    CodeSpec,
    FixedSpec,
    LangchainSpec,
    ParentChildSpec,
    SentenceWindowSpec,
    TableRowsSpec,
)
from llmops.records import Chunk, Document
from tests.ingestion.test_chunking import PIECES, SENTENCE, SHORT_CONTENT, SHORT_HEADING, Piece, document

LAW = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(LAW, max_examples=6)

CELLS = st.lists(SENTENCE.map(lambda words: " ".join(words[:4])), min_size=1, max_size=4).map(" | ".join)
TABLE: st.SearchStrategy[Piece] = st.tuples(
    st.just("table"), st.just(0), st.lists(CELLS, min_size=1, max_size=12).map("\n".join)
)
CODE_LINES = [
    "def f(x):",
    "    return x",
    "class A:",
    "    def g(self):",
    "    @cached",
    "",
    "        pass",
    "# note",
]
CODE: st.SearchStrategy[Piece] = st.tuples(
    st.just("code"),
    st.just(0),
    st.lists(st.sampled_from(CODE_LINES), min_size=1, max_size=40).map("\n".join).map(lambda t: f"```\n{t}\n```"),
)
DOCUMENTS = st.lists(st.one_of(TABLE, CODE, PIECES.map(lambda pieces: pieces[:1])), max_size=8).map(
    lambda found: [piece for one in found for piece in ([one] if isinstance(one, tuple) else one)]
)

CUTS_WORDS = "langchain at a letter"
SPECS: dict[str, AnyChunkSpec] = {
    "structure": ChunkSpec(max_tokens=64, min_tokens=20),
    "sentence_window": SentenceWindowSpec(strategy="sentence_window", max_tokens=48, context_tokens=96),
    "sentence_window_of_3": SentenceWindowSpec(
        strategy="sentence_window", sentences=3, window=1, max_tokens=100, context_tokens=120
    ),
    "fixed": FixedSpec(strategy="fixed", max_tokens=64, overlap_tokens=16),
    "fixed_half_overlap": FixedSpec(strategy="fixed", max_tokens=32, overlap_tokens=16),
    "parent_child": ParentChildSpec(strategy="parent_child", child_tokens=48, parent_tokens=300),
    "table_rows": TableRowsSpec(strategy="table_rows", max_tokens=64, min_tokens=20),
    "table_rows_of_2": TableRowsSpec(strategy="table_rows", max_rows=2),
    "code": CodeSpec(strategy="code", max_tokens=64, min_tokens=20),
    "langchain": LangchainSpec(strategy="langchain", max_tokens=64),
    "langchain_overlap": LangchainSpec(
        strategy="langchain", max_tokens=64, parameters={"chunk_size": 40, "chunk_overlap": 20}
    ),
    CUTS_WORDS: LangchainSpec(
        strategy="langchain",
        splitter="CharacterTextSplitter",
        unit="characters",
        parameters={"separator": "e", "chunk_size": 60, "chunk_overlap": 15},
    ),
    "langchain_language": LangchainSpec(strategy="langchain", language="python", max_tokens=64),
}


def by_thirds(texts: Sequence[str]) -> list[int]:
    """A tokenizer whose counts do not add up: a piece for every three bytes begun, and one special token."""
    return [1 + -(-len(text.encode()) // 3) for text in texts]


def check(made: Document, chunks: list[Chunk], count_tokens: CountTokens, limit: int, context: int | None) -> None:
    assert all(c.text == made.text[c.start : c.end] and c.text.strip() for c in chunks)
    assert all(one.start <= other.start for one, other in itertools.pairwise(chunks))
    covered = {i for c in chunks for i in range(c.start, c.end)}
    for block in made.blocks:
        if block.kind != "heading":
            missing = [i for i in range(block.start, block.end) if i not in covered and not made.text[i].isspace()]
            assert not missing, made.text[missing[0] :][:40]
    assert [c.n_tokens for c in chunks] == count_tokens([c.embedded_text for c in chunks])
    assert all(c.n_tokens <= limit for c in chunks)
    assert [c.ordinal for c in chunks] == list(range(len(chunks)))
    assert len({c.chunk_id for c in chunks}) == len(chunks)
    assert {(c.document_id, c.uri, c.title, c.acl, c.tenant, c.url) for c in chunks} <= {
        (made.document_id, made.uri, made.title, made.acl, made.tenant, made.url)
    }
    for c in chunks:
        start, end = c.handed_span
        assert c.handed_text == made.text[start:end]
        assert start <= c.start <= c.end <= end
        assert c.n_context_tokens == (count_tokens([c.context])[0] if c.context else 0)
        assert context is None or c.n_handed_tokens <= context


def context_limit(spec: AnyChunkSpec) -> int | None:
    if isinstance(spec, SentenceWindowSpec):
        return spec.context_tokens
    return spec.parent_tokens if isinstance(spec, ParentChildSpec) else None


@FEW
@given(pieces=DOCUMENTS | PIECES, title=st.sampled_from(["Handbook", "", "A rather long title of the document"]))
def test_chunks_cover_the_content_and_fit_the_encoder(embedder: Embedder, pieces: list[Piece], title: str) -> None:
    made = replace(document(pieces, title), tenant="acme", url="https://wiki.example/handbook")
    for name, spec in SPECS.items():
        note(name)
        chunks = chunk_document(made, spec, count_tokens=embedder.count_tokens, window=50)
        check(made, chunks, embedder.count_tokens, min(50, needed_window(spec)), context_limit(spec))


@LAW
@given(pieces=DOCUMENTS | PIECES)
def test_the_limits_hold_whatever_the_tokenizer(pieces: list[Piece]) -> None:
    made = document(pieces)
    for name, spec in SPECS.items():
        note(name)
        chunks = chunk_document(made, spec, count_tokens=by_thirds, window=256)
        check(made, chunks, by_thirds, needed_window(spec), context_limit(spec))
        assert chunk_document(made, spec, count_tokens=by_thirds, window=256) == chunks


@LAW
@given(pieces=st.lists(SHORT_HEADING | SHORT_CONTENT, max_size=14))
def test_every_heading_can_be_found(embedder: Embedder, pieces: list[Piece]) -> None:
    for name in SPECS.keys() - {CUTS_WORDS}:
        note(name)
        chunks = chunk_document(document(pieces), SPECS[name], count_tokens=embedder.count_tokens, window=256)
        for kind, _, text in pieces:
            if kind == "heading":
                assert any(text in c.text or text in c.heading_path for c in chunks), text


@LAW
@given(pieces=st.lists(SHORT_HEADING | SHORT_CONTENT, max_size=14), last=SENTENCE, changed=SENTENCE)
def test_an_edit_in_the_last_section_keeps_the_ids_before_it(
    embedder: Embedder, pieces: list[Piece], last: list[str], changed: list[str]
) -> None:
    def chunks_with(words: list[str], spec: AnyChunkSpec) -> list[Chunk]:
        end: list[Piece] = [("heading", 1, "Last"), ("paragraph", 0, " ".join(words))]
        return chunk_document(document([*pieces, *end]), spec, count_tokens=embedder.count_tokens, window=256)

    boundary = len(document([*pieces, ("heading", 1, "Last")]).text) - len("Last")
    for name, spec in SPECS.items():
        note(name)
        if isinstance(spec, LangchainSpec):  # how far a piece reaches is LangChain's affair
            continue
        # A small last section would join a parent, whose children are then cut anew.
        alone = spec.model_copy(update={"min_tokens": 0}) if isinstance(spec, ParentChildSpec) else spec
        before, after = chunks_with(last, alone), chunks_with(changed, alone)
        closed = [c for c in before if c.end <= boundary][:-1]  # the last one may take a small last section in
        assert [c.chunk_id for c in after[: len(closed)]] == [c.chunk_id for c in closed]


def test_structure_is_what_it_was(embedder: Embedder) -> None:
    made = document([("heading", 1, "Gate"), ("paragraph", 0, "It opens. " * 90), ("table", 0, "a | b\n1 | 2")])
    chunks = chunk_document(made, ChunkSpec(), count_tokens=embedder.count_tokens, window=256)
    assert chunks == chunk(made, count_tokens=embedder.count_tokens)
    assert chunks[0].chunk_id == "c760f034-b7c8-5b95-aeb5-0b76baf29ee1"


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("pieces", [[], [("heading", 1, "")]])
def test_a_document_without_text_has_no_chunks(embedder: Embedder, name: str, pieces: list[Piece]) -> None:
    assert chunk_document(document(pieces), SPECS[name], count_tokens=embedder.count_tokens, window=256) == []
