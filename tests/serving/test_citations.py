"""Markers in a stream become citations, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmops.records import Chunk, Hit, Passage
from llmops.serving.citations import CitationFilter


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
