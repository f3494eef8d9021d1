"""Charts of office files (DrawingML): their title, kind, and the numbers stored with them."""

from __future__ import annotations

import re
from typing import Any

from llmops.ingestion.parsing.builder import TextBuilder, pipe_table
from llmops.ingestion.parsing.safe_xml import attribute, children, descendants, local, read_xml

_MAX_POINTS = 10_000
_MAX_SERIES = 200
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def add_chart(raw: bytes, builder: TextBuilder, *, page: int | None = None, with_data: bool = True) -> None:
    """Append a chart's title and kind, and its series as a table with a row for each category.

    Args:
        raw: the chart's XML part.
        with_data: write the table; a sheet's chart only repeats what stands in its cells.

    Raises:
        DocumentError: it is no well-formed XML.
    """
    root = read_xml(raw, "a chart")
    titles = [title for chart in descendants(root, "chart") for title in children(chart, "title")]
    title = " ".join(_said(title) for title in titles)
    plots = [plot for area in descendants(root, "plotArea") for plot in area if local(plot).endswith("Chart")]
    kinds = dict.fromkeys(_WORDS.sub(" ", local(plot)).lower().removesuffix("3 d chart") for plot in plots)
    kind = ", ".join(kinds)
    builder.add("paragraph", f"{title} ({kind})" if title and kind else title or kind.capitalize(), page=page)
    if with_data:
        builder.add("table", pipe_table(_rows(descendants(root, "ser")[:_MAX_SERIES])), page=page)


def _said(element: Any) -> str:
    """Text of a title: written by hand, or kept from the cell that it shows."""
    texts = descendants(element, "t") or descendants(element, "v")
    return " ".join("".join(text.text or "" for text in texts).split())


def _rows(series: list[Any]) -> list[list[str]]:
    """A header with the series' names, then a row for each category, in the order of the categories."""
    names = [" ".join(_said(name) for name in children(one, "tx")) for one in series]
    categories: dict[int, str] = {}
    columns: list[dict[int, str]] = []
    for one in series:
        categories = _points(one, ("cat", "xVal")) | categories
        columns.append(_points(one, ("val", "yVal")))
    indices = sorted({*categories, *(index for column in columns for index in column)})[:_MAX_POINTS]
    rows = [[categories.get(index, ""), *(column.get(index, "") for column in columns)] for index in indices]
    return [["", *names], *rows] if rows else []


def _points(series: Any, names: tuple[str, ...]) -> dict[int, str]:
    found: dict[int, str] = {}
    for name in names:
        for part in children(series, name):
            for point in descendants(part, "pt"):
                index = attribute(point, "idx")
                if index.isascii() and index.isdigit() and len(index) < 8:
                    found[int(index)] = " ".join(value.text or "" for value in children(point, "v"))
    return found
