"""XLSX through openpyxl's streaming reader: a section for each sheet, its tables, comments and charts."""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import MAX_CHARACTERS, Parsed, Scalar, TextBuilder, name_of, pipe_table
from llmops.ingestion.parsing.media_types import XLSX
from llmops.ingestion.parsing.safe_xml import refuse_document_types
from llmops.ingestion.parsing.xlsx_cells import display, merged_areas, n_without_value, spread_merged
from llmops.ingestion.parsing.xlsx_parts import add_parts, sheet_members
from llmops.ingestion.parsing.zip_limits import check_zip, read_member

MAX_SHEETS = 500
MAX_ROWS = 100_000
"""Rows of one sheet."""
MAX_COLUMNS = 1_000
MAX_CELLS = 5_000_000
"""Cells of one sheet that are looked at, empty ones included."""


def parse_xlsx(raw: bytes, uri: str) -> Parsed:
    """Values as the spreadsheet program stored them; rows that touch are a table, with its header first.

    Raises:
        DocumentError: it is no workbook, is encrypted, or unpacks to too much.
    """
    check_zip(raw)
    refuse_document_types(raw)
    # What openpyxl remarks of a workbook (no default style, an unknown extension) changes no value.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")
    builder, problems = TextBuilder(), list[str]()
    hidden: list[str] = []
    try:
        book = load_workbook(io.BytesIO(raw), read_only=True, data_only=True, keep_links=False)
    except (InvalidFileException, KeyError, ValueError, TypeError) as error:
        raise DocumentError(f"is not an Excel workbook ({str(error)[:150]})") from error
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = sheet_members(archive)
            sheets = {sheet.title: sheet for sheet in book.worksheets}
            for name, state, member in members[:MAX_SHEETS]:
                if state != "visible":
                    hidden.append(name)
                shown = name if state == "visible" else f"{name} (hidden sheet)"
                part = TextBuilder()
                try:
                    part.add("heading", shown, level=1)
                    _sheet(sheets.get(name), archive, member, part, problems)
                except Exception as error:  # noqa: BLE001 (a damaged sheet; the others go on)
                    problems.append(f"sheet {name!r} cannot be read ({type(error).__name__}: {str(error)[:150]})")
                    continue
                if part.n_characters > len(shown):
                    builder.merge(part)
        if len(members) > MAX_SHEETS:
            problems.append(f"has {len(members)} sheets; only the first {MAX_SHEETS} are read")
        metadata = _metadata(book, hidden)
        title = book.properties.title or name_of(uri)  # the first sheet's name would say less
    finally:
        book.close()
    return builder.build(uri=uri, media_type=XLSX, title=title, metadata=metadata, problems=problems)


def _metadata(book: Any, hidden: list[str]) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    if book.properties.creator and book.properties.creator != "openpyxl":
        found["author"] = book.properties.creator
    if hidden:
        found["hidden_sheets"] = ", ".join(hidden)[:1_000]
    return found


def _sheet(sheet: Any, archive: zipfile.ZipFile, member: str, builder: TextBuilder, problems: list[str]) -> None:
    """Append tables and loose lines of one sheet, then what is attached to it; a chart sheet has no rows."""
    regions: list[list[list[str]]] = []
    if sheet is not None:
        xml = read_member(archive, member)
        if n_missing := n_without_value(xml):
            problems.append(
                f"sheet {sheet.title!r} has {n_missing} formulas without a stored value; "
                "open and save it in a spreadsheet program"
            )
        rows = _rows(sheet, problems)
        if not spread_merged(rows, merged_areas(xml)):
            problems.append(f"sheet {sheet.title!r} has more merged cells than are told apart")
        regions = _regions(rows)
    for region in regions:
        _region(region, builder)
    add_parts(archive, member, builder, problems, with_data=not regions)


def _rows(sheet: Any, problems: list[str]) -> list[list[str]]:
    """Every row's cells as text, up to the limits."""
    sheet.reset_dimensions()  # they may promise a million empty rows
    rows: list[list[str]] = []
    n_cells = n_characters = 0
    is_wide = False
    for cells in sheet.iter_rows():
        n_cells += len(cells) + 1
        if len(rows) >= MAX_ROWS or n_cells > MAX_CELLS or n_characters > MAX_CHARACTERS:
            problems.append(f"sheet {sheet.title!r} is too large: only its first {len(rows)} rows are read")
            break
        is_wide = is_wide or any(cell.value is not None for cell in cells[MAX_COLUMNS:])
        row = [display(cell) for cell in cells[:MAX_COLUMNS]]
        n_characters += sum(map(len, row))
        rows.append(row)
    if is_wide:
        problems.append(f"sheet {sheet.title!r} has over {MAX_COLUMNS} columns; the others are not read")
    return rows


def _regions(rows: list[list[str]]) -> list[list[list[str]]]:
    """Rows that touch and share a column, without the columns that are empty in all of them."""
    regions: list[list[list[str]]] = [[]]
    used: set[int] = set()
    for row in rows:
        here = {x for x, cell in enumerate(row) if cell}
        if regions[-1] and not here & used:
            regions.append([])
            used = set()
        if here:
            regions[-1].append(row)
            used |= here
    found = []
    for region in filter(None, regions):
        width = max(len(row) for row in region)
        padded = [[*row, *[""] * (width - len(row))] for row in region]
        kept = [x for x in range(width) if any(row[x] for row in padded)]
        found.append([[row[x] for x in kept] for row in padded])
    return found


def _region(rows: list[list[str]], builder: TextBuilder) -> None:
    """A table; titles above it and columns without neighbours are paragraphs."""
    if len(rows[0]) == 1:
        builder.add("paragraph", "\n".join(" ".join(row[0].split()) for row in rows))
        return
    n_titles = next((y for y, row in enumerate(rows) if sum(map(bool, row)) > 1), len(rows))
    for row in rows[:n_titles]:
        builder.add("paragraph", " ".join("".join(row).split()))
    builder.add("table", pipe_table(rows[n_titles:]))
