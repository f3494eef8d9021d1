"""The reading order of a page: words into rows, columns of prose one after the other, tables as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmops.ingestion.parsing.pdf_pages import Rule, Word
from llmops.ingestion.parsing.pdf_rows import Row, in_order, rows_of
from llmops.ingestion.parsing.pdf_tables import Table, aligned_tables, ruled_tables

_MAX_DEPTH = 4
_MIN_COLUMN_ROWS = 3
_MIN_NARROW_ROWS = 8
_MIN_GUTTER = 0.6  # of the letter size
_WIDE_GUTTER = 1.5
_MIN_FILL = 0.65
_BLANK = 0.25  # the width of a blank, in letter sizes
_MIN_CHARACTERS = 18
_MAX_CANDIDATES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of text as it is read, with the box it fills.

    Attributes:
        first_width: width of its first word.
        region: number of the column it stands in.
    """

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    base: float
    size: float
    is_bold: bool = False
    is_fixed: bool = False
    is_right_to_left: bool = False
    first_width: float = 0.0
    region: int = 0

    @property
    def begin(self) -> float:
        """Where it begins, growing in the direction of reading."""
        return -self.x1 if self.is_right_to_left else self.x0

    @property
    def end(self) -> float:
        return -self.x0 if self.is_right_to_left else self.x1


def read_layer(words: Sequence[Word], rules: Sequence[Rule]) -> list[Line | Table]:
    """Lines and tables of words that run in one direction, in reading order."""
    tables = ruled_tables(words, rules)
    inside = {id(word) for table in tables for word in table.words}
    rest = [word for word in words if id(word) not in inside]
    reader = _Reader()
    return list(reader.flow(rest, tables, 0))


class _Reader:
    """Reads regions of one page and numbers them."""

    def __init__(self) -> None:
        self._n_regions = 0

    def flow(self, words: Sequence[Word], tables: Sequence[Table], depth: int) -> Iterator[Line | Table]:
        """Columns where there are some; else rows from top to bottom."""
        rows = rows_of(words)
        gutter = _gutter(rows, tables) if depth < _MAX_DEPTH else None
        if gutter is None:
            yield from self._leaf(rows, tables)
            return
        for zone_words, zone_tables, is_columns in _zones(rows, tables, gutter):
            if not is_columns:
                yield from self.flow(zone_words, zone_tables, depth + 1)
                continue
            for is_right in (False, True):
                yield from self.flow(
                    [word for word in zone_words if (_middle(word) > gutter) == is_right],
                    [table for table in zone_tables if (_middle(table) > gutter) == is_right],
                    depth + 1,
                )

    def _leaf(self, rows: Sequence[Row], tables: Sequence[Table]) -> Iterator[Line | Table]:
        """Rows of one column; those that line up are tables."""
        self._n_regions += 1
        found: list[tuple[float, Line | Table]] = [(table.y0, table) for table in tables]
        taken: set[int] = set()
        for run, table in aligned_tables([row.segments for row in rows]):
            taken.update(run)
            found.append((table.y0, table))
        found += [(row.y0, self._line(row.words)) for i, row in enumerate(rows) if i not in taken]
        yield from (element for _, element in sorted(found, key=lambda pair: pair[0]))

    def _line(self, words: Sequence[Word]) -> Line:
        sizes: dict[float, int] = {}
        for word in words:
            sizes[word.size] = sizes.get(word.size, 0) + len(word.text)
        n_characters = sum(sizes.values())
        ordered = in_order(words)
        return Line(
            text=" ".join(word.text for word in ordered),
            x0=min(word.x0 for word in words),
            y0=min(word.y0 for word in words),
            x1=max(word.x1 for word in words),
            y1=max(word.y1 for word in words),
            base=words[0].base,
            size=max(sizes, key=lambda size: sizes[size]),
            is_bold=sum(len(word.text) for word in words if word.is_bold) > 0.9 * n_characters,
            is_fixed=sum(len(word.text) for word in words if word.is_fixed) > 0.8 * n_characters,
            is_right_to_left=ordered[0].x0 > ordered[-1].x0 and ordered[0].is_right_to_left,
            first_width=ordered[0].x1 - ordered[0].x0,
            region=self._n_regions,
        )


def _middle(box: Word | Table) -> float:
    return (box.x0 + box.x1) / 2


