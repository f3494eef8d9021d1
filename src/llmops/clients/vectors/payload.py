"""A chunk as the payload of its point, and back without a difference.

Engines give lists back for tuples, and Edge never matches a boolean. So booleans are stored as 0 and 1,
and `metadata_types` remembers which fields were booleans and which were tuples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from llmops.clients.vectors.names import DENSE, SPARSE
from llmops.errors import DocumentError, StorageError
from llmops.records import Chunk, Point, SparseVector

_FLAT = ("document_id", "uri", "title", "ordinal", "text", "start", "end", "locator", "n_tokens")
_REBUILD = "restore the collection, or rebuild it with `llmops ingest run NAME --rebuild`"


def to_payload(chunk: Chunk) -> dict[str, Any]:
    """The payload of the chunk's point; its id and vectors travel beside it.

    Raises:
        DocumentError: a text is not Unicode, or a metadata value is of a kind that cannot be stored.
    """
    payload: dict[str, Any] = {name: getattr(chunk, name) for name in _FLAT}
    payload["heading_path"] = list(chunk.heading_path)
    payload["acl"] = list(chunk.acl)
    metadata, types = {}, {}
    for key, value in chunk.metadata.items():
        metadata[key], kind = _stored(chunk, key, value)
        if kind:
            types[key] = kind
    payload["metadata"], payload["metadata_types"] = metadata, types
    try:
        orjson.dumps(payload)
    except orjson.JSONEncodeError as exc:
        raise DocumentError(f"{chunk.uri!r} cannot be stored: {exc}; save it as UTF-8 text") from exc
    return payload


def _stored(chunk: Chunk, key: str, value: object) -> tuple[Any, str]:
    """The value as an engine keeps it, and the kind to restore it to, or ""."""
    match value:
        case bool():
            return int(value), "bool"
        case str():
            return value, ""
        case int() if -(2**63) <= value < 2**63:
            return value, ""
        case float() if math.isfinite(value):
            return value, ""
        case list() | tuple() if all(isinstance(v, str) for v in value):
            return list(value), "tuple" if isinstance(value, tuple) else ""
        case _:
            raise DocumentError(
                f"metadata field {key!r} of {chunk.uri!r} is {value!r}: use a text, a finite number, "
                "an integer of at most 64 bits, true or false, or a list of texts"
            )


def from_payload(chunk_id: str, payload: Mapping[str, Any] | None) -> Chunk:
    """The chunk that `to_payload` stored.

    Raises:
        StorageError: the payload was not written by llmops, or is damaged.
    """
    try:
        stored = payload or {}
        metadata = dict(stored["metadata"])
        for key, kind in stored["metadata_types"].items():
            metadata[key] = bool(metadata[key]) if kind == "bool" else tuple(metadata[key])
        return Chunk(
            chunk_id=chunk_id,
            heading_path=tuple(stored["heading_path"]),
            acl=tuple(stored["acl"]),
            metadata=metadata,
            **{name: stored[name] for name in _FLAT},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise StorageError(f"point {chunk_id!r} does not hold a chunk ({exc!r}): {_REBUILD}") from exc


def finite(vector: NDArray[np.float32], of: str) -> NDArray[np.float32]:
    """The vector itself.

    Raises:
        StorageError: it holds NaN or infinity, with which an engine would rank points at random.
    """
    if not np.isfinite(vector).all():
        raise StorageError(f"the vector of {of} holds numbers that are not finite: check the embedder")
    return vector


def our_point(record: Any) -> Point:
    """The point of a record as either engine hands it over: both have `id`, `payload` and `vector`."""
    vectors: Any = record.vector or {}
    sparse = vectors.get(SPARSE)
    return Point(
        chunk=from_payload(str(record.id), record.payload),
        dense=np.asarray(vectors.get(DENSE, ()), dtype=np.float32),
        sparse=SparseVector(
            indices=tuple(sparse.indices) if sparse else (),
            values=tuple(map(float, sparse.values)) if sparse else (),
        ),
    )
