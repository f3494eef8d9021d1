"""`/api/jobs`: ingestion on the queue, for any worker to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from llmops.errors import ConfigurationError
from llmops.gateway.bodies import body_of_kind, read_model
from llmops.gateway.errors import json_response
from llmops.ingestion.steps import Options
from llmops.workspace.opened import Workspace

if TYPE_CHECKING:
    from llmops.jobs.engine import Job, Jobs

router = APIRouter(prefix="/api/jobs")


class SubmitBody(BaseModel):
    """A pipeline to run as soon as a worker is free."""

    model_config = ConfigDict(extra="forbid")

    pipeline: str
    rebuild: bool = False
    beside: bool = False
    allow_empty: bool = False
    accept_removals: bool = False


@router.post("", openapi_extra=body_of_kind(SubmitBody))
async def submit(request: Request) -> Response:
    """Put a sync on the queue."""
    workspace: Workspace = request.app.state.workspace
    body = await read_model(request, SubmitBody)
    options = Options(**body.model_dump(exclude={"pipeline"}))

    def work() -> dict[str, Any]:
        jobs = queues_of(request)
        return job_json(jobs.get(jobs.submit(workspace.pipeline(body.pipeline).name, options)))

    return json_response(await to_thread.run_sync(work))


@router.get("")
async def listed(request: Request) -> Response:
    """Jobs, newest first."""
    return await _answer(request, lambda jobs: [job_json(job) for job in jobs.list()])


@router.get("/{job_id}")
async def one(request: Request, job_id: str) -> Response:
    """One job with its report."""
    return await _answer(request, lambda jobs: job_json(jobs.get(job_id)))


@router.post("/{job_id}/cancel")
async def cancel(request: Request, job_id: str) -> Response:
    """Stop a job before its next step."""
    return await _answer(request, lambda jobs: job_json(jobs.cancel(job_id)))


def queues_of(request: Request) -> Jobs:
    """The queues of this gateway.

    Raises:
        ConfigurationError: it was made without.
        StorageError: they cannot be opened.
    """
    opened: Callable[[], Jobs] | None = request.app.state.queues
    if opened is None:
        raise ConfigurationError("this gateway has no job queues; start it with `llmops up`")
    return opened()


def job_json(job: Job) -> dict[str, Any]:
    """A job as callers see it."""
    return {**asdict(job), "created_at": job.created_at.isoformat()}


async def _answer(request: Request, ask: Callable[[Jobs], Any]) -> Response:
    return json_response(await to_thread.run_sync(lambda: ask(queues_of(request))))
