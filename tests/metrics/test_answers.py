"""Answers against references as SQuAD compares them, and who abstains when."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmops.metrics import (
    abstains,
    abstention_f1,
    abstention_precision,
    abstention_recall,
    answer_included,
    citation_precision,
    lexical_groundedness,
    normalized_words,
    token_f1,
    token_recall,
)

words = st.lists(st.sampled_from("the a an opens library nine at nine, 9:00 late-fee".split()), max_size=8).map(
    " ".join
)
texts = words | st.text(max_size=30)
references = st.lists(texts, min_size=1, max_size=4)

# What SQuAD's script computes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  library, at NINE!", ["library", "at", "nine"]),
        ("a an the A An THE", []),
        ("an answer to another theme", ["answer", "to", "another", "theme"]),  # articles are whole words
        ("late-fee 9:00 $0.50", ["latefee", "900", "050"]),  # punctuation goes before words are cut
        ("the-library", ["thelibrary"]),
        ("the.", []),
        ("it’s", ["it’s"]),  # only ASCII punctuation
        ("L'été\tà\u00a0Paris", ["lété", "à", "paris"]),
        ("", []),
    ],
)
def test_words_are_compared_without_case_punctuation_and_articles(text: str, expected: list[str]) -> None:
    assert normalized_words(text) == expected


@pytest.mark.parametrize(
    ("answer", "given_references", "f1", "recall"),
    [
        ("at nine", ["nine"], 2 / 3, 1.0),
        ("nine", ["at nine in the morning"], 2 / 5, 1 / 4),
        ("The library opens at nine.", ["a library opens at nine"], 1.0, 1.0),
        ("nine nine nine", ["nine"], 2 / 4, 1.0),  # a repeat counts once for each time the reference has it
        ("nine", ["nine nine"], 2 / 3, 1 / 2),
        ("ten", ["nine"], 0.0, 0.0),
        ("ten", ["nine", "Ten!", "eleven"], 1.0, 1.0),  # the best of several
        ("", ["nine"], 0.0, 0.0),
        ("nine", [""], 0.0, 1.0),
        ("the", ["..."], 1.0, 1.0),  # both are empty once they are normalized
        ("", [""], 1.0, 1.0),
    ],
)
def test_f1_and_recall_by_hand(answer: str, given_references: list[str], f1: float, recall: float) -> None:
    assert token_f1(answer, given_references) == pytest.approx(f1)
    assert token_recall(answer, given_references) == pytest.approx(recall)


def f1_by_precision_and_recall(answer: str, reference: str) -> float:
    """The definition, word by word: the mean of both is the harmonic one."""
    said, wanted = normalized_words(answer), normalized_words(reference)
    if not said or not wanted:
        return float(said == wanted)
    left, common = list(wanted), 0
    for word in said:
        if word in left:
            left.remove(word)
            common += 1
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall) if common else 0.0


@given(texts, references)
def test_f1_is_the_best_harmonic_mean_of_precision_and_recall(answer: str, given_references: list[str]) -> None:
    best = max(f1_by_precision_and_recall(answer, reference) for reference in given_references)
    assert token_f1(answer, given_references) == pytest.approx(best)


@given(texts, texts)
def test_f1_is_symmetric(one: str, other: str) -> None:
    assert token_f1(one, [other]) == token_f1(other, [one])


@given(texts, references, texts)
def test_every_comparison_lies_in_0_to_1_and_another_reference_never_hurts(
    answer: str, given_references: list[str], another: str
) -> None:
    for metric in (token_f1, token_recall, answer_included):
        value = metric(answer, given_references)
        assert 0 <= value <= metric(answer, [*given_references, another]) <= 1


@given(words, words, references)
def test_saying_more_never_lowers_recall(answer: str, more: str, given_references: list[str]) -> None:
    assert token_recall(answer, given_references) <= token_recall(f"{answer} {more}", given_references)


@given(texts, references)
def test_an_answer_that_is_a_reference_is_right(answer: str, given_references: list[str]) -> None:
    known = [*given_references, answer]
    assert token_f1(answer, known) == token_recall(answer, known) == answer_included(answer, known) == 1


@given(texts, references)
def test_an_answer_is_included_exactly_when_nothing_of_a_reference_is_missing(
    answer: str, given_references: list[str]
) -> None:
    said = Counter(normalized_words(answer))
    expected = any(Counter(normalized_words(reference)) <= said for reference in given_references)
    assert answer_included(answer, given_references) == float(expected)


def test_one_wrong_number_decides() -> None:
    reference = ["You can borrow up to 12 books for 4 weeks"]
    assert answer_included("For 4 weeks you can borrow up to 12 books.", reference) == 1
    assert answer_included("You can borrow up to 12 books for 5 weeks.", reference) == 0
    assert token_recall("You can borrow up to 12 books for 5 weeks.", reference) == pytest.approx(9 / 10)


@pytest.mark.parametrize("metric", [token_f1, token_recall, answer_included])
def test_without_a_reference_there_is_nothing_to_compare(metric: Any) -> None:
    with pytest.raises(ValueError, match="there is no reference answer to compare with"):
        metric("nine", [])


# Citations and groundedness


def test_citation_precision_is_the_share_that_is_right() -> None:
    assert citation_precision([True]) == 1
    assert citation_precision([True, False, True, False]) == 0.5
    assert citation_precision([False]) == 0
    with pytest.raises(ValueError, match="nothing is cited"):
        citation_precision([])


@given(st.lists(st.booleans(), min_size=1))
def test_citation_precision_is_a_mean(cited: list[bool]) -> None:
    assert citation_precision(cited) == pytest.approx(float(np.mean(cited)))


def test_groundedness_is_the_mean_share_of_terms_in_their_context() -> None:
    statements = [{"library", "open", "nine"}, {"fee", "ten"}, set[str]()]
    contexts = [{"library", "open", "six"}, {"fee", "ten", "cent"}, {"anything"}]
    assert lexical_groundedness(statements, contexts) == pytest.approx((2 / 3 + 1) / 2)
    assert lexical_groundedness([set()], [{"anything"}]) is None
    assert lexical_groundedness([], []) is None


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef"))), max_size=5))
def test_groundedness_lies_in_0_to_1_and_grows_with_the_context(pairs: list[tuple[set[str], set[str]]]) -> None:
    statements, contexts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    value = lexical_groundedness(statements, contexts)
    more = lexical_groundedness(statements, [{*context, "a"} for context in contexts])
    if value is None or more is None:
        assert not any(statements)
    else:
        assert 0 <= value <= more <= 1


# Abstention over many answers

decisions = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


def columns(pairs: Sequence[tuple[bool, bool]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    array = np.array(pairs, dtype=np.bool_).reshape(-1, 2)
    return array[:, 0], array[:, 1]


@pytest.mark.parametrize(
    ("abstained", "unanswerable", "precision", "recall", "f1"),
    [
        ("1100", "1010", 1 / 2, 1 / 2, 1 / 2),
        ("1110", "1000", 1 / 3, 1.0, 1 / 2),
        ("0000", "0000", 1.0, 1.0, 1.0),  # nobody abstained and nobody should
        ("0000", "1000", 1.0, 0.0, 0.0),
        ("1000", "0000", 0.0, 1.0, 0.0),
        ("1111", "1111", 1.0, 1.0, 1.0),
        ("", "", 1.0, 1.0, 1.0),
    ],
)
def test_abstention_by_hand(abstained: str, unanswerable: str, precision: float, recall: float, f1: float) -> None:
    given_pairs = [(a == "1", u == "1") for a, u in zip(abstained, unanswerable, strict=True)]
    both = columns(given_pairs)
    assert abstention_precision(*both) == pytest.approx(precision)
    assert abstention_recall(*both) == pytest.approx(recall)
    assert abstention_f1(*both) == pytest.approx(f1)


@settings(max_examples=30, deadline=None)  # the first example imports scikit-learn
@given(decisions)
def test_abstention_agrees_with_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    abstained, unanswerable = columns(pairs)
    for ours, theirs in (
        (abstention_precision, reference.precision_score),
        (abstention_recall, reference.recall_score),
        (abstention_f1, reference.f1_score),
    ):
        expected = theirs(unanswerable, abstained, zero_division=1)
        assert ours(abstained, unanswerable) == pytest.approx(float(expected))


@given(decisions)
def test_abstention_f1_lies_between_precision_and_recall_unless_one_of_them_is_empty(
    pairs: list[tuple[bool, bool]],
) -> None:
    both = columns(pairs)
    precision, recall, f1 = (m(*both) for m in (abstention_precision, abstention_recall, abstention_f1))
    assert 0 <= f1 <= 1
    if both[0].any() and both[1].any():
        assert min(precision, recall) - 1e-12 <= f1 <= max(precision, recall) + 1e-12


# One answer: does it abstain?

UNKNOWN = "I don't know: the documents I can read do not answer this."
REFUSALS = """
I don't know.
I don’t know when the library opens.
I do not know the answer to this question.
I'm sorry, but I don't know.
I am not sure when it opens.
I'm not aware of a swimming pool in this town.
I have no information about that.
I have no idea.
I do not have specific information about the price of a card.
I don't have enough information to answer this.
Sorry, I do not have that information.
I apologize, but I don't have any details about the reading room.
Unfortunately, I could not find an answer in the provided documents.
I couldn't find any information on parking.
I was unable to find this in the handbook.
I cannot answer this question from the passages I was given.
I can't help with that.
I am not able to determine the late fee.
We do not have information on that.
While I'd love to help, I don't have information about pools.
The documents do not answer this.
The provided documents don't mention a swimming pool.
The passages do not say when the cafe opens.
The passages you gave me do not contain the answer.
These documents do not include prices.
The context does not provide information about parking.
The context doesn’t specify the number of seats.
The handbook does not describe how to bake a cake.
The text does not contain any information about France.
None of the passages mentions the capital of France.
Nothing in the documents answers this question.
There is no information in the documents about a swimming pool.
There is no information about this.
There's no mention of a pool in the passages.
There isn't any information on this in the handbook.
There is not enough information to answer.
No information about this was found.
No relevant information is available.
No answer.
This is not mentioned in the provided documents.
The price is not stated in the passages.
That information is not available.
The question cannot be answered from the documents.
It is not possible to say from the passages.
Not enough information.
This is outside the scope of the documents I can read.
Unable to answer based on the given passages.
Unknown.
N/A
I'm sorry.   I don't know.
I don't know. However, the library may have a web page.
"""
ANSWERS = """
The library opens at nine in the morning.
Nine.
No.
No, dogs are not allowed in the reading room.
No information is lost when the process is killed.
The library does not answer calls on Sundays.
The late fee does not contain taxes.
The default configuration does not provide encryption.
The page does not provide a search field.
A document does not have a title when its file has none.
The context window does not include the history.
The gateway cannot find the route when its file is missing.
The server is unable to find the file, so it answers 404.
If you cannot find the key, run the command again.
If the documents do not answer the question, the assistant says that it does not know.
When the passages do not mention a fact, the model must not state it.
Although the passages do not say when, the card costs ten euros.
While the documents do not give examples, they explain the fee in detail.
There is no limit on the number of books.
There is no data loss when the process is killed.
There is no answer key to return: the book stays with you.
There are no fees for children.
The answer is forty seats.
The library opens at nine. The documents do not say when it closes.
You can print on the second floor. I don't know what it costs.
Based on the passages, a card costs ten euros. There is no information about renewals.
Notion is a tool for documents, and the information is stored in the cloud.
Knowledge of the rules is not needed.
You do not know the password: reset it.
I know of two reading rooms.
The unknown answer is what the prompt says.
Sorry is the hardest word in this song.
"""


@pytest.mark.parametrize("answer", [line for line in REFUSALS.splitlines() if line.strip()])
def test_a_refusal_in_other_words_than_the_prompts_abstains(answer: str) -> None:
    assert abstains(answer, unknown_answer=UNKNOWN, n_citations=0)


@pytest.mark.parametrize("answer", [line for line in ANSWERS.splitlines() if line.strip()])
def test_an_answer_without_citations_that_only_sounds_like_a_refusal_does_not(answer: str) -> None:
    assert not abstains(answer, unknown_answer=UNKNOWN, n_citations=0)


@pytest.mark.parametrize(
    "answer",
    [
        "The policy does not contain a limit on renewals [1].",
        "There is no information about users in a trace [1].",
        "I don't know the exact date, but it opens in May [2].",
        "The documents do not mention a pool [1].",
    ],
)
def test_who_cites_something_has_answered(answer: str) -> None:
    assert not abstains(answer, unknown_answer=UNKNOWN, n_citations=1)
    assert not abstains("", unknown_answer=UNKNOWN, n_citations=1)


@pytest.mark.parametrize(
    "answer",
    [
        UNKNOWN,
        "I don't know: the documents I can read do not answer this",
        "i don’t know:  the documents I can read\ndo not answer this.",
        f"{UNKNOWN} [1]",
        f"{UNKNOWN[:-1]} [1][2].",
    ],
)
@pytest.mark.parametrize("n_citations", [0, 2])
def test_the_prompts_own_words_abstain_whatever_they_cite(answer: str, n_citations: int) -> None:
    assert abstains(answer, unknown_answer=UNKNOWN, n_citations=n_citations)
    assert abstains("Not in my books.", unknown_answer="Not in my books.", n_citations=n_citations)


def test_other_words_do_not_abstain_because_there_are_none_to_compare_with() -> None:
    assert not abstains("Not in my books.", unknown_answer="", n_citations=0)
    assert not abstains("The.", unknown_answer="", n_citations=0)


@pytest.mark.parametrize("nothing", ["", " ", "\n\t"])
def test_nothing_is_no_answer(nothing: str) -> None:
    assert abstains(nothing, unknown_answer=UNKNOWN, n_citations=0)


@given(st.text(max_size=200) | st.sampled_from(REFUSALS.splitlines()), st.integers(1, 3))
def test_no_text_that_cites_abstains_but_in_the_prompts_words(answer: str, n_citations: int) -> None:
    assert not abstains(answer, unknown_answer="", n_citations=n_citations)
    if answer:
        assert abstains(answer, unknown_answer=answer, n_citations=n_citations)


def test_real_refusals_are_found_and_real_answers_are_not_taken_for_them(shared: Path) -> None:
    """Model and human answers of MT-RAG, on the part that the phrases were not tuned on."""
    with gzip.open(shared / "data" / "mtrag" / "generation_tasks.jsonl.gz", "rt") as file:
        tasks = [task for task in map(json.loads, file) if task["part"] == "dev-test"]
    found: dict[str, list[bool]] = {}
    for task in tasks:
        (target,) = task["target"] if isinstance(task["target"], list) else [task["target"]]
        text = target["text"] if isinstance(target, dict) else target
        kind = task["answerability"][0]
        found.setdefault(kind, []).append(abstains(text, unknown_answer="", n_citations=0))
    assert np.mean(found["UNANSWERABLE"]) >= 0.8
    assert np.mean(found["ANSWERABLE"]) <= 0.05
