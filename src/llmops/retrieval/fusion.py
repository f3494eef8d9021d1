"""Two rankings become one. Scores of different searches are not comparable; these rules make them so."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmops.records import ScoredId

Fused = list[tuple[str, float]]
"""Ids with their fused score, best first; equal scores in the order of ids."""


def reciprocal_rank(lists: Sequence[Sequence[ScoredId]], *, k: int = 60) -> Fused:
    """Sum of 1 / (k + rank) over the lists an id is in, ranks from 1.

    Cormack, Clarke & Büttcher, Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009); they use k = 60.
    """
    scores: dict[str, float] = {}
    for ranking in lists:
        for rank, found in enumerate(ranking, start=1):
            scores[found.chunk_id] = scores.get(found.chunk_id, 0.0) + 1.0 / (k + rank)
    return _best_first(scores)


def distribution_based(lists: Sequence[Sequence[ScoredId]]) -> Fused:
    """Sum of each list's scores after mapping mean ± 3 standard deviations to [0, 1].

    Mazzeschi, Distribution-Based Score Fusion (2023), as in Qdrant: a list whose scores are all equal gives 0.5.
    """
    scores: dict[str, float] = {}
    for ranking in lists:
        values = [found.score for found in ranking]
        mean = math.fsum(values) / len(values) if values else 0.0
        variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) if len(values) > 1 else 0.0
        low, width = mean - 3 * math.sqrt(variance), 6 * math.sqrt(variance)
        # The mean of equal numbers may differ from them in its last bit, so that a width above 0 says nothing.
        is_constant = width == 0 or min(values) == max(values)
        for found in ranking:
            scaled = 0.5 if is_constant else (found.score - low) / width
            scores[found.chunk_id] = scores.get(found.chunk_id, 0.0) + scaled
    return _best_first(scores)


def _best_first(scores: dict[str, float]) -> Fused:
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
