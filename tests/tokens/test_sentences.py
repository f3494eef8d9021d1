"""Where sentences begin and end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.tokens import sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["One here.", "Two here!", "Three here?", "Four…", "Five"],
        ["See Fig. 3, e.g. this, i.e. that.", "Then stop."],
        ["Dr. Smith met Mr. Jones in the U.S. Senate.", "They spoke."],
        ["J. R. Tolkien wrote it.", "He did."],
        ["It costs 3.50 or 1.2.3 now.", "Version 2.0 is out."],
        ["Run v1.2.", "3 gates passed."],
        ["Is it?", "(Yes, it is.)", "Good."],
        ["He said “stop.”", "She did."],
        ["Open config.yaml and www.example.org now.", "Done."],
        ["Wait... and go on.", "Now."],
    ],
)
def test_prose_is_split_at_the_ends_of_sentences(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected


def test_cjk_sentences_need_no_blank() -> None:
    assert sentences("これは文です。次の文です！「本当？」はい。") == [
        "これは文です。",
        "次の文です！",
        "「本当？」",
        "はい。",
    ]


def test_list_items_rows_and_headings_are_sentences_of_their_own() -> None:
    text = "Steps\n\n1. Open the file.\n2. Read it\n- note\n  * inner\n# Heading\n| a | b\nplain line\ngoes on"
    assert sentences(text) == [
        "Steps",
        "1. Open the file.",
        "2. Read it",
        "- note",
        "* inner",
        "# Heading",
        "| a | b\nplain line\ngoes on",
    ]


def test_a_sentence_may_run_over_a_line_break() -> None:
    assert sentences("This goes\non here. Next\none.") == ["This goes\non here.", "Next\none."]


@pytest.mark.parametrize("text", ["", "   \n\t\n ", "\u3000"])
def test_blank_texts_have_no_sentences(text: str) -> None:
    assert sentence_spans(text) == []


TEXT = st.text() | st.lists(
    st.sampled_from(
        ["Word", "e.g.", "3.5", "U.S.", ".", "!", "。", "…", "\n", "\n\n", " ", "- ", "1. ", ")", "J."]
    )
).map("".join)


@given(TEXT)
def test_spans_are_ordered_disjoint_and_cover_every_character_that_is_not_blank(text: str) -> None:
    spans = sentence_spans(text)
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(i in covered for i, char in enumerate(text) if not char.isspace())
    assert all(not text[start].isspace() and not text[end - 1].isspace() for start, end in spans)


def test_a_long_row_of_dots_is_no_burden() -> None:
    """A table of contents, or an attack: the time once grew with the square of the row."""
    text = "Contents " + "." * 300_000 + "7"
    assert sentences(text) == [text]
