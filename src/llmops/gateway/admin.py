"""`/api`: what the CLI asks of the process that owns the workspace."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
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
from llmops.ingestion.report import Progress
from llmops.ingestion.run import Options
from llmops.ingestion.spec import IngestionSpec
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
    allow_empty: bool = False


@router.post("/ingest", openapi_extra=body_of_kind(IngestBody))
async def ingest(request: Request) -> Response:
    """Run a pipeline; one JSON object a line: `progress` while it runs, then `report` or `error`."""
    workspace: Workspace = request.app.state.workspace
    body = await read_model(request, IngestBody)
    pipeline = await to_thread.run_sync(workspace.pipeline, body.pipeline)
    if not _ingesting.acquire(blocking=False):
        raise BusyError("an ingestion is already running in this workspace; wait for it")
    # The run begins here and goes on when the client leaves: a half-done ingestion helps nobody.
    latest: list[Progress] = []
    work = asyncio.ensure_future(to_thread.run_sync(_ingest, workspace, pipeline, body, latest))
    _under_way.add(work)
    work.add_done_callback(_under_way.discard)
    return StreamResponse(_told(work, latest), media_type="application/x-ndjson", headers={}, encode=_line)


async def _told(work: asyncio.Future[dict[str, Any]], latest: list[Progress]) -> AsyncGenerator[bytes, None]:
    while not work.done():
        await asyncio.wait([work], timeout=_PROGRESS_EVERY_S)
        if latest:
            yield _line({"progress": asdict(latest[-1])})
            latest.clear()
    yield _line(work.result())


def _ingest(
    workspace: Workspace, pipeline: IngestionSpec, body: IngestBody, latest: list[Progress]
) -> dict[str, Any]:
    options = Options(rebuild=body.rebuild, allow_empty=body.allow_empty)
    try:
        done = workspace.ingest(pipeline, options=options, on_progress=latest.append)
        return {"report": wire.report(done)}
    except LlmopsError as error:
        return body_of(error)
    finally:
        _ingesting.release()


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
