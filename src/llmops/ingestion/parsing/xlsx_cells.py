"""Cells of a sheet: how a value is shown, which cells are merged, which formulas were never computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

_MERGED = re.compile(
    rb"<(?:\w+:)?mergeCell\s[^>]*?ref\s*=\s*[\"']\$?([A-Z]{1,3})\$?(\d{1,7}):\$?([A-Z]{1,3})\$?(\d{1,7})"
)
_CELL_WITHOUT_VALUE = re.compile(
    rb"<(?:\w+:)?c\s([^<>]*)>\s*<(?:\w+:)?f(?:\s[^<>]*)?(?:/>|>[^<>]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v></(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
_TEXT_RESULT = re.compile(rb"\bt\s*=\s*[\"']str[\"']")
_DECIMALS = re.compile(r"\.(0+)")
_LITERAL = re.compile(r"\"[^\"]*\"|\\.")
MAX_MERGED = 100_000
MAX_SPREAD = 1_000_000


@dataclass(frozen=True, slots=True)
class Area:
    """Merged cells, 0-based, last ones included."""

    top: int
    left: int
    bottom: int
    right: int


def display(cell: Any) -> str:
    """A cell's value as a person sees it, as far as that changes its meaning: dates, truth values, per cent."""
    match cell.value:
        case None:
            return ""
        case bool() as value:
            return "TRUE" if value else "FALSE"
        case int() | float() as number:
            return _number(number, cell.number_format or "")
        case datetime() as moment:
            return moment.date().isoformat() if moment.time() == time() else moment.isoformat(" ", "seconds")
        case date() | time() as moment:
            return moment.isoformat()
        case value:
            return str(value)


def _number(number: float, shape: str) -> str:
    pattern = _LITERAL.sub("", shape.partition(";")[0])
    if "%" in pattern:
        decimals = _DECIMALS.search(pattern)
        return f"{number * 100:.{min(len(decimals[1]), 10) if decimals else 0}f}%"
    # Fifteen digits are what spreadsheet programs compute with: 0.1 + 0.2 is 0.3 there.
    return str(number) if isinstance(number, int) else f"{number:.15g}"


def n_without_value(xml: bytes) -> int:
    """Formulas of a sheet's XML whose result was never stored; an empty text is a result."""
    return sum(not _TEXT_RESULT.search(match[1]) for match in _CELL_WITHOUT_VALUE.finditer(xml))


def merged_areas(xml: bytes) -> list[Area]:
    """Merged cells of a sheet's XML."""
    areas = []
    for match in _MERGED.finditer(xml):
        left, top, right, bottom = (part.decode() for part in match.groups())
        areas.append(Area(int(top) - 1, _column(left), int(bottom) - 1, _column(right)))
        if len(areas) == MAX_MERGED:
            break
    return areas


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number - 1


def spread_merged(rows: list[list[str]], areas: Sequence[Area]) -> bool:
    """Repeat in place what merged cells say, so that each row can be read alone.

    A row with nothing else in it says it once: a title over a table is not repeated over its columns.

    Returns:
        False when there are more merged cells than an honest sheet has, and not all were repeated.
    """
    n_left = MAX_SPREAD
    n_own = [sum(map(bool, row)) for row in rows]
    for area in areas:
        if not 0 <= area.top < len(rows) or not 0 <= area.left < len(rows[area.top]):
            continue
        value = rows[area.top][area.left]
        for y in range(area.top, min(area.bottom + 1, len(rows))):
            if value and n_own[y] > (y == area.top):
                _repeat(rows[y], area, value)
            n_left -= 1 + len(rows[y])
            if n_left < 0:
                return False
    return True


def _repeat(row: list[str], area: Area, value: str) -> None:
    """Only as far as the row goes: a merged area may reach to the end of the sheet."""
    row.extend([""] * (min(area.right + 1, area.left + 1) - len(row)))
    for x in range(area.left, min(area.right + 1, len(row))):
        row[x] = row[x] or value
