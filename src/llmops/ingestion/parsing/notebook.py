"""Jupyter notebooks: Markdown cells as Markdown, code cells and their printed results as code."""

from __future__ import annotations

import json
import re
from typing import Any

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder, name_of
from llmops.ingestion.parsing.html import parse_html
from llmops.ingestion.parsing.markdown import parse_markdown
from llmops.ingestion.parsing.plain import decode

_MEDIA_TYPE = "application/x-ipynb+json"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MAX_OUTPUT_CHARACTERS = 20_000
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")  # a progress bar writes its line again and again


def parse_notebook(raw: bytes, uri: str) -> Parsed:
    """Cells in order, formats 3 and 4.

    Raises:
        DocumentError: it is no notebook.
    """
    try:
        book = json.loads(decode(raw))
    except ValueError as error:
        raise DocumentError(f"is no notebook: it is no valid JSON ({str(error)[:150]})") from error
    cells = _cells(book)
    if cells is None:
        raise DocumentError("is no notebook: it has no list of cells")
    builder, problems = TextBuilder(), list[str]()
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, dict):
            problems.append(f"cell {number} is no object and is not read")
            continue
        _cell(cell, number, builder, problems)
    language = _language(book)
    metadata: dict[str, Scalar] = {"language": language} if language else {}
    named = builder.build(uri=uri, media_type=_MEDIA_TYPE, metadata=metadata, problems=problems)
    if any(block.kind == "heading" for block in named.blocks):
        return named
    return builder.build(uri=uri, media_type=_MEDIA_TYPE, title=name_of(uri), metadata=metadata, problems=problems)


def _cells(book: Any) -> list[Any] | None:
    if not isinstance(book, dict):
        return None
    sheets = book.get("worksheets")
    if isinstance(sheets, list):  # format 3
        return [cell for sheet in sheets if isinstance(sheet, dict) for cell in _list(sheet.get("cells"))]
    return book["cells"] if isinstance(book.get("cells"), list) else None


def _language(book: dict[str, Any]) -> str:
    metadata = book.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    return str(info.get("name") or "")[:100] if isinstance(info, dict) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    """Text is kept as a string or as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, str) else ""


def _cell(cell: dict[str, Any], number: int, builder: TextBuilder, problems: list[str]) -> None:
    kind = cell.get("cell_type")
    source = _text(cell.get("source", cell.get("input")))
    if kind == "markdown":
        builder.embed(parse_markdown(source.encode("utf-8", "replace"), f"cell {number}.md"), deeper=0)
    elif kind == "heading":
        level = cell.get("level")
        builder.add("heading", source, level=level if isinstance(level, int) else 1)
    elif kind == "code":
        builder.add("code", source)
        for output in _list(cell.get("outputs")):
            if isinstance(output, dict):
                _output(output, number, builder, problems)
    elif kind == "raw":
        builder.add("paragraph", source)
    else:
        problems.append(f"cell {number} is of the unknown kind {str(kind)[:50]!r} and is not read")


def _output(output: dict[str, Any], number: int, builder: TextBuilder, problems: list[str]) -> None:
    """What a cell printed or returned: tables as tables, other text as it stood on the screen."""
    data = output["data"] if isinstance(output.get("data"), dict) else output
    page = _text(data.get("text/html", data.get("html")))
    if _text(data.get("text/markdown")):
        source = _text(data["text/markdown"]).encode("utf-8", "replace")
        builder.embed(parse_markdown(source, f"cell {number}.md"), deeper=3)
        return
    if "<table" in page.lower():
        builder.embed(parse_html(page.encode("utf-8", "replace"), f"cell {number}.html"), deeper=3)
        return
    text = _text(data.get("text/plain", data.get("text", output.get("traceback"))))
    if isinstance(output.get("traceback"), list):
        text = "\n".join(map(str, output["traceback"]))
    clean = _OVERWRITTEN.sub("", _ANSI.sub("", text))
    if len(clean) > _MAX_OUTPUT_CHARACTERS:
        problems.append(f"an output of cell {number} has {len(clean)} characters; its end is not read")
    builder.add("code", clean[:_MAX_OUTPUT_CHARACTERS])
