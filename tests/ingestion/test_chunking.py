"""Chunks: laws that hold for any document, and what readers see on small ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.clients.protocols import Embedder
from llmops.ingestion.chunking import chunk
from llmops.ingestion.parsing import parse
from llmops.records import Block, BlockKind, Chunk, Document

Piece = tuple[BlockKind, int, str]
LAW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def document(pieces: Sequence[Piece], title: str = "Handbook") -> Document:
    """A document of blocks `(kind, level, text)`; a heading may be empty."""
    parts: list[str] = []
    blocks: list[Block] = []
    length = 0
    for number, (kind, level, text) in enumerate(pieces):
        start = length + 2 * bool(parts)
        blocks.append(
            Block(
                kind=kind,
                start=start,
                end=start + len(text),
                level=level,
                first_line=number + 1,
                last_line=number + 1,
            )
        )
        parts.append(text)
        length = start + len(text)
    return Document(
        document_id="d1",
        uri="guide/handbook.md",
        title=title,
        text="\n\n".join(parts),
        blocks=tuple(blocks),
        media_type="text/markdown",
        content_hash="00",
        acl=("everyone",),
        metadata={"team": "platform"},
    )


def markdown(source: str) -> Document:
    parsed = parse(source.encode(), uri="a.md")
    made = document([], parsed.title)
    return Document(
        **{
            name: getattr(made, name)
            for name in ("document_id", "uri", "media_type", "content_hash", "acl", "metadata")
        },
        title=parsed.title,
        text=parsed.text,
        blocks=parsed.blocks,
    )


WORDS = [
    "gate",
    "opens",
    "Rollback",
    "of",
    "v1.2.",
    "internationalisation",
    "東京都",
    "日本語のとても長い文章です。",
    "🚀",
    "naïve",
]
LONG = st.integers(90, 700).map(lambda n: "x" * n) | st.integers(50, 400).map(lambda n: "字" * n)
SENTENCE = st.lists(
    st.sampled_from(WORDS)
    | st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=9)
    | LONG,
    min_size=1,
    max_size=60,
)
PROSE = SENTENCE.map(" ".join)
LINES = st.lists(PROSE, min_size=1, max_size=5).map("\n".join)
HEADING: st.SearchStrategy[Piece] = st.tuples(
    st.just("heading"), st.integers(1, 6), st.just("") | SENTENCE.map(lambda words: " ".join(words[:12]))
)
SHORT_HEADING: st.SearchStrategy[Piece] = st.tuples(
    st.just("heading"), st.integers(1, 6), st.sampled_from(["Setup", "Use", "Notes", "The gate", "FAQ"])
)
CONTENT: st.SearchStrategy[Piece] = st.tuples(
    st.sampled_from(["paragraph", "list", "table", "code", "quote"]), st.just(0), PROSE | LINES
)
SHORT_CONTENT: st.SearchStrategy[Piece] = st.tuples(
    st.just("paragraph"), st.just(0), st.lists(st.sampled_from(WORDS), min_size=1, max_size=80).map(" ".join)
)
PIECES: st.SearchStrategy[list[Piece]] = st.lists(HEADING | CONTENT, max_size=12)
SIZES = st.sampled_from([(32, 8), (48, 0), (64, 32), (200, 40), (256, 100)])


@LAW
@given(pieces=PIECES, sizes=SIZES, title=st.sampled_from(["Handbook", "", "A rather long title of the document"]))
def test_chunks_cover_the_content_in_order_and_fit_the_encoder(
    embedder: Embedder, pieces: list[Piece], sizes: tuple[int, int], title: str
) -> None:
    made = document(pieces, title)
    max_tokens, min_tokens = sizes
    chunks = chunk(made, count_tokens=embedder.count_tokens, max_tokens=max_tokens, min_tokens=min_tokens)
    assert all(c.text == made.text[c.start : c.end] and c.text.strip() for c in chunks)
    assert all(one.end <= other.start for one, other in itertools.pairwise(chunks))
    covered = {i for c in chunks for i in range(c.start, c.end)}
    for block in made.blocks:
        if block.kind != "heading":
            missing = [i for i in range(block.start, block.end) if i not in covered and not made.text[i].isspace()]
            assert not missing, made.text[missing[0] :][:40]
    assert [c.n_tokens for c in chunks] == embedder.count_tokens([c.embedded_text for c in chunks])
    assert all(c.n_tokens <= max_tokens for c in chunks)
    assert [c.ordinal for c in chunks] == list(range(len(chunks)))
    assert len({c.chunk_id for c in chunks}) == len(chunks)
    assert all((c.uri, c.title, c.acl, c.metadata) == (made.uri, title, made.acl, made.metadata) for c in chunks)
    again = chunk(made, count_tokens=embedder.count_tokens, max_tokens=max_tokens, min_tokens=min_tokens)
    assert again == chunks


@LAW
@given(pieces=st.lists(SHORT_HEADING | SHORT_CONTENT, max_size=14))
def test_every_heading_can_be_found(embedder: Embedder, pieces: list[Piece]) -> None:
    chunks = chunk(document(pieces), count_tokens=embedder.count_tokens)
    for kind, _, text in pieces:
        if kind == "heading":
            assert any(text in c.text or text in c.heading_path for c in chunks), text


@LAW
@given(pieces=st.lists(SHORT_HEADING | SHORT_CONTENT, max_size=14), last=SENTENCE, changed=SENTENCE)
def test_an_edit_in_the_last_section_keeps_the_ids_before_it(
    embedder: Embedder, pieces: list[Piece], last: list[str], changed: list[str]
) -> None:
    def chunks_with(words: list[str]) -> list[Chunk]:
        end: list[Piece] = [("heading", 1, "Last"), ("paragraph", 0, " ".join(words))]
        return chunk(document([*pieces, *end]), count_tokens=embedder.count_tokens)

    before, after = chunks_with(last), chunks_with(changed)
    boundary = len(document([*pieces, ("heading", 1, "Last")]).text) - len("Last")
    closed = [c for c in before if c.end <= boundary][:-1]  # the last one may take a small last section in
    assert [c.chunk_id for c in after[: len(closed)]] == [c.chunk_id for c in closed]


def test_passages_stand_under_their_headings(embedder: Embedder) -> None:
    body = " ".join(["The gate opens when every metric has passed its threshold."] * 6)
    chunks = chunk(
        markdown(f"# Gate\n\n{body}\n\n## Rules\n\n{body}\n\n### Limits\n\n{body}\n\n## FAQ\n\n{body}\n"),
        count_tokens=embedder.count_tokens,
    )
    assert [c.heading_path for c in chunks] == [
        ("Gate",),
        ("Gate", "Rules"),
        ("Gate", "Rules", "Limits"),
        ("Gate", "FAQ"),
    ]
    assert [c.locator for c in chunks] == ["line 3", "line 7", "line 11", "line 15"]
    assert chunks[1].embedded_text == f"Gate > Rules\n{body}"


def test_the_title_stands_first_unless_it_is_the_first_heading(embedder: Embedder) -> None:
    source = "# Opening  the GATE\n\ntext\n"
    [same] = chunk(markdown(f"---\ntitle: Opening the gate\n---\n{source}"), count_tokens=embedder.count_tokens)
    assert same.heading_path == ("Opening the GATE",)
    [other] = chunk(markdown(f"---\ntitle: Manual\n---\n{source}"), count_tokens=embedder.count_tokens)
    assert other.heading_path == ("Manual", "Opening the GATE")
    [bare] = chunk(document([("paragraph", 0, "text")], "Manual"), count_tokens=embedder.count_tokens)
    assert bare.heading_path == ("Manual",)
    [untitled] = chunk(document([("paragraph", 0, "text")], ""), count_tokens=embedder.count_tokens)
    assert untitled.embedded_text == "text"


def test_small_sections_join_their_neighbours_with_their_headings(embedder: Embedder) -> None:
    source = (
        "# Keys\n\n## Make\n\nRun `key add`.\n\n## List\n\nRun `key list`.\n\n## Revoke\n\nRun `key revoke`.\n"
    )
    [joined] = chunk(markdown(source), count_tokens=embedder.count_tokens)
    assert joined.heading_path == ("Keys",)
    assert joined.text == "Make\n\nRun key add.\n\nList\n\nRun key list.\n\nRevoke\n\nRun key revoke."
    assert joined.locator == "lines 5-13"
    apart = chunk(markdown(source), count_tokens=embedder.count_tokens, min_tokens=0)
    assert [c.heading_path for c in apart] == [("Keys", "Make"), ("Keys", "List"), ("Keys", "Revoke")]


def test_a_long_heading_path_is_shortened_from_the_outside(embedder: Embedder) -> None:
    headings: list[Piece] = [("heading", level, f"Level {level} " + "of many words " * 8) for level in range(1, 7)]
    [made] = chunk(
        document([*headings, ("paragraph", 0, "text")]), count_tokens=embedder.count_tokens, max_tokens=100
    )
    assert made.heading_path == (headings[-1][2],)
    assert made.text == "text"
    endless: list[Piece] = [("heading", 1, "word " * 500), ("paragraph", 0, "text")]
    [made] = chunk(document(endless), count_tokens=embedder.count_tokens, max_tokens=100)
    assert made.text == "text"
    assert made.heading_path[0].startswith("word word")


@pytest.mark.parametrize("word", ["x" * 5000, "字" * 5000, "ab-" * 1700, "🚀" * 5000])
def test_a_word_without_an_end_survives(embedder: Embedder, word: str) -> None:
    chunks = chunk(document([("paragraph", 0, f"before {word} after")]), count_tokens=embedder.count_tokens)
    assert "".join("".join(c.text.split()) for c in chunks) == f"before{word}after"
    assert all(c.n_tokens <= 200 for c in chunks)


def test_a_long_table_is_cut_between_rows_and_prose_between_sentences(embedder: Embedder) -> None:
    rows = "\n".join(f"name {n} | value {n}" for n in range(120))
    chunks = chunk(document([("table", 0, rows)]), count_tokens=embedder.count_tokens)
    assert len(chunks) > 2
    assert all(c.text.splitlines()[0].startswith("name") for c in chunks)
    prose = " ".join(f"Sentence {n} says that the gate is closed." for n in range(80))
    chunks = chunk(document([("paragraph", 0, prose)]), count_tokens=embedder.count_tokens)
    assert len(chunks) > 2
    assert all(c.text.startswith("Sentence") and c.text.endswith("closed.") for c in chunks)


def test_the_same_text_twice_has_two_ids(embedder: Embedder) -> None:
    text = "word " * 150
    first, second = chunk(document([("paragraph", 0, text)] * 2), count_tokens=embedder.count_tokens)
    assert first.text == second.text
    assert first.chunk_id != second.chunk_id


def test_pages_are_named_where_a_format_has_them(embedder: Embedder) -> None:
    text = "one\n\ntwo"
    blocks = (Block(kind="paragraph", start=0, end=3, page=1), Block(kind="paragraph", start=5, end=8, page=2))
    made = document([("paragraph", 0, "x")])
    paged = Document(
        document_id="d",
        uri="a.pdf",
        title="t",
        text=text,
        blocks=blocks,
        media_type="application/pdf",
        content_hash="",
        acl=made.acl,
    )
    assert [c.locator for c in chunk(paged, count_tokens=embedder.count_tokens)] == ["pages 1-2"]


@pytest.mark.parametrize("pieces", [[], [("heading", 1, "")]])
def test_a_document_without_text_has_no_chunks(embedder: Embedder, pieces: list[Piece]) -> None:
    assert chunk(document(pieces), count_tokens=embedder.count_tokens) == []


def test_a_document_of_headings_only_can_be_found(embedder: Embedder) -> None:
    pieces: list[Piece] = [("heading", 1, "Gate"), ("heading", 2, "Rules"), ("heading", 2, "Limits")]
    chunks = chunk(document(pieces), count_tokens=embedder.count_tokens)
    assert "Rules" in "".join(c.embedded_text for c in chunks)
    assert "Limits" in "".join(c.embedded_text for c in chunks)
