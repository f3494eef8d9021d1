"""Our records and filters in the forms of a Qdrant server, and its points as our records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, assert_never

from qdrant_client import models

from llmops.clients.vectors.clauses import Absent, AnyText, Clause, Condition, Range, Whole
from llmops.clients.vectors.names import DENSE, SPARSE, check_point_id
from llmops.clients.vectors.payload import finite, to_payload
from llmops.clients.vectors.ranking import Query
from llmops.records import Point, ScoredId, SparseVector


def server_point(point: Point) -> models.PointStruct:
    of = f"chunk {point.chunk.chunk_id!r}"
    return models.PointStruct(
        id=check_point_id(point.chunk.chunk_id),
        vector={DENSE: finite(point.dense, of).tolist(), SPARSE: _sparse(point.sparse)},
        payload=to_payload(point.chunk),
    )


def server_queries(
    queries: Mapping[str, Query],
    n: int,
    only: models.Filter,
    params: Mapping[str, models.SearchParams | None],
) -> list[models.QueryRequest]:
    return [
        models.QueryRequest(
            query=_nearest(query), using=name, filter=only, limit=n, with_payload=False, params=params[name]
        )
        for name, query in queries.items()
    ]


def scored(response: models.QueryResponse) -> list[ScoredId]:
    return [ScoredId(chunk_id=str(point.id), score=point.score) for point in response.points]


def server_filter(
    must: Sequence[Clause], *, ids: Collection[str] | None = None, but: Collection[str] = ()
) -> models.Filter:
    """All clauses, only among `ids` where given, without those in `but`."""
    conditions: list[Any] = []
    for clause in must:
        any_of: list[Any] = [_condition(condition) for condition in clause]
        conditions.append(any_of[0] if len(any_of) == 1 else models.Filter(should=any_of))
    if ids is not None:
        conditions.append(models.HasIdCondition(has_id=list(ids)))
    never = [models.HasIdCondition(has_id=list(but))] if but else None
    return models.Filter(must=conditions, must_not=never)


def _condition(condition: Condition) -> models.FieldCondition | models.IsEmptyCondition:
    match condition:
        case AnyText():
            return models.FieldCondition(key=condition.key, match=models.MatchAny(any=list(condition.values)))
        case Range():
            bounds = models.Range(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte)
            return models.FieldCondition(key=condition.key, range=bounds)
        case Whole():
            return models.FieldCondition(key=condition.key, match=models.MatchValue(value=condition.value))
        case Absent():
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=condition.key))
    assert_never(condition)


def _nearest(query: Query) -> Any:
    return _sparse(query) if isinstance(query, SparseVector) else finite(query, "the query").tolist()


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
