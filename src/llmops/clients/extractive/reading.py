"""From a context to the sentences that answer its question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.extractive.coefficients import MARGIN, NOVELTY, THRESHOLD
from llmops.clients.extractive.context import GivenContext
from llmops.clients.extractive.scoring import Candidates, answerable_probability, find_candidates
from llmops.clients.extractive.sentences import Sentence, split_sentences

MAX_CANDIDATES = 40
"""Sentences embedded for one answer. Five chunks of 500 words hold more and lose .003 of token F1 by it."""
_SAME_COSINE = 0.95
_SAME_TERMS = 0.8
_MAX_ANNOUNCED = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Candidates with their meaning beside the question's.

    Attributes:
        sentences: every sentence of the context, those that are no candidates too.
        vectors: `(n, dimension)`, one for each candidate.
        cosines: `(n,)`, with the question's vector.
        scores: `(n,)`, log-odds up to a constant; larger is better.
        behind: `(n,)`, at most 0: log-odds behind the best sentence, for whichever part of the question it suits.
        evidence: `(4,)`, what P(answerable) is computed from.
        probability: P(answerable) in [0, 1].
    """

    sentences: tuple[Sentence, ...]
    candidates: Candidates
    vectors: NDArray[np.float32]
    cosines: NDArray[np.float32]
    scores: NDArray[np.float64]
    behind: NDArray[np.float64]
    evidence: NDArray[np.float64]
    probability: float


def read(context: GivenContext, vectors: VectorCache, *, max_candidates: int = MAX_CANDIDATES) -> Reading | None:
    """Every candidate scored; None when there is nothing to quote or the question has no words."""
    sentences = split_sentences(context.passages)
    every = find_candidates(context.question, sentences)
    if not every.sentences or not every.words.idf:
        return None
    kept = every.foremost(max_candidates)
    candidates = every.at(kept)
    texts = [s.embedded_text for s in candidates.sentences]
    embedded = vectors.embed([*texts, context.question, *context.parts])
    matrix = embedded[: len(texts)]
    scores, evidence = _weigh(candidates, matrix @ embedded[len(texts)])
    behind = scores - scores.max()
    for part, vector in zip(context.parts, embedded[len(texts) + 1 :], strict=True):
        part_scores, part_evidence = _weigh(find_candidates(part, sentences).at(kept), matrix @ vector)
        if answerable_probability(part_evidence) >= THRESHOLD:
            behind = np.maximum(behind, part_scores - part_scores.max())
    return Reading(
        sentences=tuple(sentences),
        candidates=candidates,
        vectors=matrix,
        cosines=matrix @ embedded[len(texts)],
        scores=scores,
        behind=behind,
        evidence=evidence,
        probability=answerable_probability(evidence),
    )


def _weigh(
    candidates: Candidates, cosines: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores = candidates.scores(cosines)
    best = int(np.argmax(scores))
    return scores, candidates.evidence(best, float(cosines[best]))


def choose(
    reading: Reading, max_sentences: int, *, margin: float = MARGIN, novelty: float = NOVELTY
) -> list[Sentence]:
    """The best sentences in order of passages, none twice, none far behind the best.

    A lead ("The parts are:") brings what it announces and counts with it as one sentence.

    Args:
        margin: how far behind the best, in log-odds, a further sentence may lie.
        novelty: what covering all of the question's words anew is worth, in log-odds.
    """
    candidates = reading.candidates
    chosen = [int(np.argmax(reading.scores))]
    covered = set(candidates.sentences[chosen[0]].terms)
    remaining = [i for i in range(len(candidates.sentences)) if i != chosen[0]]
    while remaining and len(chosen) < max_sentences:
        gains = [reading.behind[i] + novelty * _newly_covered(candidates, i, covered) for i in remaining]
        best = remaining.pop(int(np.argmax(gains)))
        if max(gains) < -margin:
            break
        if not any(_repeats(reading, best, other) for other in chosen):
            chosen.append(best)
            covered.update(candidates.sentences[best].terms)
    return list(_with_announced(reading.sentences, [candidates.sentences[i] for i in sorted(chosen)]))


def _newly_covered(candidates: Candidates, index: int, covered: set[str]) -> float:
    return candidates.words.coverage(set(candidates.sentences[index].terms) - covered)


def _repeats(reading: Reading, one: int, other: int) -> bool:
    """Whether two sentences say the same, or one is announced by the other."""
    a, b = reading.candidates.sentences[one], reading.candidates.sentences[other]
    if a.passage.rank == b.passage.rank and (a.announced_by == b.position or b.announced_by == a.position):
        return True
    if float(reading.vectors[one] @ reading.vectors[other]) >= _SAME_COSINE:
        return True
    first, second = set(a.terms), set(b.terms)
    return len(first & second) >= _SAME_TERMS * len(first | second)


def _with_announced(sentences: Sequence[Sentence], chosen: Sequence[Sentence]) -> Iterator[Sentence]:
    for sentence in chosen:
        yield sentence
        if sentence.kind == "lead":
            announced = (
                s
                for s in sentences
                if s.passage.rank == sentence.passage.rank and s.announced_by == sentence.position and s.terms
            )
            yield from (s for s, _ in zip(announced, range(_MAX_ANNOUNCED), strict=False))
