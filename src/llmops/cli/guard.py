"""`llmops guard`: what a policy finds in a text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json
from llmops.errors import RequestError

app = typer.Typer(help="Try guardrail policies.", no_args_is_help=True, rich_markup_mode=None)
_STAGES = ("input", "context", "output")


@app.command("explain")
def explain(
    text: Annotated[str, typer.Argument(help="The text to check.")],
    stage: Annotated[str, typer.Option(help="input, context or output.")] = "input",
    policy: Annotated[str, typer.Option("--policy", "-p", help="A policy in guardrails/.")] = "default",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show what a policy finds in a text, and what it does about it; exit 0 whatever it finds."""
    from llmops.guardrails.guard import Guard
    from llmops.workspace.files import load_files

    if stage not in _STAGES:
        raise RequestError(f"no stage {stage!r}; the stages are {', '.join(_STAGES)}")
    result = Guard(load_files(workspace).policy(policy)).check(stage, text)  # type: ignore[arg-type]  # checked above
    if as_json:
        print_json(asdict(result))
        return
    print(f"{stage}: {result.action}")
    for finding in result.findings:
        found = text[finding.start : finding.end]
        print(f"  {finding.check}  {finding.kind}  {finding.score:.2f}  {finding.action}  {found!r}")
    if result.action == "redact":
        print(f"\n{result.text}")
