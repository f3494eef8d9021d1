"""`/api`: what the CLI asks of the process that owns the workspace."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import asdict
from typing import Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from llmops.errors import BusyError, LlmopsError
from llmops.gateway import wire
from llmops.gateway.bodies import body_of_kind, read_model
from llmops.gateway.errors import body_of, json_response
from llmops.gateway.streams import StreamResponse
from llmops.ingestion.run import Options
from llmops.ingestion.spec import IngestionSpec
from llmops.workspace.evaluation import Prepared, Target, prepare
from llmops.workspace.lineage import lineage as lineage_of
from llmops.workspace.opened import Workspace

router = APIRouter(prefix="/api")
_ingesting = threading.Lock()
_under_way: set[asyncio.Future[dict[str, Any]]] = set()  # an event loop alone would let go of them
_PROGRESS_EVERY_S = 0.1


class IngestBody(BaseModel):
    """Which pipeline to run, and how."""

    model_config = ConfigDict(extra="forbid")

    pipeline: str
    rebuild: bool = False
    beside: bool = False
    allow_empty: bool = False
    accept_removals: bool = False


class EvalBody(BaseModel):
    """Which suite to run, and on what."""

    model_config = ConfigDict(extra="forbid")

    suite: str
    prompt: str | None = None
    collection: str | None = None
    as_served: bool = False


@router.post("/ingest", openapi_extra=body_of_kind(IngestBody))
async def ingest(request: Request) -> Response:
    """Run a pipeline; one JSON object a line: `progress` while it runs, then `report` or `error`."""
    workspace: Workspace = request.app.state.workspace
    body = await read_model(request, IngestBody)
    pipeline = await to_thread.run_sync(workspace.pipeline, body.pipeline)
    if not _ingesting.acquire(blocking=False):
        raise BusyError("an ingestion is already running in this workspace; wait for it")
    latest: list[Any] = []
    work = to_thread.run_sync(_ingest, workspace, pipeline, body, latest)
    return _begun(work, latest)


@router.post("/eval", openapi_extra=body_of_kind(EvalBody))
async def evaluate(request: Request) -> Response:
    """Run a suite; one JSON object a line: `progress` while it runs, then `report` or `error`.

    The verdict is stored by who asked: MLflow, which takes seconds to load, stays out of this process.
    """
    workspace: Workspace = request.app.state.workspace
    body = await read_model(request, EvalBody)
    target = Target(prompt=body.prompt, collection=body.collection, as_served=body.as_served)
    prepared = await to_thread.run_sync(prepare, workspace, body.suite, target)
    latest: list[Any] = []
    return _begun(_evaluate(prepared, latest), latest)


def _begun(work: Coroutine[Any, Any, dict[str, Any]], latest: list[Any]) -> Response:
    """Work that begins here and goes on when the client leaves: a half-done ingestion helps nobody."""
    task = asyncio.ensure_future(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return StreamResponse(_told(task, latest), media_type="application/x-ndjson", headers={}, encode=_line)


async def _told(work: asyncio.Future[dict[str, Any]], latest: list[Any]) -> AsyncGenerator[bytes, None]:
    while not work.done():
        await asyncio.wait([work], timeout=_PROGRESS_EVERY_S)
        if latest:
            yield _line({"progress": latest[-1]})
            latest.clear()
    yield _line(work.result())


async def _evaluate(prepared: Prepared, latest: list[Any]) -> dict[str, Any]:
    try:
        report = await prepared.run(lambda done, of: latest.append({"done": done, "of": of}))
        return {"report": report.as_json(), "described": list(prepared.described)}
    except LlmopsError as error:
        return body_of(error)


def _ingest(workspace: Workspace, pipeline: IngestionSpec, body: IngestBody, latest: list[Any]) -> dict[str, Any]:
    options = Options(**body.model_dump(exclude={"pipeline"}))
    try:
        done = workspace.ingest(
            pipeline, options=options, on_progress=lambda progress: latest.append(asdict(progress))
        )
        return {"report": wire.report(done)}
    except LlmopsError as error:
        return body_of(error)
    finally:
        _ingesting.release()


@router.get("/lineage/{inference_id}")
async def lineage(request: Request, inference_id: str) -> Response:
    """Everything that shaped one answer."""
    workspace: Workspace = request.app.state.workspace
    await to_thread.run_sync(workspace.writer.flush)
    return json_response(await to_thread.run_sync(lineage_of, workspace.ledger, inference_id))


@router.get("/traces/{inference_id}")
async def trace(request: Request, inference_id: str) -> Response:
    """One trace with every station's input and output."""
    workspace: Workspace = request.app.state.workspace
    await to_thread.run_sync(workspace.writer.flush)
    found = await to_thread.run_sync(workspace.traces.get, inference_id)
    given = await to_thread.run_sync(workspace.feedback.of, inference_id)
    return json_response({**wire.trace(found), "feedback": [wire.feedback(row) for row in given]})


def _line(value: Any) -> bytes:
    return orjson.dumps(value) + b"\n"
