"""`llmops init`: a workspace of one's own."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from llmops.cli.options import JsonOption, print_json
from llmops.errors import ConfigurationError


def init(
    directory: Annotated[Path, typer.Argument(help="Folder to make or to complete.")], as_json: JsonOption = False
) -> None:
    """Write a small working workspace; files that exist are kept as they are."""
    written: list[Path] = []
    kept: list[Path] = []
    try:
        with as_file(files("llmops.cli") / "workspace_template") as template:
            for source in sorted(path for path in template.rglob("*") if path.is_file()):
                relative = source.relative_to(template)
                if "__pycache__" in relative.parts:
                    continue
                name = ".gitignore" if relative.name == "gitignore" else relative.name
                target = directory / relative.parent / name
                if target.exists():
                    kept.append(target)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
                written.append(target)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {str(directory)!r} ({error.strerror}); choose another folder"
        ) from error
    if as_json:
        print_json({"written": written, "kept": kept})
        return
    for path in written:
        print(f"wrote {path}")
    for path in kept:
        print(f"kept  {path}")
    print(f"\nNext: put documents into {directory / 'docs'}, then")
    print(f"  llmops ingest -w {directory}\n  llmops up -w {directory}")
