"""Our records and filters in the forms of Qdrant Edge, and its points as our records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
import qdrant_edge as edge

from llmops.clients.protocols import SearchSettings
from llmops.clients.vectors.clauses import Absent, AnyText, Clause, Condition, Range, Whole
from llmops.clients.vectors.names import DENSE, SPARSE, TENANT, check_point_id
from llmops.clients.vectors.payload import finite, to_payload
from llmops.clients.vectors.ranking import Query
from llmops.records import Point, ScoredId, SparseVector

_WALKED = 256
"""Values up to which alternatives are faster than a list; 5,000 take six times as long."""


def edge_point(point: Point) -> edge.Point:
    of = f"chunk {point.chunk.chunk_id!r}"
    vectors: dict[str, Any] = {
        # the stub asks for lists; the engine takes arrays, and takes them faster
        DENSE: np.ascontiguousarray(finite(point.dense, of), dtype=np.float32),
        SPARSE: _sparse(point.sparse),
    }
    return edge.Point(check_point_id(point.chunk.chunk_id), vectors, to_payload(point.chunk))


def edge_queries(
    queries: Mapping[str, Query],
    n: int,
    must: Sequence[Clause],
    *,
    corpus: edge.Filter,
    settings: SearchSettings,
) -> edge.QueryBatchRequest:
    """The searches as one request.

    Args:
        corpus: the points among which a word is rare or frequent. Named also where it is all of them:
            without it Edge goes on counting points that were deleted.
    """
    requests = []
    for name, query in queries.items():
        is_dense = name == DENSE
        only = _walked_filter(must) if is_dense else edge_filter(must)
        params = _dense_params(settings) if is_dense else edge.SearchParams(idf=edge.IdfParams(corpus))
        nearest = edge.Query.Nearest(_nearest(query), using=name)
        requests.append(edge.QueryRequest(n, query=nearest, filter=only, params=params))
    return edge.QueryBatchRequest(requests)


def _walked_filter(must: Sequence[Clause]) -> edge.Filter:
    """The filter in the form for an exact search, which walks the points that an index names.

    One condition on one field need not be checked again for each of them; as alternatives it is walked a
    quarter faster than as a list of values, unless they are thousands. A sparse search checks its candidates
    and prefers the list.
    """
    match must:
        case [(AnyText() as texts,)] if len(texts.values) <= _WALKED:
            matches: list[Any] = [
                edge.FieldCondition(texts.key, match=edge.MatchValue(value)) for value in texts.values
            ]
            return edge.Filter(should=matches)
        case _:
            return edge_filter(must)


def _dense_params(settings: SearchSettings) -> edge.SearchParams:
    codes = edge.QuantizationSearchParams(rescore=settings.rescore, oversampling=settings.oversampling)
    return edge.SearchParams(exact=settings.exact, quantization=codes)


def tenant_corpus(tenant: str) -> edge.Filter:
    """All points of one tenant."""
    return edge.Filter(must=[edge.FieldCondition(TENANT, match=edge.MatchValue(tenant))])


def scored(points: Sequence[edge.ScoredPoint]) -> list[ScoredId]:
    return [ScoredId(chunk_id=str(point.id), score=point.score) for point in points]


def scroll_request(
    only: edge.Filter,
    *,
    limit: int,
    offset: Any = None,
    payload: bool | list[str] = True,
    vectors: bool = True,
) -> edge.ScrollRequest:
    return edge.ScrollRequest(offset=offset, limit=limit, filter=only, with_payload=payload, with_vector=vectors)


def edge_filter(
    must: Sequence[Clause], *, ids: Collection[str] | None = None, but: Collection[str] = ()
) -> edge.Filter:
    """All clauses, only among `ids` where given, without those in `but`."""
    conditions: list[Any] = []
    for clause in must:
        any_of: list[Any] = [_condition(condition) for condition in clause]
        conditions.append(any_of[0] if len(any_of) == 1 else edge.Filter(should=any_of))
    if ids is not None:
        conditions.append(edge.HasIdCondition(set(ids)))
    return edge.Filter(must=conditions, must_not=[edge.HasIdCondition(set(but))] if but else None)


def _condition(condition: Condition) -> edge.FieldCondition | edge.IsEmptyCondition:
    match condition:
        case AnyText():
            return edge.FieldCondition(condition.key, match=edge.MatchAny(list(condition.values)))
        case Range():
            bounds = edge.RangeFloat(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte)
            return edge.FieldCondition(condition.key, range=bounds)
        case Whole():
            return edge.FieldCondition(condition.key, match=edge.MatchValue(condition.value))
        case Absent():
            return edge.IsEmptyCondition(condition.key)
    assert_never(condition)


def _nearest(query: Query) -> Any:
    if isinstance(query, SparseVector):
        return _sparse(query)
    return np.ascontiguousarray(finite(query, "the query"), dtype=np.float32)


def _sparse(vector: SparseVector) -> edge.SparseVector:
    return edge.SparseVector(list(vector.indices), list(vector.values))
