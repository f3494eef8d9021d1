"""`llmops release`: what answers under each name, changed only on evidence."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.opening import open_ledger
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

if TYPE_CHECKING:
    from llmops.records import Release
    from llmops.workspace.ledger import Ledger
    from llmops.workspace.promotion import Promoted

app = typer.Typer(help="Promote, roll back and look up what answers.", no_args_is_help=True, rich_markup_mode=None)
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the history and the audit log.")]


@app.command("promote")
def promote(
    targets: Annotated[
        list[str], typer.Argument(help="prompt:NAME, prompt:NAME@3, collection:NAME; several go together.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Without a passing verdict; needs --reason.")] = False,
    reason: ReasonOption = "",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Let names answer from new content, when every suite on it has passed on exactly this content.

    Exit 1 when a verdict is missing or did not pass. A running gateway follows within two seconds.
    """
    from llmops.workspace.promotion import promote as promote_all
    from llmops.workspace.provenance import current_user

    with open_ledger(workspace) as ledger:
        done = promote_all(ledger, targets, actor=current_user(), is_forced=force, reason=reason)
    _tell(done, as_json=as_json)


@app.command("rollback")
def rollback(
    target: Annotated[str, typer.Argument(help="prompt:NAME or collection:NAME.")],
    reason: ReasonOption = "",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Go back to what answered before; once more goes further back."""
    from llmops.workspace.promotion import roll_back
    from llmops.workspace.provenance import current_user

    with open_ledger(workspace) as ledger:
        done = roll_back(ledger, target, actor=current_user(), reason=reason)
    _tell(done, as_json=as_json)


@app.command("status")
def status(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Changes shown.")] = 10,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """What every alias stands for, what waits for a release, and the latest changes."""
    with open_ledger(workspace) as ledger:
        now = [_current(ledger, alias) for alias in ledger.releases.aliases()]
        waiting = _waiting(ledger)
        history = ledger.releases.history(limit=limit)
    if as_json:
        print_json({"aliases": now, "waiting": waiting, "history": [asdict(release) for release in history]})
        return
    if not now:
        print("nothing is released yet")
    for row in now:
        print(f"{row['subject']}  {row['called']}  since {row['since']:%Y-%m-%d %H:%M}  {row['why']}")
    for row in waiting:
        print(f"waiting  {row['called']}  {row['why']}")
    if history:
        print("\nLatest changes")
    for release in history:
        print(f"  {release.at:%Y-%m-%d %H:%M:%S}  {_line(release)}")


@app.command("sync")
def sync(workspace: WorkspaceOption = HERE, as_json: JsonOption = False) -> None:
    """Bring MLflow's aliases in line with the ledger, after MLflow could not be reached."""
    from llmops.workspace.promotion import mirror

    with open_ledger(workspace) as ledger:
        moved = mirror(ledger)
    if as_json:
        print_json({"moved": moved})
    else:
        print("\n".join(moved) or "MLflow's aliases are those of the ledger")


def _current(ledger: Ledger, alias: Any) -> dict[str, Any]:
    release = next(iter(ledger.releases.history(alias.kind, alias.name, alias.alias, limit=1)), None)
    called = alias.target if alias.version is None or alias.kind == "collection" else f"version {alias.version}"
    return {**asdict(alias), "subject": alias.subject, "called": called, "why": _why(release)}


def _why(release: Release | None) -> str:
    if release is None:
        return ""
    how = {"promote": "promoted", "rollback": "rolled back", "alias": "pointed", "ingest": "built"}[release.action]
    evidence = (
        "FORCED" if release.is_forced else f"verdict {release.verdict_id[:12]}" if release.verdict_id else ""
    )
    return "  ".join(part for part in (f"{how} by {release.actor}", evidence, release.reason) if part)


def _waiting(ledger: Ledger) -> list[dict[str, Any]]:
    """Published prompts newer than production's, and candidate collections."""
    found = []
    for prompt in {p.spec.name for p in ledger.files.prompts.values()}:
        newest = next(iter(ledger.artifacts.published("prompt", prompt)), None)
        now = ledger.releases.now("prompt", prompt)
        if newest is not None and newest.digest != (now.target if now else ""):
            found.append({"called": f"prompt:{prompt}@{newest.version}", "why": f"by {newest.author}"})
    for name in ledger.files.pipelines:
        candidate = ledger.collections.candidate(name)
        if candidate is not None:
            why = f"built {candidate.created_at:%Y-%m-%d %H:%M}"
            found.append({"called": f"collection:{name}  {candidate.collection}", "why": why})
    return sorted(found, key=lambda row: row["called"])


def _tell(done: Promoted, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "releases": [asdict(release) for release in done.releases],
                "verdicts": [verdict.verdict_id for verdict in done.verdicts],
                "problems": list(done.problems),
            }
        )
    else:
        for release in done.releases:
            print(_line(release))
        for verdict in done.verdicts:
            print(f"on verdict {verdict.verdict_id[:12]} of {verdict.suite}: {len(verdict.checks)} rules passed")
        for problem in done.problems:
            print(f"llmops: {problem}", file=sys.stderr)
    if done.problems:
        raise typer.Exit(3)


def _line(release: Release) -> str:
    after = f"version {release.version}" if release.version and release.kind == "prompt" else release.target
    before = f"version {release.previous_version}" if release.previous_version else release.previous
    before = release.previous if release.kind == "collection" else before
    came = f" (before: {before})" if before else ""
    return f"{release.kind}:{release.name}@{release.alias} is {after}{came}  {_why(release)}"
