"""Two rankings become one. Scores of different searches are not comparable; these rules make them so.

Every rule takes weights, one a list; without them each list counts 1. An id that a list does not hold gets nothing
from it, an empty list gives nothing, and no list at all gives an empty result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmops.records import ScoredId

Fused = list[tuple[str, float]]
"""Ids with their fused score, best first; equal scores in the order of ids."""

_CONSTANT_SCALED = 1.0


def reciprocal_rank(
    lists: Sequence[Sequence[ScoredId]], *, k: int = 60, weights: Sequence[float] | None = None
) -> Fused:
    """Sum of weight / (k + rank) over the lists an id is in, ranks from 1.

    Cormack, Clarke & Büttcher, Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009); they use k = 60 and no
    weights. Scores do not count, so a list of equal scores is still a ranking.
    """
    scores: dict[str, float] = {}
    for ranking, weight in zip(lists, _weights(lists, weights), strict=True):
        for rank, found in enumerate(ranking, start=1):
            scores[found.chunk_id] = scores.get(found.chunk_id, 0.0) + weight / (k + rank)
    return _best_first(scores)


def distribution_based(lists: Sequence[Sequence[ScoredId]], *, weights: Sequence[float] | None = None) -> Fused:
    """Weighted sum of each list's scores after mapping mean ± 3 standard deviations to [0, 1].

    Mazzeschi, Distribution-Based Score Fusion (2023), as in Qdrant: a list whose scores are all equal (one of one
    score, too) gives 0.5.
    """
    scores: dict[str, float] = {}
    for ranking, weight in zip(lists, _weights(lists, weights), strict=True):
        values = [found.score for found in ranking]
        mean = math.fsum(values) / len(values) if values else 0.0
        variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) if len(values) > 1 else 0.0
        low, width = mean - 3 * math.sqrt(variance), 6 * math.sqrt(variance)
        # The mean of equal numbers may differ from them in its last bit, so that a width above 0 says nothing.
        is_constant = width == 0 or min(values) == max(values)
        for found in ranking:
            scaled = 0.5 if is_constant else (found.score - low) / width
            scores[found.chunk_id] = scores.get(found.chunk_id, 0.0) + weight * scaled
    return _best_first(scores)


def min_max(lists: Sequence[Sequence[ScoredId]], *, weights: Sequence[float] | None = None) -> Fused:
    """Weighted sum of each list's scores after mapping its lowest to 0 and its highest to 1.

    With weights that add up to 1 it is the convex combination of Bruch, Gai & Ingber, An Analysis of Fusion
    Functions for Hybrid Retrieval (ACM TOIS 42(1), 2023), with the lowest score that was found as the minimum. A
    list whose scores are all equal (one of one score, too) gives 1: each is the best that this search found.
    """
    scores: dict[str, float] = {}
    for ranking, weight in zip(lists, _weights(lists, weights), strict=True):
        for found, scaled in zip(ranking, scaled_to_unit([found.score for found in ranking]), strict=True):
            scores[found.chunk_id] = scores.get(found.chunk_id, 0.0) + weight * scaled
    return _best_first(scores)


def scaled_to_unit(values: Sequence[float]) -> list[float]:
    """The lowest becomes 0 and the highest 1; equal values all become 1."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    width = high - low
    if not math.isfinite(width):  # two halves never overflow
        low, width, values = low / 2, high / 2 - low / 2, [value / 2 for value in values]
    return [(value - low) / width if width > 0 else _CONSTANT_SCALED for value in values]


def _weights(lists: Sequence[Sequence[ScoredId]], weights: Sequence[float] | None) -> Sequence[float]:
    return weights if weights is not None else [1.0] * len(lists)


def _best_first(scores: dict[str, float]) -> Fused:
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
