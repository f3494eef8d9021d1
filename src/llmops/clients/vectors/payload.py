"""A chunk as the payload of its point, and back without a difference.

Engines give lists back for tuples, and Edge never matches a boolean. So booleans are stored as 0 and 1,
and `metadata_types` remembers which fields were booleans and which were tuples.

A tenant is part of every principal as it is stored (`access_key`), so that one condition on one indexed field
decides what a caller may see. Two conditions would cost an exact search twice the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from llmops.clients.vectors.names import ACL, DENSE, SPARSE, TENANT
from llmops.errors import DocumentError, StorageError
from llmops.records import Chunk, Point, SparseVector

_FLAT = ("document_id", "uri", "title", "ordinal", "text", "start", "end", "locator", "n_tokens")
_OPTIONAL = {"url": "", "context": "", "context_start": 0, "n_context_tokens": 0}
"""Fields that points may lack, with what they then are: none of these was there from the beginning."""
_NO_DENSE = np.empty(0, np.float32)
_NO_SPARSE = SparseVector(indices=(), values=())
_KEY_MARK = "\x1f"
_REBUILD = "restore the collection, or rebuild it with `llmops ingest run NAME --rebuild`"


def access_key(tenant: str, principal: str) -> str:
    """The principal as it is stored and asked for; different for every pair of tenant and principal.

    For the default tenant it is the principal itself, as it was before there were tenants.

    >>> access_key("", "staff"), access_key("acme", "staff")
    ('staff', '\\x1f4:acmestaff')
    """
    if not tenant and not principal.startswith(_KEY_MARK):
        return principal
    return f"{_key_prefix(tenant)}{principal}"


def access_keys(tenant: str, principals: Sequence[str]) -> list[str]:
    """`access_key` of each."""
    return [access_key(tenant, principal) for principal in principals]


def _key_prefix(tenant: str) -> str:
    return f"{_KEY_MARK}{len(tenant)}:{tenant}"


def to_payload(chunk: Chunk) -> dict[str, Any]:
    """The payload of the chunk's point; its id and vectors travel beside it.

    Raises:
        DocumentError: a text is not Unicode, or a metadata value is of a kind that cannot be stored.
    """
    payload: dict[str, Any] = {name: getattr(chunk, name) for name in _FLAT}
    payload["heading_path"] = list(chunk.heading_path)
    payload[ACL] = access_keys(chunk.tenant, chunk.acl)
    payload[TENANT] = chunk.tenant
    payload.update({k: v for k, default in _OPTIONAL.items() if (v := getattr(chunk, k)) != default})
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
        tenant = stored.get(TENANT, "")
        prefix = _key_prefix(tenant)
        return Chunk(
            chunk_id=chunk_id,
            heading_path=tuple(stored["heading_path"]),
            acl=tuple([key.removeprefix(prefix) for key in stored[ACL]]),
            metadata=metadata,
            tenant=tenant,
            **{name: stored[name] for name in _FLAT},
            **{name: stored[name] for name in _OPTIONAL if name in stored},
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
    vectors: Any = record.vector
    if not vectors:
        return Point(chunk=from_payload(str(record.id), record.payload), dense=_NO_DENSE, sparse=_NO_SPARSE)
    sparse = vectors.get(SPARSE)
    return Point(
        chunk=from_payload(str(record.id), record.payload),
        dense=np.asarray(vectors.get(DENSE, ()), dtype=np.float32),
        sparse=SparseVector(
            indices=tuple(sparse.indices) if sparse else (),
            values=tuple(map(float, sparse.values)) if sparse else (),
        ),
    )
