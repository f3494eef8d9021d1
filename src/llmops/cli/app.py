"""The commands, and how their errors end: one sentence on standard error and the exit code of DESIGN."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from llmops.cli import (
    ask,
    audit,
    doctor,
    evals,
    guard,
    ingest,
    ingest_collections,
    ingest_documents,
    ingest_jobs,
    ingest_tuning,
    init,
    key,
    lineage,
    prompt,
    release,
    schema,
    search,
    trace,
    up,
    worker,
)
from llmops.errors import LlmopsError

__all__ = ["app", "ingest_collections", "ingest_documents", "ingest_jobs", "ingest_tuning", "run"]

_ORDER = tuple(
    "init up doctor ingest search ask prompt guard eval release lineage trace audit key worker schema".split()
)


class _InOrder(TyperGroup):
    """Commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    name="llmops",
    cls=_InOrder,
    help="Build, evaluate, promote, serve and watch everything that can change an answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(init.init)
app.command("up")(up.up)
app.command("doctor")(doctor.doctor)
app.add_typer(ingest.app, name="ingest")
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.add_typer(prompt.app, name="prompt")
app.add_typer(guard.app, name="guard")
app.add_typer(evals.app, name="eval")
app.add_typer(release.app, name="release")
app.command("lineage")(lineage.lineage)
app.add_typer(trace.app, name="trace")
app.add_typer(audit.app, name="audit")
app.add_typer(key.app, name="key")
app.command("worker")(worker.worker)
app.command("schema")(schema.schema)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = _run(arguments)
        print(end="", flush=True)  # unlike sys.stdout.flush() also where standard output is closed
    except BrokenPipeError:
        # The reader has left; say no more, not even when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        app(args=list(arguments), prog_name="llmops")
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None
        return error.code if isinstance(error.code, int) else 1
    except LlmopsError as error:
        _tell(error, as_json="--json" in arguments)
        return error.exit_code
    return 0


def _tell(error: LlmopsError, *, as_json: bool) -> None:
    if as_json:
        kind = getattr(error, "kind", type(error).__name__)
        print(json.dumps({"error": {"message": str(error), "type": kind}}))
    else:
        print(f"llmops: {error}", file=sys.stderr)
