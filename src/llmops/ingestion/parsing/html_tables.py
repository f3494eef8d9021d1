"""Tables of HTML: which of them hold data, and their rows with cells that span several."""

from __future__ import annotations

from collections.abc import Iterator

from bs4 import Tag

from llmops.ingestion.parsing.builder import pipe_table
from llmops.ingestion.parsing.html_text import one_line

_MAX_SPAN = 200
_MAX_COLUMNS = 500
_MAX_DEPTH = 20
_MAX_REPEATED = 300  # characters: a longer text stands in the first place of its span only
_MAX_REPEATS = 200_000  # characters that spans may add to a table
_PARTS = ("thead", "tbody", "tfoot")


def is_data_table(table: Tag) -> bool:
    """Whether a table holds data: one with tables in it does when it shows that by heads or a caption."""
    if table.find("table") is None:
        return True
    return any(row.find("th", recursive=False) is not None for row in _rows(table)) or any(
        child.name == "caption" for child in table.children if isinstance(child, Tag)
    )


def rows_of_table(table: Tag) -> str:
    """Caption and rows; what spans rows or columns stands in each of them."""
    caption = next((c for c in table.children if isinstance(c, Tag) and c.name == "caption"), None)
    lines = [one_line(caption)] if caption is not None else []
    return "\n".join(filter(None, [*lines, pipe_table(_cells(table))]))


def _rows(table: Tag) -> Iterator[Tag]:
    """The table's own rows, not those of tables within."""
    for child in table.children:
        if isinstance(child, Tag):
            if child.name == "tr":
                yield child
            elif child.name in _PARTS:
                yield from (row for row in child.children if isinstance(row, Tag) and row.name == "tr")


def _cells(table: Tag, depth: int = 0) -> Iterator[list[str]]:
    open_spans: dict[int, tuple[int, str]] = {}  # by column: rows left, and what stands there
    n_left, width = _MAX_REPEATS, _width(table)
    rows = list(_rows(table))
    for index, row in enumerate(rows):
        texts: dict[int, str] = {}
        below: dict[int, tuple[int, str]] = {}
        for column, (n_rows, text) in open_spans.items():
            texts[column] = text
            if n_rows > 1:
                below[column] = (n_rows - 1, text)
        column = 0
        n_own = n_lasting = 0
        for cell in row.find_all(["td", "th"], recursive=False):
            while column in texts:
                column += 1
            text = _cell(cell, depth)
            wide, tall = _span(cell, "colspan"), _span(cell, "rowspan")
            shown = text if len(text) <= _MAX_REPEATED else ""
            n_added = (wide * tall - 1) * (len(shown) + len(" | "))
            if n_added > n_left or column + wide > _MAX_COLUMNS:
                wide = tall = 1
            else:
                n_left -= n_added
            n_own, n_lasting = n_own + 1, n_lasting + (tall > 1 and shown == text)
            for offset in range(wide):
                texts[column + offset] = shown if offset else text
                if tall > 1:
                    below[column + offset] = (tall - 1, shown)
            column += wide
        open_spans = below
        if n_own and n_own == n_lasting and len(texts) < width and index + 1 < len(rows):
            continue  # heads of the rows below, in which they stand again
        yield [texts.get(place, "") for place in range(max(texts, default=-1) + 1)]


def _width(table: Tag) -> int:
    """Cells of the table's first row."""
    first = next(_rows(table), None)
    return (
        0
        if first is None
        else sum(_span(cell, "colspan") for cell in first.find_all(["td", "th"], recursive=False))
    )


def _span(cell: Tag, name: str) -> int:
    said = str(cell.get(name) or "1").strip()
    return min(max(int(said), 1), _MAX_SPAN) if said.isascii() and said.isdigit() and len(said) < 6 else 1


def _cell(cell: Tag, depth: int) -> str:
    """The text of a cell; a table in it row by row."""
    inner = cell.find("table")
    if inner is None or depth >= _MAX_DEPTH:
        return one_line(cell)
    parts: list[str] = []
    for child in cell.children:
        if isinstance(child, Tag) and child.name == "table":
            parts.append("; ".join(", ".join(filter(None, row)) for row in _cells(child, depth + 1)))
        else:
            parts.append(one_line(child) if isinstance(child, Tag) else str(child))
    return " ".join(" ".join(parts).split())
