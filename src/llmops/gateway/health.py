"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from llmops.clients.database.tables import collections
from llmops.errors import LlmopsError
from llmops.gateway.errors import json_response
from llmops.gateway.instruments import CONTENT_TYPE, Instruments
from llmops.workspace.opened import Workspace

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers."""
    return json_response({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Ledger and collections answer; 503 with the reasons when one does not."""
    problems = await to_thread.run_sync(_problems, request.app.state.workspace)
    body = {"status": "not ready" if problems else "ready", "problems": problems}
    return json_response(body, status=503 if problems else 200)


def _problems(workspace: Workspace) -> list[str]:
    problems = [workspace.writer.last_error] if workspace.writer.failing_since is not None else []
    try:
        with workspace.database.read() as connection:
            connection.execute(select(collections.c.collection).limit(1))  # SELECT 1 would not open the file
        held = set(workspace.store.collections())
    except LlmopsError as error:
        return [*problems, str(error)]
    for name in workspace.files.routes:
        try:
            route = workspace.route(name)
            if route.retriever is None:
                continue
            shape = route.retriever.shape()
            if shape.collection not in held:
                cure = f"run `llmops ingest run {shape.name} --rebuild`"
                problems.append(f"route {name!r}: the vectors of collection {shape.collection!r} are gone; {cure}")
        except LlmopsError as error:
            problems.append(f"route {name!r}: {error}")
    return problems


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    instruments: Instruments = request.app.state.instruments
    rendered = await to_thread.run_sync(instruments.render)
    return Response(rendered, headers={"Content-Type": CONTENT_TYPE})
