"""How much of an answer stands in what it cites."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.records import Chunk, Hit, Passage
from llmops.serving.groundedness import groundedness, statements_of


def passage(number: int, text: str, *headings: str) -> Passage:
    chunk = Chunk(
        chunk_id=f"c{number}",
        document_id=f"d{number}",
        ordinal=0,
        start=0,
        end=len(text),
        text=text,
        n_tokens=1,
        heading_path=headings,
        locator="line 1",
        uri=f"{number}.md",
        title="",
        acl=("everyone",),
        metadata={},
    )
    return Passage(
        number=number, hit=Hit(chunk=chunk, score=1.0, rank=number, dense_score=None, sparse_score=None)
    )


HOURS = passage(1, "The library opens at nine and closes at six.")
FEES = passage(2, "A late book costs twenty cents.")

STATEMENTS = {
    "It opens at nine [1].": [("It opens at nine .", (1,))],
    "It opens at nine. [1]": [("It opens at nine.", (1,))],
    "It opens. [1] It closes. [2]": [("It opens.", (1,)), ("It closes.", (2,))],
    "It opens.[1] It closes.[2][3]": [("It opens. It closes.", (1, 2, 3))],
    "It opens. [1] [2]": [("It opens.", (1, 2))],
    "It opens [1]. [2]": [("It opens .", (1, 2))],
    "[1] It opens.": [("It opens.", (1,))],
    "It opens. [1]\n\n[2] It closes.": [("It opens.", (1,)), ("It closes.", (2,))],
    "It opens.\n[1]": [("It opens.", (1,))],
    "- It opens [1]\n- It closes [2]": [("- It opens", (1,)), ("- It closes", (2,))],
    "It opens. It closes.": [("It opens.", ()), ("It closes.", ())],
    "[1][2]": [],
    " \n": [],
    "": [],
}


@pytest.mark.parametrize(("text", "expected"), STATEMENTS.items(), ids=map(repr, STATEMENTS))
def test_each_sentence_has_the_markers_that_follow_it(
    text: str, expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert statements_of(text) == expected


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The library opens at nine [1].", 1.0),
        ("The library opens at nine. [1]", 1.0),
        ("The library opens at nine. [1] A late book costs twenty cents. [2]", 1.0),
        ("The library opens at nine. [2] A late book costs twenty cents. [1]", 0.0),
        ("A late book costs twenty cents [1][2].", 1.0),
        ("The library opens at nine [7].", 1.0),  # names no passage: any will do
        ("The library opens at nine.", 1.0),
        ("Dragons breathe fire [1].", 0.0),
        ("The library opens at nine [1]. Dragons breathe fire [1].", 0.5),
        ("```\nlibrary = opens\n```\n[1]", 1.0),
    ],
)
def test_the_share_is_that_of_the_cited_passages(text: str, share: float) -> None:
    assert groundedness(text, [HOURS, FEES]) == pytest.approx(share)


def test_headings_support_as_well() -> None:
    headed = passage(3, "Closed.", "Handbook", "Sunday hours")
    assert groundedness("Sunday hours: closed [3].", [headed]) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", " ", "[1]", "[1] [2]\n", "…", "!"])
def test_a_text_that_states_nothing_has_no_value(text: str) -> None:
    assert groundedness(text, [HOURS]) is None


def test_without_passages_nothing_is_grounded() -> None:
    assert groundedness("The library opens at nine.", []) == 0.0


@given(st.text(st.sampled_from("ab. \n[]123`-é"), max_size=60))
def test_any_text_has_a_share_or_none(text: str) -> None:
    share = groundedness(text, [HOURS, FEES])
    assert share is None or 0 <= share <= 1
    assert all(words and "[1]" not in words for words, _ in statements_of(text))
