"""`llmops prompt`: versions of prompts in the MLflow registry."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.opening import open_ledger
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json
from llmops.errors import NotFoundError, RequestError

if TYPE_CHECKING:
    from llmops.prompts import Prompt
    from llmops.workspace.ledger import Ledger

app = typer.Typer(help="Publish, compare and point to prompts.", no_args_is_help=True, rich_markup_mode=None)
Reference = Annotated[str, typer.Argument(help="A file, NAME (its file), NAME@3 or NAME@production.")]


@app.command("publish")
def publish(
    names: Annotated[list[str] | None, typer.Argument(help="Prompt names or files; all when left out.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Why it changed.")] = "",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Register prompt files; a content that has a version already gets no second one."""
    from llmops.workspace.prompts import find_prompt, publish_prompt
    from llmops.workspace.provenance import current_user

    with open_ledger(workspace) as ledger:
        wanted = [find_prompt(ledger, name)[0] for name in names or []] or list(ledger.files.prompts.values())
        if not wanted:
            raise NotFoundError(f"there is no prompt file in {str(workspace / 'prompts')!r}")
        done = [publish_prompt(ledger, p, actor=current_user(), message=message) for p in wanted]
    if as_json:
        print_json([{**asdict(one.version), "is_new": one.is_new, "file": one.file} for one in done])
        return
    for one in done:
        state = "new version" if one.is_new else "unchanged: already version"
        origin = f"commit {one.version.commit[:12]}" if one.version.commit else "not committed"
        print(f"{one.version.name}: {state} {one.version.version}  {one.version.digest[:12]}  {origin}")


@app.command("list")
def show_all(workspace: WorkspaceOption = HERE, as_json: JsonOption = False) -> None:
    """Every prompt with its versions and aliases, and whether its file is published."""
    with open_ledger(workspace) as ledger:
        files = {prompt.spec.name: prompt for prompt in ledger.files.prompts.values()}
        rows = [_listed(ledger, name, files.get(name)) for name in sorted({*files, *ledger.registry.names()})]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['name']}  {row['file'] or '(no file here)'}  {row['state']}")
        for version in row["versions"]:
            marks = f"  [{', '.join(version['aliases'])}]" if version["aliases"] else ""
            who = f"{version['created_at']:%Y-%m-%d %H:%M}  {version['author']}"
            print(f"  {version['version']:>3}  {version['digest'][:12]}  {who}  {version['message']}{marks}")


def _listed(ledger: Ledger, name: str, file: Prompt | None) -> dict[str, Any]:
    aliases = ledger.releases.aliases("prompt", name)
    try:
        versions = [asdict(version) for version in ledger.registry.versions(name)]
    except NotFoundError:
        versions = []
    for version in versions:
        version.pop("text")
        version["aliases"] = sorted(a.alias for a in aliases if a.target == version["digest"])
    if file is None:
        state = ""
    elif published := next((v["version"] for v in versions if v["digest"] == file.digest), None):
        state = f"the file is version {published}"
    else:
        state = "the file is not published"
    return {"name": name, "file": file.spec.file if file else "", "state": state, "versions": versions}


@app.command("show")
def show(reference: Reference, workspace: WorkspaceOption = HERE, as_json: JsonOption = False) -> None:
    """One prompt, as its file has it."""
    from llmops.workspace.prompts import find_prompt

    with open_ledger(workspace) as ledger:
        prompt, called = find_prompt(ledger, reference)
    if as_json:
        spec = prompt.spec.model_dump(mode="json")
        print_json(
            {"name": prompt.spec.name, "from": called, "digest": prompt.digest, **spec, "text": prompt.text}
        )
    else:
        print(f"# {called}  {prompt.digest}\n{prompt.text}", end="")


@app.command("diff")
def diff(
    before: Reference,
    after: Annotated[str | None, typer.Argument(help="As BEFORE; by default the file of the same name.")] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """What changed from one prompt to another; exit 0 also when something did."""
    from llmops.workspace.prompts import find_prompt

    with open_ledger(workspace) as ledger:
        old, old_called = find_prompt(ledger, before)
        new, new_called = find_prompt(ledger, after or before.partition("@")[0])
    lines = list(
        difflib.unified_diff(
            old.text.splitlines(), new.text.splitlines(), fromfile=old_called, tofile=new_called, lineterm=""
        )
    )
    if as_json:
        print_json({"before": old.digest, "after": new.digest, "is_same": old.digest == new.digest, "diff": lines})
    elif lines:
        print("\n".join(lines))
    else:
        print(f"{old_called} and {new_called} are the same")


@app.command("alias")
def alias(
    name: Annotated[str, typer.Argument(help="The prompt.")],
    alias: Annotated[str, typer.Argument(help="Such as staging; production is moved by releases only.")],
    version: Annotated[str, typer.Argument(help="A version number.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Let NAME@ALIAS stand for a version; a running gateway follows within two seconds."""
    from llmops.workspace.prompts import point_alias
    from llmops.workspace.provenance import current_user

    if not version.isdecimal() or not 0 < int(version) < 2**31:
        raise RequestError(f"{version!r} is no version; `llmops prompt list` shows their numbers")
    with open_ledger(workspace) as ledger:
        point_alias(ledger, name, alias, int(version), actor=current_user())
    if as_json:
        print_json({"name": name, "alias": alias, "version": int(version)})
    else:
        print(f"{name}@{alias} is version {version}")
