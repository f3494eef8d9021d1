"""The reranker without a model: every part of its score by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.records import Chunk
from llmops.retrieval.lexical import LexicalReranker, nearness


def chunk(text: str, *headings: str, title: str = "") -> Chunk:
    return Chunk(
        chunk_id=text[:8],
        document_id="d",
        uri="d.md",
        title=title,
        ordinal=0,
        text=text,
        start=0,
        end=len(text),
        heading_path=headings,
        locator="",
        n_tokens=5,
        acl=(),
    )


def scores(query: str, *chunks: Chunk) -> list[float]:
    return LexicalReranker().score(query, chunks)


def test_a_passage_with_more_of_the_words_is_better() -> None:
    both, one, none = scores(
        "badge renewal", chunk("Renewal of a badge is free."), chunk("A badge."), chunk("Lunch at noon.")
    )
    assert both > one > none == 0


def test_a_word_that_all_passages_hold_decides_nothing_against_a_rare_one() -> None:
    texts = [chunk("The badge is blue."), chunk("The badge is lost."), chunk("The badge is old.")]
    blue, lost, old = scores("lost badge", *texts)
    assert lost > blue == old


def test_coverage_by_hand() -> None:
    # "badge" in 1 of 2: ln(1 + 1.5 / 1.5) = ln 2. "key" in 0 of 2: ln(1 + 2.5 / 0.5) = ln 6.
    share = math.log(2) / (math.log(2) + math.log(6))
    assert scores("badge key", chunk("A badge."), chunk("Lunch.")) == pytest.approx([0.6 * share, 0.0])


def test_headings_count_as_text_and_once_more() -> None:
    (score,) = scores("badge", chunk("See below.", "Your badge"))
    assert score == pytest.approx(0.6 + 0.2)
    assert scores("badge", chunk("See below.", title="Badge")) == [score]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", 1.0),
        ("a x b", 2 / 3),
        ("b x x a x b", 2 / 3),
        ("a a a b", 1.0),
        ("a x c x b", 3 / 5),
        ("a x x", 0.0),
        ("", 0.0),
    ],
)
def test_nearness_is_the_shortest_stretch_with_all_that_is_there(text: str, expected: float) -> None:
    assert nearness(text.split(), frozenset("abc")) == pytest.approx(expected)


def test_words_that_stand_together_are_better() -> None:
    near, far = scores(
        "retention period", chunk("The retention period is long."), chunk("The period of long and safe retention.")
    )
    assert near > far


def test_a_question_without_words_says_nothing() -> None:
    assert scores("what is it", chunk("It is."), chunk("Was it?")) == [0.0, 0.0]
    assert scores("badge") == []


def test_it_reads_texts_without_spaces() -> None:
    holiday, pay = scores("休假多少天", chunk("员工每年可以休假三十天。"), chunk("工资在月底支付。"))
    assert holiday > pay


_words = st.lists(st.sampled_from(["badge", "key", "lost", "the", "x", "renewal"]), max_size=12).map(" ".join)


@given(_words, st.lists(st.tuples(_words, _words), max_size=6))
def test_scores_lie_in_the_unit_interval_and_repeat(query: str, texts: list[tuple[str, str]]) -> None:
    chunks = [chunk(text, heading) for text, heading in texts]
    found = scores(query, *chunks)
    assert all(0 <= score <= 1 + 1e-12 for score in found)
    assert found == scores(query, *chunks)
    assert scores(query, *chunks[::-1]) == found[::-1]


@given(st.lists(st.sampled_from("abcx"), max_size=14))
def test_nearness_is_what_trying_every_stretch_finds(text: list[str]) -> None:
    asked = frozenset("abc")
    wanted = len(asked & set(text))
    stretches = [
        end - start
        for start in range(len(text))
        for end in range(start + 1, len(text) + 1)
        if len(asked & set(text[start:end])) == wanted
    ]
    expected = wanted / min(stretches) if wanted > 1 else 0.0
    assert nearness(text, asked) == pytest.approx(expected)