def _gutter(rows: Sequence[Row], tables: Sequence[Table]) -> float | None:
    """Where a white band parts columns of prose; None when the rows are read across."""
    gaps = [
        (a.x1, b.x0)
        for row in rows
        for a, b in pairwise(row.words)
        if b.x0 - a.x1 > _MIN_GUTTER * max(a.size, b.size)
    ]
    for upper, lower in pairwise(rows):  # columns whose lines stand at different heights
        if lower.y0 < upper.y1 and (upper.x1 < lower.x0 or lower.x1 < upper.x0):
            gaps.append((min(upper.x1, lower.x1), max(upper.x0, lower.x0)))
    if len(gaps) < _MIN_COLUMN_ROWS:
        return None
    edges = sorted([(start, 1) for start, _ in gaps] + [(end, -1) for _, end in gaps])
    n_open = 0
    candidates: list[tuple[int, float]] = []
    for (x, step), (after, next_step) in pairwise(edges):
        n_open += step
        if step > 0 > next_step and n_open >= _MIN_COLUMN_ROWS:
            candidates.append((n_open, (x + after) / 2))
    candidates.sort(reverse=True)
    return next((x for _, x in candidates[:_MAX_CANDIDATES] if _parts_prose(rows, tables, x)), None)


def _parts_prose(rows: Sequence[Row], tables: Sequence[Table], gutter: float) -> bool:
    """Whether some rows on both sides of the gutter are lines of prose, which fill their column."""
    return any(is_columns for _, _, is_columns in _zones(rows, tables, gutter))


def _zones(
    rows: Sequence[Row], tables: Sequence[Table], gutter: float
) -> list[tuple[list[Word], list[Table], bool]]:
    """Bands of the page from top to bottom: words, tables, and whether they stand in two columns."""
    across = [table for table in tables if table.x0 < gutter < table.x1]
    bands: list[tuple[list[Row], bool]] = []
    for row in rows:
        is_across = _is_across(row, gutter) or any(t.y0 < (row.y0 + row.y1) / 2 < t.y1 for t in across)
        if bands and bands[-1][1] != is_across:
            bands[-1][0].append(row)
        else:
            bands.append(([row], not is_across))
    joined: list[tuple[list[Row], bool]] = []
    for band, may_be in bands:
        is_columns = may_be and _is_prose(band, gutter)
        if joined and joined[-1][1] == is_columns:
            joined[-1][0].extend(band)
        else:
            joined.append((list(band), is_columns))
    zones: list[tuple[list[Word], list[Table], bool]] = []
    left = list(tables)
    for index, (band, is_columns) in enumerate(joined):
        end = joined[index + 1][0][0].y0 if index + 1 < len(joined) else float("inf")
        here = [table for table in left if table.y0 < end]
        left = [table for table in left if table.y0 >= end]
        zones.append(([word for row in band for word in row.words], here, is_columns))
    return zones


def _is_across(row: Row, gutter: float) -> bool:
    """Whether a word stands on the gutter, or words on both sides as close as in a sentence."""
    left = right = None
    for word in row.words:
        if word.x1 <= gutter:
            left = word if left is None or word.x1 > left.x1 else left
        elif word.x0 >= gutter:
            right = word if right is None or word.x0 < right.x0 else right
        else:
            return True
    return (
        left is not None and right is not None and right.x0 - left.x1 <= _MIN_GUTTER * max(left.size, right.size)
    )


def _is_prose(band: Sequence[Row], gutter: float) -> bool:
    sides = [
        [tuple(word for word in row.words if (_middle(word) > gutter) == is_right) for row in band]
        for is_right in (False, True)
    ]
    both = [(a, b) for a, b in zip(*sides, strict=True) if a and b]
    narrow = sum(b[0].x0 - a[-1].x1 < _WIDE_GUTTER * a[-1].size for a, b in both)
    if narrow > 0.5 * len(both) and len(both) < _MIN_NARROW_ROWS:
        return False  # gaps between words may line up by chance over a few lines
    for side in ([part for part in side if part] for side in sides):
        if len(side) < _MIN_COLUMN_ROWS:
            return False
        width = max(part[-1].x1 for part in side) - min(part[0].x0 for part in side) + 1.0
        filled = sorted(sum(word.x1 - word.x0 + _BLANK * word.size for word in part) / width for part in side)
        lengths = sorted(sum(len(word.text) + 1 for word in part) for part in side)
        if filled[len(side) // 2] < _MIN_FILL or lengths[len(side) // 2] < _MIN_CHARACTERS:
            return False
    return True
