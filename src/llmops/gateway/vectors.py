"""`POST /api/vectors/CALL`: the owner's vectors for workers on this machine, who cannot open them themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from llmops.clients.protocols import SearchSettings, StoreSettings, VectorStore
from llmops.clients.vectors.travelling import (
    packed_hits,
    packed_point,
    unpacked_filter,
    unpacked_point,
    unpacked_sparse,
    unpacked_vector,
)
from llmops.errors import NotFoundError, RequestError
from llmops.gateway.bodies import read_object
from llmops.gateway.errors import json_response
from llmops.workspace.opened import Workspace

router = APIRouter(prefix="/api/vectors")
Call = Callable[[VectorStore, dict[str, Any]], Any]


@router.post("/scroll")
async def scroll(request: Request) -> Response:
    """All points of a filter, a line each."""
    body = await read_object(request)
    store = _store(request)
    where = unpacked_filter(body["where"])
    points = store.scroll(body["collection"], where=where, batch=body["batch"], vectors=body["vectors"])

    def lines() -> Iterator[bytes]:
        for point in points:
            yield orjson.dumps(packed_point(point)) + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.post("/{call}")
async def call_store(request: Request, call: str) -> Response:
    """One call of the store."""
    body = await read_object(request)
    if call not in _CALLS:
        raise NotFoundError(
            f"the vectors have no call {call!r}; this worker is of another version: start it again"
        )
    try:
        result = await to_thread.run_sync(_CALLS[call], _store(request), body)
    except (KeyError, TypeError, IndexError) as error:
        raise RequestError(
            f"the call {call!r} is incomplete ({error!r}); this worker is of another version"
        ) from error
    return json_response({"result": result})


def _store(request: Request) -> VectorStore:
    workspace: Workspace = request.app.state.workspace
    return workspace.store


def _create(store: VectorStore, body: dict[str, Any]) -> None:
    settings = StoreSettings(**body["settings"]) if body["settings"] else None
    store.create(body["collection"], dimension=body["dimension"], metadata=body["metadata"], settings=settings)


def _fetch(store: VectorStore, body: dict[str, Any]) -> list[dict[str, Any]]:
    where = unpacked_filter(body["where"])
    found = store.fetch(body["collection"], body["chunk_ids"], where=where, vectors=body["vectors"])
    return [packed_point(point) for point in found.values()]


def _search(store: VectorStore, body: dict[str, Any]) -> list[Any]:
    dense, sparse = store.search(
        body["collection"],
        dense=unpacked_vector(body["dense"]) if body["dense"] is not None else None,
        sparse=unpacked_sparse(body["sparse"]) if body["sparse"] is not None else None,
        limit=body["limit"],
        where=unpacked_filter(body["where"]),
        settings=SearchSettings(**body["settings"]) if body["settings"] else None,
    )
    return [packed_hits(dense), packed_hits(sparse)]


_CALLS: dict[str, Call] = {
    "create": _create,
    "drop": lambda store, body: store.drop(body["collection"]),
    "collections": lambda store, _: store.collections(),
    "upsert": lambda store, body: store.upsert(body["collection"], [unpacked_point(p) for p in body["points"]]),
    "set_access": lambda store, body: store.set_access(body["collection"], body["document_id"], acl=body["acl"]),
    "delete_document": lambda store, body: store.delete_document(
        body["collection"], body["document_id"], keep=body["keep"]
    ),
    "delete_documents": lambda store, body: store.delete_documents(body["collection"], body["document_ids"]),
    "fetch": _fetch,
    "count": lambda store, body: store.count(body["collection"], where=unpacked_filter(body["where"])),
    "document_ids": lambda store, body: store.document_ids(body["collection"]),
    "search": _search,
    "compact": lambda store, body: store.compact(body["collection"]),
    "flush": lambda store, _: store.flush(),
}
