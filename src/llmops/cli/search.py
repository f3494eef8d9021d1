"""`llmops search`: the passages behind an answer, without the answer."""

from __future__ import annotations

import shutil
import textwrap
from typing import Annotated

import typer

from llmops.cli.options import (
    HERE,
    JsonOption,
    PrincipalOption,
    TenantOption,
    WorkspaceOption,
    print_json,
    read_filter,
)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Pipeline whose collection.")
    ] = None,
    route: Annotated[str | None, typer.Option("--route", "-r", help="Search as this route does.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")] = 5,
    where: Annotated[list[str] | None, typer.Option("--filter", help="FIELD=VALUE of the metadata.")] = None,
    principal: PrincipalOption = None,
    tenant: TenantOption = "",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that fit a query best."""
    from llmops.cli.faces import Eyes, open_face

    body = {"query": query, "k": k, "filter": read_filter(where)}
    body |= {name: value for name, value in (("collection", collection), ("route", route)) if value is not None}
    with open_face(workspace) as face:
        found = face.search(body, eyes=Eyes(principals=tuple(principal or ()), tenant=tenant))
    if as_json:
        print_json(found)
        return
    if not found["hits"]:
        print(f"nothing in {found['collection']!r} that you may read fits this query")
    width = min(shutil.get_terminal_size().columns, 100)
    for hit in found["hits"]:
        place = ", ".join(part for part in (hit["uri"], hit["locator"]) if part)
        heading = " > ".join(hit["heading_path"]) or hit["title"]
        print(f"{hit['rank']}. {heading}  ({place})  score {hit['score']:.3f}")
        snippet = textwrap.shorten(hit["text"], 300, placeholder=" …")
        print(textwrap.indent(textwrap.fill(snippet, width - 3), "   "))
