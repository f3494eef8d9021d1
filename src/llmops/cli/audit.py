"""`llmops audit`: who changed what, in a chain that shows tampering."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmops.cli.opening import open_ledger
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

app = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def latest(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 20,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """The latest events, newest first."""
    from llmops.releases.audit import latest_events

    with open_ledger(workspace) as ledger:
        events = latest_events(ledger.database, limit)
    if as_json:
        print_json([asdict(event) for event in events])
        return
    for event in events:
        forced = "FORCED " if event.details.get("is_forced") else ""
        reason = f"{forced}{event.details.get('reason') or ''}"
        line = f"{event.sequence:>5}  {event.at:%Y-%m-%d %H:%M:%S}  {event.actor}  {event.action}  {event.subject}"
        print(f"{line}  {reason}".rstrip())


@app.command("verify")
def verify(workspace: WorkspaceOption = HERE, as_json: JsonOption = False) -> None:
    """Check that no event was changed, added or left out; exit 3 when one was."""
    from llmops.releases.audit import latest_events, verify_chain

    with open_ledger(workspace) as ledger:
        n = verify_chain(ledger.database)
        last = latest_events(ledger.database, 1)
    head = last[0].hash if last else ""
    if as_json:
        print_json({"n_events": n, "hash": head})
    else:
        print(f"{n} events, each follows from the one before it; last hash {head or '(none)'}")
