"""`llmops ingest retry` and `explain`: single documents."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmops.cli.ingest import app, print_report
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json


@app.command("retry")
def retry(
    pipeline: Annotated[str, typer.Argument(help="Name or file.")],
    document: Annotated[str | None, typer.Argument(help="Only this one, as `status` names it.")] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Try failed and parked documents again, now; exit 3 when one fails again."""
    from llmops.cli.faces import open_face

    with open_face(workspace) as face:
        done = face.operate("retry", {"pipeline": pipeline, "uri": document})
    if as_json:
        print_json(done)
    elif done["report"] is None:
        print("nothing has failed; there is nothing to try again")
    else:
        print_report(done["report"])
    raise typer.Exit(0 if done["report"] is None or done["report"]["is_complete"] else 3)


@app.command("explain")
def explain(
    pipeline: Annotated[str, typer.Argument(help="Name or file.")],
    document: Annotated[str, typer.Argument(help="As `status` names it.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """What became of one document, who may read it, and how it was cut."""
    from llmops.cli.faces import open_face

    with open_face(workspace) as face:
        found = face.operate("explain", {"pipeline": pipeline, "uri": document})
    if as_json:
        print_json(found)
    else:
        _print_explained(found)


@app.command("forget")
def forget(
    pipeline: Annotated[str, typer.Argument(help="Name or file.")],
    document: Annotated[str, typer.Argument(help="As `status` names it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Erase a document for good, with what traces and caches hold of it, and prove it; exit 3 when not proved."""
    from llmops.cli.faces import open_face

    if not yes:
        typer.confirm(f"Erase {document!r} for good? It cannot be brought back.", abort=True, err=True)
    with open_face(workspace) as face:
        done = face.operate("forget", {"pipeline": pipeline, "uri": document})
    if as_json:
        print_json(done)
    else:
        _print_receipt(done)
    raise typer.Exit(0 if done["is_proved"] else 3)


def _print_receipt(done: dict[str, Any]) -> None:
    texts = (
        f"texts of {done['n_traces']} traces, {done['n_feedback']} comments and {done['n_reports']} eval reports"
    )
    print(f"erased: {done['n_points']} points, {texts}")
    print(f"  it stays away: document {done['document_id']} is left out of every sync of {done['pipeline']}")
    for place, n in sorted(done["left"].items()):
        print(f"  still found in {place}: {n}")
    if done["n_unreadable"]:
        print(f"  {done['n_unreadable']} traces are encrypted with another key; nobody can tell what they hold")
    print("  proved: a second look found nothing" if done["is_proved"] else "  not proved; see above")


def _print_explained(found: dict[str, Any]) -> None:
    row = found["document"]
    print(f"{row['uri']} ({row['title']})")
    reason = f": {row['reason']}" if row["reason"] else ""
    print(f"  state     {row['state']}{reason}, since {row['updated_at'][:19]}")
    if row["attempts"]:
        when = f", next try after {row['retry_at'][:19]}" if row["retry_at"] else ""
        print(f"  failures  {row['attempts']} in a row{when}")
    readers = ", ".join(row["acl"] or ()) or "nobody: its source does not say who may read it"
    tenant = f" of the tenant {found['tenant']}" if found["tenant"] else ""
    print(f"  readers   {readers}{tenant}")
    if row["expires_at"]:
        print(f"  expires   {row['expires_at'][:10]}")
    for name, value in sorted(row["labels"].items()):
        print(f"  label     {name}: {value}")
    print(f"  content   {row['n_bytes']:,} bytes, SHA-256 {row['content_hash'][:12]}")
    print(f"  chunks    {len(found['chunks'])} in {found['collection']}")
    for chunk in found["chunks"]:
        place = f" ({chunk['locator']})" if chunk["locator"] else ""
        print(f"    {' > '.join(chunk['heading_path'])}{place}: {' '.join(chunk['text'].split())[:80]}")
