"""`llmops trace`: what happened for one answer, station by station."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

if TYPE_CHECKING:
    from llmops.clients.database import Database
    from llmops.tracing import ContentVault

app = typer.Typer(help="Look at traces and their feedback.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def latest(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    route: Annotated[str | None, typer.Option("--route", "-r")] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """The latest inferences, newest first."""
    from llmops.gateway import wire
    from llmops.tracing import TraceReader

    with _ledger(workspace) as (database, vault):
        found = TraceReader(database, vault).latest(limit, route)
    if as_json:
        print_json([wire.trace(trace) for trace in found])
        return
    for trace in found:
        tokens = f"{trace.usage.input_tokens}+{trace.usage.output_tokens} tokens"
        print(
            f"{trace.started_at:%Y-%m-%d %H:%M:%S}  {trace.inference_id}  {trace.route}  {trace.status}  "
            f"{trace.duration_ms:.0f} ms  {tokens}"
        )


@app.command("show")
def show(
    inference_id: Annotated[str, typer.Argument(help="As an answer gives it.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Every station of one inference, with times, inputs, outputs and feedback."""
    from llmops.cli.faces import OwnerFace
    from llmops.workspace.files import load_files
    from llmops.workspace.ownership import find_owner

    load_files(workspace)
    owner = find_owner(workspace)
    if owner is not None and owner.url:
        found = OwnerFace(owner).trace(inference_id)
    else:
        found = _from_ledger(workspace, inference_id)
    if as_json:
        print_json(found)
    else:
        _print_trace(found)


def _from_ledger(workspace: Path, inference_id: str) -> dict[str, Any]:
    from llmops.gateway import wire
    from llmops.tracing import TraceReader, feedback_on

    with _ledger(workspace) as (database, vault):
        found = wire.trace(TraceReader(database, vault).get(inference_id))
        found["feedback"] = [wire.feedback(row) for row in feedback_on(database, inference_id)]
    return found


def _print_trace(found: dict[str, Any]) -> None:
    usage = found["usage"]
    print(f"{found['inference_id']}  {found['started_at']}  route {found['route']}  {found['status']}")
    if found["error"]:
        print(f"error: {found['error']}")
    print(
        f"model {found['model']} · {usage['input_tokens']} + {usage['output_tokens']} tokens · "
        f"${found['cost_usd']:.6f} · first text {found['ttft_ms']:.0f} ms · total {found['duration_ms']:.0f} ms"
    )
    for name, digest in found["spec_hashes"].items():
        print(f"{name}  {digest[:12]}")
    for span in found["spans"]:
        print(f"\n{span['station']}  at {span['start_ms']:.1f} ms, took {span['duration_ms']:.1f} ms")
        for side in ("input", "output"):
            if span[side]:
                print(f"  {side}: {str(span[side])[:2000]}")
    for feedback in found["feedback"]:
        said = " ".join(part for part in (feedback["comment"], feedback["correction"]) if part)
        print(f"\nfeedback {feedback['name']}={feedback['value']} by {feedback['caller']} {said}".rstrip())


@contextmanager
def _ledger(root: Path) -> Iterator[tuple[Database, ContentVault]]:
    from llmops.clients.database import open_database
    from llmops.settings import Settings, state_directory
    from llmops.tracing import ContentVault
    from llmops.workspace.files import load_files

    load_files(root)
    settings, state = Settings.from_environment(), state_directory(root)
    database = open_database(settings.database_url, state / "ledger.sqlite3")
    try:
        yield database, ContentVault(settings.trace_key, state / "trace.key")
    finally:
        database.close()
