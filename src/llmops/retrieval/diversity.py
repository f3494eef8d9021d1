"""Hits that say different things: maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmops.retrieval.fusion import scaled_to_unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def maximal_marginal_relevance(
    scores: Sequence[float], vectors: NDArray[np.float32], *, k: int, relevance_share: float
) -> list[int]:
    """Indices of the chosen, in the order of choice.

    Carbonell & Goldstein, The Use of MMR (SIGIR 1998): the next is the one with the largest
    λ · relevance - (1 - λ) · its largest cosine to what is chosen already. Relevance is the score that ordered the
    hits (a fused one, or a reranker's), its lowest mapped to 0 and its highest to 1, so that λ = 1 keeps the
    order; the first choice is always the most relevant. Ties fall to the one that stood before.

    Args:
        scores: `(n,)`, best first.
        vectors: `(n, dimension)` unit vectors.
        k: how many are chosen; all of them when there are fewer.
        relevance_share: λ, in [0, 1].
    """
    import numpy as np

    n = len(scores)
    if n == 0 or k <= 0:
        return []
    relevance = np.asarray(scaled_to_unit(scores), dtype=np.float64)
    likeness = np.asarray(vectors, dtype=np.float64)
    nearest = np.full(n, -np.inf)
    is_free = np.ones(n, dtype=bool)
    chosen = [int(np.argmax(relevance))]
    while True:
        last = chosen[-1]
        is_free[last] = False
        if len(chosen) >= min(k, n):
            return chosen
        np.maximum(nearest, likeness @ likeness[last], out=nearest)
        gain = relevance_share * relevance - (1 - relevance_share) * nearest
        chosen.append(int(np.argmax(np.where(is_free, gain, -np.inf))))
