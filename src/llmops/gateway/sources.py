"""`POST /api/documents` and `/api/ingest/...`: documents and events that others send, operations on documents."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from llmops.errors import BusyError, RequestError
from llmops.gateway.bodies import body_of_kind, read_object
from llmops.gateway.errors import json_response
from llmops.gateway.jobs import queues_of
from llmops.gateway.operations import DocumentsBody, EventsBody, operation
from llmops.workspace.opened import Workspace

router = APIRouter(prefix="/api")


@router.post("/documents", openapi_extra=body_of_kind(DocumentsBody))
async def documents(request: Request) -> Response:
    """Documents for a pipeline whose source is `push`; they can be found when this is answered."""
    return await _operate(request, "documents", await read_object(request))


@router.post("/ingest/events", openapi_extra=body_of_kind(EventsBody))
async def events(request: Request) -> Response:
    """What a source says between two syncs: readers, groups and removals take effect before this is answered.

    With `?pipeline=NAME` any other JSON, such as a vendor's own notification, means that something changed there:
    the pipeline runs. Microsoft Graph and Slack ask whether we are there before they send anything; we say so.
    """
    if token := request.query_params.get("validationToken"):
        return PlainTextResponse(token[:2_000])
    body = await read_object(request)
    if body.get("type") == "url_verification" and isinstance(body.get("challenge"), str):
        return json_response({"challenge": body["challenge"][:2_000]})
    if "events" not in body:
        named = request.query_params.get("pipeline")
        if not named:
            raise RequestError("name the pipeline: send {pipeline, events}, or add ?pipeline=NAME to the address")
        body = {"pipeline": named, "events": [{"type": "changed"}]}
    workspace: Workspace = request.app.state.workspace
    done = await to_thread.run_sync(operation("events"), workspace, body, limiter=request.app.state.events)
    jobs = [await to_thread.run_sync(_put_on_queue, request, name) for name in done.pop("sync")]
    return json_response({**done, "jobs": jobs})


@router.post("/ingest/{name}")
async def operate(request: Request, name: str) -> Response:
    """One operation on documents, such as `retry`, `explain` or `forget`."""
    return await _operate(request, name, await read_object(request))


async def _operate(request: Request, name: str, body: dict[str, Any]) -> Response:
    workspace: Workspace = request.app.state.workspace
    done = await to_thread.run_sync(operation(name), workspace, body, limiter=request.app.state.slow_work)
    return json_response(done)


def _put_on_queue(request: Request, pipeline: str) -> str:
    """A sync that the source asked for; one that waits already will see what changed."""
    try:
        return queues_of(request).submit(pipeline)
    except BusyError:
        return "queued already"
