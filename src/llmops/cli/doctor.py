"""`llmops doctor`: what is configured, what is reachable, what is missing, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(workspace: WorkspaceOption = HERE, as_json: JsonOption = False) -> None:
    """Check the workspace and everything it needs; exit 2 when something must be mended."""
    from llmops.settings import Settings
    from llmops.workspace.doctor import examine

    checks = examine(workspace, Settings.from_environment())
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{_MARKS[check.status]}  {check.name:{width}}  {check.detail}")
    raise typer.Exit(2 if any(check.status == "fail" for check in checks) else 0)
