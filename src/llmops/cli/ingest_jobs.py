"""`llmops ingest submit`, `jobs` and `cancel`: ingestion on the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.ingest import app
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

if TYPE_CHECKING:
    from pathlib import Path


@app.command("submit")
def submit(
    pipeline: Annotated[str, typer.Argument(help="Name or file.")],
    rebuild: Annotated[bool, typer.Option(help="As for `run`.")] = False,
    beside: Annotated[bool, typer.Option(help="As for `run`.")] = False,
    accept_removals: Annotated[bool, typer.Option(help="As for `run`.")] = False,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Put a pipeline on the queue for any worker to take, and return at once."""
    from llmops.workspace.files import load_files

    name = load_files(workspace).pipeline(pipeline).name
    body = {"pipeline": name, "rebuild": rebuild, "beside": beside, "accept_removals": accept_removals}
    job = _ask(workspace, "POST", "", body)
    if as_json:
        print_json(job)
    else:
        print(f"{job['job_id']} is on the queue; `llmops ingest jobs` shows what becomes of it")


@app.command("jobs")
def jobs(workspace: WorkspaceOption = HERE, as_json: JsonOption = False) -> None:
    """Jobs on the queue, under way and done, newest first."""
    found = _ask(workspace, "GET", "", {})
    if as_json:
        print_json(found)
        return
    for job in found:
        line = f"{job['created_at'][:19]}  {job['state']:10}  {job['pipeline']:16}  {job['job_id']}"
        print(f"{line}  {_said(job)}".rstrip())
    if not found:
        print("no jobs yet; `llmops ingest submit NAME` adds one")


@app.command("cancel")
def cancel(
    job_id: Annotated[str, typer.Argument(help="As `ingest jobs` shows it.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Stop a job before its next step; what it wrote stays."""
    job = _ask(workspace, "POST", f"/{job_id}/cancel", {})
    if as_json:
        print_json(job)
    else:
        print(f"{job_id} is {job['state']}")


def _said(job: dict[str, Any]) -> str:
    """What became of a job, or how far it is."""
    if job["reason"]:
        return str(job["reason"])
    if job["n_batches"]:
        return f"{job['n_done']} of {job['n_batches']} batches written ({', '.join(job['workers']) or 'queued'})"
    report = job["report"]
    return f"{report['n_indexed']} indexed, {report['n_removed']} removed" if report else ""


def _ask(workspace: Path, method: str, path: str, body: dict[str, Any]) -> Any:
    """The gateway on this workspace, or the queues themselves where every process is equal."""
    from llmops.cli.faces import queue_of

    return queue_of(workspace, method, path, body)
