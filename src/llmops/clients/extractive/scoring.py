"""How well each sentence answers the question, and how probable it is that one of them does.

Both are linear models over a few figures in [0, 1]; their coefficients stand in `coefficients.py`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops.clients.extractive.coefficients import ANSWERABLE, ANSWERABLE_BIAS, RELEVANCE, WEAK_PENALTY
from llmops.clients.extractive.sentences import Sentence
from llmops.tokens import terms

# Words by which a question asks; they say nothing of what it is about.
_ASKING = frozenset(
    terms(
        "name many much type kind call mean happen explain describe tell me give example list know find please say"
    )
)
_NAME_OR_NUMBER = re.compile(r"(?<!\A)\b(?:[^\W\d_a-z][\w'-]*|\w*\d[\w.,]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionWords:
    """The question's terms within the given sentences.

    Attributes:
        idf: a weight for each distinct term; terms that no sentence has weigh most.
        rare: terms of its names and numbers.
    """

    idf: dict[str, float]
    rare: frozenset[str]

    def coverage(self, found: AbstractSet[str]) -> float:
        """Share in [0, 1] of the question's weight that `found` holds; 0 for a question without terms."""
        total = sum(self.idf.values())
        return sum(w for t, w in self.idf.items() if t in found) / total if total else 0.0

    def rare_found(self, found: AbstractSet[str]) -> float:
        """Share in [0, 1] of names and numbers that `found` holds; 1 for a question without any."""
        return len(self.rare & found) / len(self.rare) if self.rare else 1.0


def question_words(question: str, sentences: Sequence[Sentence]) -> QuestionWords:
    """The question's terms, weighted by how few of the sentences have them."""
    frequency = Counter(t for s in sentences for t in set(s.terms))
    distinct = dict.fromkeys(terms(question))
    n = len(sentences)
    return QuestionWords(
        idf={
            t: math.log(1 + (n - frequency[t] + 0.5) / (frequency[t] + 0.5))
            for t in [t for t in distinct if t not in _ASKING] or distinct
        },
        rare=frozenset(t for w in _NAME_OR_NUMBER.findall(question) for t in terms(w)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Sentences that may be quoted, with what words say of them.

    Attributes:
        coverage: `(n,)` share of the question that the sentence's own words hold.
        context_coverage: `(n,)` the same with its headings and the sentence before it.
        passage_coverage: `(n,)` the same with its heading and the whole passage it stands in.
        rare_found: share of the question's names and numbers found anywhere in the context.
    """

    sentences: tuple[Sentence, ...]
    words: QuestionWords
    coverage: NDArray[np.float64]
    context_coverage: NDArray[np.float64]
    passage_coverage: NDArray[np.float64]
    rare_found: float

    def features(self, cosines: NDArray[np.float32]) -> NDArray[np.float64]:
        """`(n, 4)`: cosine, coverage, coverage in context, nearness of the passage to the top."""
        nearness = np.array([1 / (1 + s.passage.rank) for s in self.sentences])
        return np.column_stack((cosines, self.coverage, self.context_coverage, nearness))

    def scores(self, cosines: NDArray[np.float32]) -> NDArray[np.float64]:
        """`(n,)` log-odds, up to a constant, that a sentence holds the answer."""
        weak = np.array([s.is_weak for s in self.sentences], dtype=np.float64)
        scores: NDArray[np.float64] = self.features(cosines) @ np.array(RELEVANCE) - WEAK_PENALTY * weak
        return scores

    def evidence(self, best: int, cosine: float) -> NDArray[np.float64]:
        """`(4,)` what the best sentence, its passage and the context say about answerability."""
        return np.array((cosine, self.coverage[best], self.rare_found, self.passage_coverage[best]))

    def foremost(self, limit: int) -> NDArray[np.intp]:
        """Indices of at most `limit` candidates, the best by words and rank, in their order."""
        without_meaning = self.scores(np.zeros(len(self.sentences), dtype=np.float32))
        return np.sort(np.argsort(-without_meaning, kind="stable")[:limit])

    def at(self, indices: NDArray[np.intp]) -> Candidates:
        """Only these."""
        return Candidates(
            sentences=tuple(self.sentences[i] for i in indices),
            words=self.words,
            coverage=self.coverage[indices],
            context_coverage=self.context_coverage[indices],
            passage_coverage=self.passage_coverage[indices],
            rare_found=self.rare_found,
        )


def find_candidates(question: str, sentences: Sequence[Sentence]) -> Candidates:
    """The quotable sentences, weighed by the question's words."""
    words = question_words(question, sentences)
    own = [frozenset(s.terms) for s in sentences]
    around = [frozenset(terms(s.heading)) for s in sentences]
    quotable = [i for i, s in enumerate(sentences) if s.is_quotable]
    in_context = [
        own[i] | around[i] | (own[i - 1] if i and sentences[i].position else frozenset()) for i in quotable
    ]
    passages: dict[int, set[str]] = {}
    for sentence, found in zip(sentences, own, strict=True):
        passages.setdefault(sentence.passage.rank, set()).update(found)
    return Candidates(
        sentences=tuple(sentences[i] for i in quotable),
        words=words,
        coverage=np.array([words.coverage(own[i]) for i in quotable]),
        context_coverage=np.array([words.coverage(found) for found in in_context]),
        passage_coverage=np.array(
            [words.coverage(passages[sentences[i].passage.rank] | around[i]) for i in quotable]
        ),
        rare_found=words.rare_found(frozenset().union(*own, *around)),
    )


def answerable_probability(evidence: NDArray[np.float64]) -> float:
    """P(answerable) in [0, 1] of one row of `Candidates.evidence`."""
    return 1 / (1 + math.exp(-float(evidence @ np.array(ANSWERABLE) + ANSWERABLE_BIAS)))
