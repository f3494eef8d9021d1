"""How good one answer is against reference answers, and how well a system knows when not to answer."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from llmops.metrics.refusals import opens_with_refusal

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKER = re.compile(r"\[\d{1,4}\]")


def normalized_words(text: str) -> list[str]:
    """Words as SQuAD compares them: lower case, no punctuation, no articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Best F1 of the words against any reference, in [0, 1].

    Rajpurkar et al., SQuAD: 100,000+ Questions (2016), section 6.1, as its evaluation script computes it; two
    empty texts agree (1), an empty one and a full one do not (0).

    Raises:
        ValueError: there is no reference.
    """
    return max(_f1(*_overlap(answer, reference)) for reference in _given(references))


def token_recall(answer: str, references: Sequence[str]) -> float:
    """Best share of a reference's words that the answer holds, in [0, 1]; says nothing about what else it holds.

    Raises:
        ValueError: there is no reference.
    """
    shares = []
    for reference in _given(references):
        common, _, n_reference = _overlap(answer, reference)
        shares.append(common / n_reference if n_reference else 1.0)
    return max(shares)


def answer_included(answer: str, references: Sequence[str]) -> float:
    """1 when every word of a reference stands in the answer, in whatever order, else 0: one wrong number decides.

    Raises:
        ValueError: there is no reference.
    """
    return float(token_recall(answer, references) == 1)


def _given(references: Sequence[str]) -> Sequence[str]:
    if not references:
        raise ValueError("there is no reference answer to compare with")
    return references


def _overlap(answer: str, reference: str) -> tuple[int, int, int]:
    """Words in common, in the answer, in the reference; repeats count."""
    said, wanted = Counter(normalized_words(answer)), Counter(normalized_words(reference))
    return (said & wanted).total(), said.total(), wanted.total()


def _f1(common: int, n_answer: int, n_reference: int) -> float:
    if not n_answer or not n_reference:
        return float(n_answer == n_reference)
    return 2 * common / (n_answer + n_reference)


def citation_precision(cited: Sequence[bool]) -> float:
    """Share of an answer's citations that name a passage which supports it, in [0, 1].

    Args:
        cited: for each citation whether it is right.

    Raises:
        ValueError: nothing is cited: the metric does not apply.
    """
    if not cited:
        raise ValueError("nothing is cited: there is no precision of no citation")
    return sum(cited) / len(cited)


def abstains(answer: str, *, unknown_answer: str, n_citations: int) -> bool:
    """Whether an answer says that it does not know: in the prompt's words, or in its own and citing nothing.

    Its own are English ones, in its first sentence. Markers such as `[1]` and curly apostrophes do not make the
    prompt's words other words.
    """
    if unknown_answer and _as_said(unknown_answer) == _as_said(answer):
        return True
    return not n_citations and (not answer.strip() or opens_with_refusal(answer))


def _as_said(text: str) -> list[str]:
    return normalized_words(_MARKER.sub("", text).replace("’", "'"))


def abstention_precision(abstained: NDArray[np.bool_], unanswerable: NDArray[np.bool_]) -> float:
    """Share of the abstentions that were right, in [0, 1]; 1 when there was none. Both `(n,)`."""
    n = int(abstained.sum())
    return float((abstained & unanswerable).sum()) / n if n else 1.0


def abstention_recall(abstained: NDArray[np.bool_], unanswerable: NDArray[np.bool_]) -> float:
    """Share of the unanswerable questions that were left unanswered, in [0, 1]; 1 when there is none."""
    n = int(unanswerable.sum())
    return float((abstained & unanswerable).sum()) / n if n else 1.0


def abstention_f1(abstained: NDArray[np.bool_], unanswerable: NDArray[np.bool_]) -> float:
    """Harmonic mean of abstention precision and recall, in [0, 1]; 1 when nobody abstained and nobody should."""
    wrong = int((abstained ^ unanswerable).sum())
    right = int((abstained & unanswerable).sum())
    return 2 * right / (2 * right + wrong) if right or wrong else 1.0


def lexical_groundedness(
    statements: Sequence[Collection[str]], contexts: Sequence[Collection[str]]
) -> float | None:
    """Mean share of each statement's terms that stand in its context, in [0, 1]; a baseline, not a proof.

    A statement may use the context's words and still contradict it ("not", another number's place).

    Args:
        statements: the distinct terms of each sentence of the answer.
        contexts: for each statement the terms of the passages it rests on.

    Returns:
        None when no statement has any term.
    """
    shares = [
        sum(term in context for term in statement) / len(statement)
        for statement, context in zip(statements, contexts, strict=True)
        if statement
    ]
    return sum(shares) / len(shares) if shares else None
