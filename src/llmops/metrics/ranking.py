"""How good one ranking is, against judgements of what is relevant.

All three take `relevances_by_id`, the judged ids with their relevance (more is better; 0 or less, or no judgement
at all, is irrelevant), and `ranked_ids`, best first. An id that stands in a ranking twice counts where it stands
first; its second place is one that helps nobody. A query without any relevant id scores 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


def ndcg_at_k(relevances_by_id: Mapping[str, float], ranked_ids: Sequence[str], k: int) -> float:
    """Normalised discounted cumulative gain of the first `k`, in [0, 1].

    Järvelin & Kekäläinen, Cumulated gain-based evaluation of IR techniques (2002), as trec_eval's `ndcg_cut`:
    the gain is the relevance itself, rank r is discounted by log2(r + 1), the ideal ranks all judged ids.

    Raises:
        ValueError: `k` is less than 1, or a relevance is not finite.
    """
    gains = _gains(relevances_by_id)
    found = _first_places(ranked_ids, k)
    if not gains:
        return 0.0
    ideal = _discounted(enumerate(sorted(gains.values(), reverse=True)[:k], start=1))
    gained = _discounted((rank, gains[found_id]) for found_id, rank in found.items() if found_id in gains)
    return min(gained / ideal, 1.0)


def recall_at_k(relevances_by_id: Mapping[str, float], ranked_ids: Sequence[str], k: int) -> float:
    """Share of the relevant ids that stand among the first `k`, in [0, 1].

    Raises:
        ValueError: `k` is less than 1, or a relevance is not finite.
    """
    gains = _gains(relevances_by_id)
    found = _first_places(ranked_ids, k)
    return len(gains.keys() & found.keys()) / len(gains) if gains else 0.0


def reciprocal_rank(relevances_by_id: Mapping[str, float], ranked_ids: Sequence[str]) -> float:
    """1 / rank of the first relevant id, in [0, 1]; 0 when none was found.

    Raises:
        ValueError: a relevance is not finite.
    """
    gains = _gains(relevances_by_id)
    return next((1 / rank for rank, found in enumerate(ranked_ids, start=1) if found in gains), 0.0)


def _gains(relevances_by_id: Mapping[str, float]) -> dict[str, float]:
    """The relevant ids, scaled to a highest gain of 1 so that no sum of large gains overflows."""
    for judged, relevance in relevances_by_id.items():
        if not math.isfinite(relevance):
            raise ValueError(f"the relevance of {judged!r} is {relevance!r}: it must be a finite number")
    highest = max(relevances_by_id.values(), default=0)
    return {judged: relevance / highest for judged, relevance in relevances_by_id.items() if relevance > 0}


def _first_places(ranked_ids: Sequence[str], k: int) -> dict[str, int]:
    """The first `k` ids with the rank at which each stands first."""
    if k < 1:
        raise ValueError(f"k is {k!r}: at least the first id must be looked at")
    places: dict[str, int] = {}
    for rank, found in enumerate(ranked_ids[:k], start=1):
        places.setdefault(found, rank)
    return places


def _discounted(gains_by_rank: Iterable[tuple[int, float]]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in gains_by_rank)
