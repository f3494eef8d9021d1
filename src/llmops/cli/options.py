"""Options that many commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from llmops.errors import RequestError

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="LLMOPS_WORKSPACE", help="Folder of the workspace.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PrincipalOption = Annotated[
    list[str] | None, typer.Option("--principal", help="Ask with this principal's permissions; repeatable.")
]
TenantOption = Annotated[str, typer.Option("--tenant", help="Ask as this tenant; nothing else is seen.")]
HERE = Path()


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def read_filter(pairs: list[str] | None) -> dict[str, Any]:
    """`field=value` pairs; a value that is JSON (a number, a list, a range) is taken as such."""
    found: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise RequestError(f"--filter {pair!r} is not FIELD=VALUE")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found
