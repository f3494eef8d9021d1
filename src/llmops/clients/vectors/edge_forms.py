"""Our records and filters in the forms of Qdrant Edge, and its points as our records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
import qdrant_edge as edge

from llmops.clients.vectors.clauses import AnyText, Clause, Condition, Range, Whole
from llmops.clients.vectors.names import DENSE, SPARSE, check_point_id
from llmops.clients.vectors.payload import finite, to_payload
from llmops.clients.vectors.ranking import Query
from llmops.records import Point, ScoredId, SparseVector


def shard_config(dimension: int) -> edge.EdgeConfig:
    """No index but exact search: building one holds the interpreter's lock for seconds."""
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)},
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        wal_enabled=True,
    )


def edge_point(point: Point) -> edge.Point:
    of = f"chunk {point.chunk.chunk_id!r}"
    vectors: dict[str, Any] = {
        # the stub asks for lists; the engine takes arrays, and takes them faster
        DENSE: np.ascontiguousarray(finite(point.dense, of), dtype=np.float32),
        SPARSE: _sparse(point.sparse),
    }
    return edge.Point(check_point_id(point.chunk.chunk_id), vectors, to_payload(point.chunk))


def edge_queries(queries: Mapping[str, Query], n: int, only: edge.Filter) -> edge.QueryBatchRequest:
    return edge.QueryBatchRequest(
        [
            edge.QueryRequest(n, query=edge.Query.Nearest(_nearest(query), using=name), filter=only)
            for name, query in queries.items()
        ]
    )


def scored(points: Sequence[edge.ScoredPoint]) -> list[ScoredId]:
    return [ScoredId(chunk_id=str(point.id), score=point.score) for point in points]


def scroll_request(only: edge.Filter, *, limit: int, offset: Any = None) -> edge.ScrollRequest:
    return edge.ScrollRequest(offset=offset, limit=limit, filter=only, with_payload=True, with_vector=True)


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


def _condition(condition: Condition) -> edge.FieldCondition:
    match condition:
        case AnyText():
            return edge.FieldCondition(condition.key, match=edge.MatchAny(list(condition.values)))
        case Range():
            bounds = edge.RangeFloat(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte)
            return edge.FieldCondition(condition.key, range=bounds)
        case Whole():
            return edge.FieldCondition(condition.key, match=edge.MatchValue(condition.value))
    assert_never(condition)


def _nearest(query: Query) -> Any:
    if isinstance(query, SparseVector):
        return _sparse(query)
    return np.ascontiguousarray(finite(query, "the query"), dtype=np.float32)


def _sparse(vector: SparseVector) -> edge.SparseVector:
    return edge.SparseVector(list(vector.indices), list(vector.values))
