"""`llmops key`: API keys of the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

if TYPE_CHECKING:
    from llmops.workspace.keys import KeyBook

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True, rich_markup_mode=None)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    role: Annotated[
        str, typer.Option(help="viewer, app, prompt-engineer, ml-engineer, risk-officer, admin.")
    ] = "app",
    principal: Annotated[
        list[str] | None, typer.Option("--principal", help="What the key's holder may read; repeatable.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Its holder sees this tenant's documents and no others.")] = "",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Make a key; it is shown once. From then on the gateway asks every caller for one."""
    with _book(workspace) as book:
        key, secret = book.create(name, role=role, principals=principal or [], tenant=tenant)
    if as_json:
        print_json({**asdict(key), "key": secret})
    else:
        print(f"{secret}\n\nkey {key.key_id} for {name!r}, role {role}. It cannot be shown again.")


@app.command("list")
def show(workspace: WorkspaceOption = HERE, as_json: JsonOption = False) -> None:
    """All keys, without their secrets."""
    with _book(workspace) as book:
        keys = book.all()
    if as_json:
        print_json([asdict(key) for key in keys])
        return
    for key in keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "valid"
        tenant = f"  (tenant {key.tenant})" if key.tenant else ""
        print(f"{key.key_id}  {state:18}  {key.role:15}  {key.name}  {', '.join(key.principals)}{tenant}".rstrip())


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `key list` shows it.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """End a key; a running gateway refuses it within a second."""
    with _book(workspace) as book:
        book.revoke(key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        print(f"key {key_id} is revoked")


@contextmanager
def _book(root: Path) -> Iterator[KeyBook]:
    from llmops.clients.database import open_database
    from llmops.settings import Settings, state_directory
    from llmops.workspace.files import load_files
    from llmops.workspace.keys import KeyBook

    load_files(root)
    database = open_database(Settings.from_environment().database_url, state_directory(root) / "ledger.sqlite3")
    try:
        yield KeyBook(database)
    finally:
        database.close()
