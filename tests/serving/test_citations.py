"""Markers in a stream become citations, wherever the stream is cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmops.records import Chunk, Hit, Passage
from llmops.retrieval import pack
from llmops.retrieval.spec import PackSpec
from llmops.serving.citations import CitationFilter, cite


def passages(n: int) -> tuple[Passage, ...]:
    found = []
    for number in range(1, n + 1):
        chunk = Chunk(
            chunk_id=f"00000000-0000-0000-0000-{number:012}",
            document_id=f"doc-{number}",
            uri=f"{number}.md",
            title="Title",
            ordinal=0,
            text=f"text {number}",
            start=0,
            end=6,
            heading_path=("Guide", "Part"),
            locator=f"lines {number}-9",
            n_tokens=3,
            acl=("everyone",),
        )
        hit = Hit(chunk=chunk, rank=number, score=1.0, dense_score=None, sparse_score=None)
        found.append(Passage(number=number, hit=hit))
    return tuple(found)


def filtered(*pieces: str, n: int = 3) -> tuple[str, list[int], int]:
    """What left, which passages it cites in order, and how many markers were dropped."""
    citations = CitationFilter(passages(n))
    text = "".join([*(citations.feed(piece) for piece in pieces), citations.finish()])
    return text, [citation.number for citation in citations.citations], citations.n_dropped


@pytest.mark.parametrize(
    ("text", "left", "cited", "dropped"),
    [
        ("Yes [1].", "Yes [1].", [1], 0),
        ("Yes [2][1] and [2].", "Yes [2][1] and [2].", [2, 1], 0),
        ("Yes [1, 2].", "Yes [1][2].", [1, 2], 0),
        ("Yes [1,3 ,2].", "Yes [1][3][2].", [1, 3, 2], 0),
        ("Yes [9].", "Yes.", [], 1),
        ("Yes \t[9] [8].", "Yes.", [], 2),
        ("Yes [1, 9].", "Yes [1].", [1], 1),
        ("Yes [0].", "Yes.", [], 1),
        ("row[0] = x[9]", "row[0] = x[9]", [], 0),
        ("as in row[1]", "as in row[1]", [1], 0),
        ("a [9", "a [9", [], 0),
        ("a [", "a [", [], 0),
        ("a  ", "a  ", [], 0),
        ("[] [x] [1.5] [-1] [12345]", "[] [x] [1.5] [-1] [12345]", [], 0),
        ("[note](https://example.org) [1]", "[note](https://example.org) [1]", [1], 0),
        ("[1, 2, 3, 1, 2, 3, 1]", "[1, 2, 3, 1, 2, 3, 1]", [], 0),
        ("", "", [], 0),
    ],
)
def test_markers_are_resolved(text: str, left: str, cited: list[int], dropped: int) -> None:
    assert filtered(text) == (left, cited, dropped)


def test_a_citation_says_what_it_names() -> None:
    citations = CitationFilter(passages(2))
    citations.feed("[2]")
    [citation] = citations.citations
    assert (citation.number, citation.document_id, citation.uri) == (2, "doc-2", "2.md")
    assert (citation.title, citation.locator, citation.text) == ("Guide > Part", "lines 2-9", "text 2")


def test_text_is_held_back_only_while_it_may_become_a_marker() -> None:
    citations = CitationFilter(passages(1))
    assert citations.feed("Yes") == "Yes"
    assert citations.feed(" [1") == ""
    assert citations.feed("]") == " [1]"
    assert citations.feed(" [a") == " [a"
    assert citations.feed("b\n") == "b\n"
    assert citations.feed(" [" + "1, " * 20 + "x") == " [" + "1, " * 20 + "x"


_text = st.lists(
    st.sampled_from(
        ["[", "]", "1", "2", "9", "0", ",", ", ", " ", "\t", "\n", "a", ".", "[1]", "[1, 2]", "[9]", "x[0]"]
    ),
    max_size=25,
).map("".join)


@given(_text, st.data())
@example("a [9] [8]b", None)
def test_the_output_does_not_depend_on_the_cuts(text: str, data: st.DataObject | None) -> None:
    whole = filtered(text)
    assert filtered(*text) == whole
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert filtered(*pieces) == whole


@given(_text)
def test_every_marker_that_leaves_names_a_passage_or_follows_a_word(text: str) -> None:
    left, cited, _ = filtered(text)
    assert set(cited) <= {1, 2, 3}
    assert filtered(left)[1] == cited


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", [" ", "[", "[1", "[1]", "[9] ", " ["])
def test_a_long_text_at_once_is_no_trouble(piece: str) -> None:
    filtered(piece * 100_000 + "x")


# A passage made of several stretches of its document

DOCUMENT = "The desk opens at nine.\n\nA badge costs five euros.\n\nLunch is at noon."


def joined() -> Passage:
    """Three neighbours as one passage; the second was the best hit."""
    hits = []
    for ordinal, (start, end) in enumerate([(0, 23), (25, 50), (52, 69)]):
        chunk = replace(
            passages(1)[0].hit.chunk,
            chunk_id=f"chunk-{ordinal}",
            ordinal=ordinal,
            text=DOCUMENT[start:end],
            start=start,
            end=end,
            locator=f"line {2 * ordinal + 1}",
        )
        rank = (2, 1, 3)[ordinal]
        hits.append(Hit(chunk=chunk, rank=rank, score=1 / rank, dense_score=None, sparse_score=None))
    (made,) = pack(sorted(hits, key=lambda hit: hit.rank), budget_tokens=100, spec=PackSpec(merge=True))
    return made


@pytest.mark.parametrize(
    ("said", "chunk_id", "locator"),
    [
        ("You pay five euros for a badge [1].", "chunk-1", "line 3"),
        ("A badge costs five euros. The desk opens at nine. [1]", "chunk-0", "line 1"),
        ("It opens at nine [1]", "chunk-0", "line 1"),
        ("At noon there is lunch [1, 1].", "chunk-2", "line 5"),
        ("I do not know [1].", "chunk-1", "line 3"),
        ("[1]", "chunk-1", "line 3"),
    ],
)
def test_a_quote_is_the_stretch_that_the_sentence_means(said: str, chunk_id: str, locator: str) -> None:
    for pieces in ([said], list(said)):
        citations = CitationFilter([joined()])
        for piece in pieces:
            citations.feed(piece)
        citations.finish()
        [citation] = citations.citations
        assert (citation.chunk_id, citation.locator) == (chunk_id, locator)
        assert citation.text in DOCUMENT


def test_a_quote_of_one_stretch_is_all_that_was_handed_over() -> None:
    chunk = replace(passages(1)[0].hit.chunk, text="five euros", context=DOCUMENT[25:50], context_start=25)
    hit = Hit(chunk=chunk, rank=1, score=1.0, dense_score=None, sparse_score=None)
    for passage in (Passage(number=1, hit=hit), *pack([hit], budget_tokens=100)):
        assert cite(passage).text == "A badge costs five euros."
