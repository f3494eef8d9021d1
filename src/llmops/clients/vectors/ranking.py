"""The best by score, then by id: the same answer from every engine, also where scores are equal.

An engine breaks ties as it likes, so we ask for some points more and, where a tie reaches beyond
those too, for more again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from llmops.clients.vectors.names import DENSE, SPARSE
from llmops.errors import RequestError
from llmops.records import ScoredId, SparseVector

Query = NDArray[np.float32] | SparseVector
_SLACK = 4
_GROWTH = 8


def asked(dense: NDArray[np.float32] | None, sparse: SparseVector | None) -> dict[str, Query]:
    """The queries to run, by the name of the vectors they search; an empty sparse vector finds nothing."""
    queries: dict[str, Query] = {} if dense is None else {DENSE: dense}
    if sparse is not None and sparse.indices:
        queries[SPARSE] = sparse
    return queries


def ranked(
    queries: Mapping[str, Query],
    limit: int,
    ask: Callable[[Mapping[str, Query], int], Mapping[str, list[ScoredId]]],
) -> dict[str, list[ScoredId]]:
    """At most `limit` ids for each query, best first.

    Args:
        ask: runs the queries in one round trip and returns each one's n best.

    Raises:
        RequestError: `limit` is less than 1.
    """
    if limit < 1:
        raise RequestError(f"a search cannot return {limit!r} points: ask for at least 1")
    done: dict[str, list[ScoredId]] = {}
    pending, n = dict(queries), limit + _SLACK
    while pending:
        for name, found in ask(pending, n).items():
            if not _tie_is_cut(found, limit, n):
                done[name] = sorted(found, key=lambda hit: (-hit.score, hit.chunk_id))[:limit]
                del pending[name]
        n *= _GROWTH
    return done


def _tie_is_cut(found: list[ScoredId], limit: int, asked: int) -> bool:
    return len(found) >= asked and found[-1].score == found[limit - 1].score
