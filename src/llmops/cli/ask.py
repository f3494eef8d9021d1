"""`llmops ask`: one question, answered with citations."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from llmops.cli.options import HERE, JsonOption, PrincipalOption, TenantOption, WorkspaceOption, print_json


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    route: Annotated[str | None, typer.Option("--route", "-r", help="Which route answers.")] = None,
    principal: PrincipalOption = None,
    tenant: TenantOption = "",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Answer a question with citations."""
    from llmops.cli.faces import Eyes, default_route, open_face

    name = default_route(workspace, route)
    eyes = Eyes(principals=tuple(principal or ()), tenant=tenant)
    with open_face(workspace) as face:
        shown = (lambda _: None) if as_json else _write
        answer = face.ask(question, route=name, eyes=eyes, on_text=shown)
    if as_json:
        print_json(answer)
    else:
        _print_sources(answer)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _print_sources(answer: dict[str, Any]) -> None:
    print()
    if answer.get("citations"):
        print("\nSources")
    for citation in answer.get("citations", []):
        where = ", ".join(part for part in (citation["uri"], citation["locator"]) if part)
        print(f"  [{citation['number']}] {citation['title']} ({where})")
    print(f"\n{answer['model']} · {answer['inference_id']} · llmops trace show {answer['inference_id']}")
