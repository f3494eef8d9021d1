"""`llmops worker`: one more process that takes jobs from the queues."""

from __future__ import annotations

import json
import signal
import threading
from typing import Annotated, Any

import typer

from llmops.cli.options import HERE, JsonOption, WorkspaceOption


def worker(
    queue: Annotated[
        list[str] | None, typer.Option("--queue", help="Take jobs from this queue only; repeatable.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Take jobs until Ctrl-C; what it had begun when it dies, another worker goes on with."""
    from llmops.errors import RequestError
    from llmops.settings import Settings
    from llmops.workspace.opened import Workspace
    from llmops.workspace.queues import open_jobs, queue_names

    unknown = sorted(set(queue or ()) - set(queue_names()))
    if unknown:
        raise RequestError(f"no queue {unknown[0]!r}; there is: {', '.join(queue_names())}")
    settings = Settings.from_environment()
    opened = Workspace(workspace, settings, command="llmops worker", joins=True)
    stop = threading.Event()

    def end(_signal: int, _frame: Any) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        jobs = open_jobs(opened, takes=queue or None)
        try:
            taken = ", ".join(queue or queue_names())
            said = {"worker": jobs.worker_id, "queues": queue or list(queue_names())}
            print(
                json.dumps(said) if as_json else f"{jobs.worker_id} takes jobs from {taken}; Ctrl-C stops it",
                flush=True,
            )
            stop.wait()
        finally:
            jobs.close()
    finally:
        opened.close()
        for number, handler in before.items():
            signal.signal(number, handler)
