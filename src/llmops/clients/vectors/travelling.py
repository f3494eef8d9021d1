"""Points, filters and settings as JSON, for a store that another local process owns."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.clients.protocols import Filter
from llmops.clients.vectors.payload import from_payload, to_payload
from llmops.records import Point, ScoredId, SparseVector


def packed_vector(vector: NDArray[np.float32]) -> str:
    """Little-endian float32, base64."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def unpacked_vector(text: str) -> NDArray[np.float32]:
    """What `packed_vector` packed, `(dimension,)`."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)


def packed_point(point: Point) -> dict[str, Any]:
    """A point with its chunk's payload."""
    return {
        "id": point.chunk.chunk_id,
        "payload": to_payload(point.chunk),
        "dense": packed_vector(point.dense),
        "sparse": packed_sparse(point.sparse),
    }


def unpacked_point(packed: Mapping[str, Any]) -> Point:
    """What `packed_point` packed."""
    return Point(
        chunk=from_payload(packed["id"], packed["payload"]),
        dense=unpacked_vector(packed["dense"]),
        sparse=unpacked_sparse(packed["sparse"]),
    )


def packed_sparse(vector: SparseVector) -> list[list[Any]]:
    """Indices and values."""
    return [list(vector.indices), list(vector.values)]


def unpacked_sparse(packed: list[list[Any]]) -> SparseVector:
    """What `packed_sparse` packed."""
    return SparseVector(indices=tuple(packed[0]), values=tuple(map(float, packed[1])))


def packed_filter(where: Filter) -> dict[str, Any]:
    """A filter."""
    return asdict(where)


def unpacked_filter(packed: Mapping[str, Any]) -> Filter:
    """What `packed_filter` packed."""
    principals = packed["principals"]
    return Filter(
        principals=tuple(principals) if principals is not None else None,
        metadata=packed["metadata"],
        tenant=packed["tenant"],
    )


def packed_hits(hits: list[ScoredId]) -> list[list[Any]]:
    """Ids and scores."""
    return [[hit.chunk_id, hit.score] for hit in hits]


def unpacked_hits(packed: list[list[Any]]) -> list[ScoredId]:
    """What `packed_hits` packed."""
    return [ScoredId(chunk_id=chunk_id, score=score) for chunk_id, score in packed]
