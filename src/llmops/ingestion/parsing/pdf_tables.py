"""Tables of a PDF's page: cells between drawn lines, and rows whose parts stand in line without any."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from llmops.ingestion.parsing.builder import pipe_table
from llmops.ingestion.parsing.pdf_pages import Rule, Word
from llmops.ingestion.parsing.pdf_rows import Segment, rows_of, text_of

Segments = tuple[Segment, ...]

_NEAR = 3.0  # points between lines that are meant to meet
_MAX_RULES = 3_000
_MAX_CELLS = 5_000
_MIN_FILLED = 0.3
_MAX_LONE_ROWS = 2
_MAX_LONE_LINES = 3
_MIN_LISTING = 4
_LISTING_FILL = 0.6
_CROSSING = 0.2  # of a table's rows may lie across the gap between two columns (heads that span them)
_MAX_COLUMNS = 30
_PROSE_CHARACTERS = 60
_MAX_ROW_DISTANCE = 4.0
_MARK = re.compile(r"[•‣▪●○◦–—*·\uf0b7\uf0a7-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|\[\d{1,3}\]|\d{1,2}")
_BRACKET_PIECE = re.compile("[\uf8e5-\uf8ff]")
_MIN_LINE = 0.85  # from base line to base line, in letter sizes
_OPENING = re.compile(r"[$€£¥(]{1,2}")
_CLOSING = re.compile(r"[)%]{1,2}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of cells, all of one length, with the box they fill."""

    cells: tuple[tuple[str, ...], ...]
    x0: float
    y0: float
    x1: float
    y1: float
    words: tuple[Word, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        return pipe_table(self.cells)


def ruled_tables(words: Sequence[Word], rules: Sequence[Rule]) -> list[Table]:
    """Tables whose cells are drawn."""
    if len(rules) < 4 or len(rules) > _MAX_RULES:
        return []
    level = _joined([(r.y0, r.x0, r.x1) for r in rules if r.y0 == r.y1])
    upright = _joined([(r.x0, r.y0, r.y1) for r in rules if r.x0 == r.x1 and r.y0 != r.y1])
    tables: list[Table] = []
    for some_level, some_upright in _groups(level, upright):
        table = _grid(words, some_level, some_upright)
        if table is not None:
            tables.append(table)
    tables.sort(key=lambda table: -(table.x1 - table.x0) * (table.y1 - table.y0))
    kept: list[Table] = []
    for table in tables:  # a box in a box is a part of the outer table
        if not any(_is_inside(table, outer) for outer in kept):
            kept.append(table)
    return kept


Stretch = tuple[float, float, float]
"""A line's place across, and its start and end along."""


def _joined(stretches: list[Stretch]) -> list[Stretch]:
    """Stretches of the same line as one."""
    joined: list[Stretch] = []
    for place, start, end in sorted((round(place / 2) * 2.0, start, end) for place, start, end in stretches):
        if joined and joined[-1][0] == place and start <= joined[-1][2] + _NEAR:
            joined[-1] = (place, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((place, start, end))
    return joined


def _groups(level: list[Stretch], upright: list[Stretch]) -> Iterator[tuple[list[Stretch], list[Stretch]]]:
    """Lines that meet, directly or through others."""
    parent = list(range(len(level) + len(upright)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, (y, x0, x1) in enumerate(level):
        for j, (x, y0, y1) in enumerate(upright, start=len(level)):
            if x0 - _NEAR <= x <= x1 + _NEAR and y0 - _NEAR <= y <= y1 + _NEAR:
                parent[root(i)] = root(j)
    groups: dict[int, tuple[list[Stretch], list[Stretch]]] = {}
    for i, stretch in enumerate([*level, *upright]):
        groups.setdefault(root(i), ([], []))[i >= len(level)].append(stretch)
    return (group for group in groups.values() if len(group[0]) >= 2 and len(group[1]) >= 2)


def _places(stretches: list[Stretch]) -> list[float]:
    """Distinct places, those a few points apart as one."""
    places: list[float] = []
    for place in sorted({stretch[0] for stretch in stretches}):
        if not places or place - places[-1] > 2 * _NEAR:
            places.append(place)
    return places


def _grid(words: Sequence[Word], level: list[Stretch], upright: list[Stretch]) -> Table | None:
    xs, ys = _places(upright), _places(level)
    n_rows, n_columns = len(ys) - 1, len(xs) - 1
    if n_rows < 1 or n_columns < 1 or n_rows * n_columns < 2 or n_rows * n_columns > _MAX_CELLS:
        return None
    begins = [_first_columns(xs, upright, (above + below) / 2) for above, below in pairwise(ys)]
    cells: dict[tuple[int, int], list[Word]] = {}
    for word in words:
        x, y = (word.x0 + word.x1) / 2, (word.y0 + word.y1) / 2
        if xs[0] - 1 <= x <= xs[-1] + 1 and ys[0] - 1 <= y <= ys[-1] + 1:
            row = min(max(bisect_right(ys, y) - 1, 0), n_rows - 1)
            column = min(max(bisect_right(xs, x) - 1, 0), n_columns - 1)
            cells.setdefault((row, begins[row][column]), []).append(word)
    for row in range(n_rows):  # prose in a frame, and rows that no lines part, are no cells
        filled = [column for column in range(n_columns) if (row, column) in cells]
        if len(filled) == 1 and len(rows_of(cells[row, filled[0]])) > _MAX_LONE_LINES:
            del cells[row, filled[0]]
    if sum(map(len, (part for part in cells.values() if _is_listing(part)))) > 0.4 * sum(map(len, cells.values())):
        return None
    texts = [[_cell_text(cells.get((row, column), [])) for column in range(n_columns)] for row in range(n_rows)]
    kept = [row for row in range(n_rows) if any(texts[row])]
    used = [column for column in range(n_columns) if any(row[column] for row in texts)]
    n_filled = sum(bool(cell) for row in texts for cell in row)
    if len(used) < 2 or n_filled < max(3, _MIN_FILLED * len(kept) * len(used)):
        return None
    return Table(
        cells=tuple(tuple(texts[row][column] for column in used) for row in kept),
        x0=xs[0],
        y0=ys[kept[0]],
        x1=xs[-1],
        y1=ys[kept[-1] + 1],
        words=tuple(word for part in cells.values() for word in part),
    )


def _is_listing(words: Sequence[Word]) -> bool:
    """Whether a cell holds many short lines, which are rows of their own."""
    rows = rows_of(words)
    if len(rows) < _MIN_LISTING:
        return False
    width = max(row.x1 for row in rows) - min(row.x0 for row in rows)
    filled = sorted(sum(word.x1 - word.x0 for word in row.words) / max(width, 1.0) for row in rows)
    return filled[len(filled) // 2] < _LISTING_FILL


def _first_columns(xs: Sequence[float], upright: list[Stretch], y: float) -> list[int]:
    """For each column the one in which its cell begins: without a line to the left, a cell spans columns."""
    first = [0]
    for column, x in enumerate(xs[1:-1], start=1):
        first.append(column if _has_line(upright, x, y) else first[-1])
    return first


def _has_line(upright: list[Stretch], x: float, y: float) -> bool:
    return any(abs(place - x) <= 2 * _NEAR and start - 1 <= y <= end + 1 for place, start, end in upright)


def _cell_text(words: Sequence[Word]) -> str:
    return " ".join(text_of(row.words) for row in rows_of(words))


def _is_inside(table: Table, outer: Table) -> bool:
    x, y = (table.x0 + table.x1) / 2, (table.y0 + table.y1) / 2
    return outer.x0 <= x <= outer.x1 and outer.y0 <= y <= outer.y1


def aligned_tables(rows: Sequence[Segments]) -> Iterator[tuple[range, Table]]:
    """Runs of rows whose parts stand in columns, with the rows they take."""
    whole = [_whole_amounts(row) for row in rows]
    start = 0
    while start < len(whole):
        end = _run_end(whole, start)
        if end > start and (table := _aligned(whole[start:end])) is not None:
            yield range(start, end), table
            start = end
        else:
            start = max(end, start + 1)


def _whole_amounts(row: Segments) -> Segments:
    """A currency sign belongs to the amount after it, a percent sign to the one before."""
    parts: list[Segment] = []
    opening: Segment = ()
    for index, segment in enumerate(row):
        whole = opening + segment
        opening = ()
        if parts and _CLOSING.fullmatch("".join(word.text for word in whole)):
            parts[-1] += whole
            continue
        while whole and index + 1 < len(row) and _OPENING.fullmatch(whole[-1].text):
            whole, opening = whole[:-1], (whole[-1], *opening)
        if whole:
            parts.append(whole)
    return tuple(parts)


def _run_end(rows: Sequence[Segments], start: int) -> int:
    """The end of the run of rows in parts that begins here; a lone part may stand between (a wrapped label)."""
    if len(rows[start]) < 2:
        return start
    end = index = start + 1
    n_lone = 0
    while index < len(rows) and n_lone <= _MAX_LONE_ROWS:
        above, row = rows[index - 1], rows[index]
        if row[0][0].base - above[0][0].base > _MAX_ROW_DISTANCE * max(row[0][0].size, above[0][0].size):
            break
        if len(row) >= 2:
            n_lone, end = 0, index + 1
        elif _length(row[0]) > 1.5 * _PROSE_CHARACTERS or _heads(row[0], rows[start][0]):
            break
        else:
            n_lone += 1
        index += 1
    return end


def _heads(segment: Segment, first: Segment) -> bool:
    """Whether a lone part is the heading of what follows, by larger letters than the table's."""
    return segment[0].size > 1.15 * first[0].size


def _length(segment: Segment) -> int:
    return sum(len(word.text) + 1 for word in segment)


def _aligned(rows: Sequence[Segments]) -> Table | None:
    """The rows as a table, when their parts stand in columns and are no prose and no list."""
    in_parts = [row for row in rows if len(row) >= 2]
    bounds = _column_bounds(in_parts)
    if not 2 <= len(bounds) <= _MAX_COLUMNS:
        return None
    if len(in_parts) < (2 if len(bounds) > 2 else 3):
        return None
    if len(bounds) == 2 and _is_list(in_parts):
        return None
    n_prose = sum(all(_length(part) > _PROSE_CHARACTERS for part in row) for row in in_parts)
    if n_prose > 0.3 * len(in_parts):
        return None
    if _is_formula(rows):
        return None
    cells = [_placed(row, bounds) for row in rows]
    n_aligned = sum(sum(bool(cell) for cell in row) >= 2 for row in cells)
    n_filled = sum(bool(cell) for row in cells for cell in row)
    if n_aligned < 0.5 * len(rows) or n_filled < _MIN_FILLED * len(rows) * len(bounds):
        return None
    words = tuple(word for row in rows for segment in row for word in segment)
    return Table(
        cells=tuple(tuple(row) for row in _joined_labels(cells)),
        x0=min(word.x0 for word in words),
        y0=min(word.y0 for word in words),
        x1=max(word.x1 for word in words),
        y1=max(word.y1 for word in words),
        words=words,
    )


def _is_formula(rows: Sequence[Segments]) -> bool:
    """Rows closer than lines of text, as over and under a fraction, or large brackets made of pieces."""
    close = sum(
        below[0][0].base - above[0][0].base < _MIN_LINE * max(above[0][0].size, below[0][0].size)
        for above, below in pairwise(rows)
    )
    has_pieces = any(_BRACKET_PIECE.search(word.text) for row in rows for part in row for word in part)
    return has_pieces or close > 0.2 * (len(rows) - 1)


def _column_bounds(rows: Sequence[Segments]) -> list[tuple[float, float]]:
    """Intervals that most rows leave a gap between."""
    spans = sorted((row_part[0].x0, row_part[-1].x1) for row in rows for row_part in row)
    edges = sorted([(x0, 1) for x0, _ in spans] + [(x1, -1) for _, x1 in spans])
    most = _CROSSING * len(rows)
    bounds: list[tuple[float, float]] = []
    n_open = 0
    begin: float | None = None
    for x, step in edges:
        n_open += step
        if begin is None and n_open > most:
            begin = x
        elif begin is not None and n_open <= most:
            if bounds and begin - bounds[-1][1] < 2.0:
                bounds[-1] = (bounds[-1][0], x)
            else:
                bounds.append((begin, x))
            begin = None
    return bounds


def _is_list(rows: Sequence[Segments]) -> bool:
    """A list shows marks on the left and its text, which may be long, on the right."""
    marks = sum(bool(_MARK.fullmatch("".join(word.text for word in row[0]))) for row in rows)
    return marks > 0.6 * len(rows)


def _placed(row: Segments, bounds: Sequence[tuple[float, float]]) -> list[str]:
    cells: list[list[Word]] = [[] for _ in bounds]
    for segment in row:
        x0, x1 = segment[0].x0, segment[-1].x1
        overlaps = [min(x1, end) - max(x0, begin) for begin, end in bounds]
        if len([overlap for overlap in overlaps if overlap > 0]) > 1 and len(row) > 1:
            column = next(i for i, overlap in enumerate(overlaps) if overlap > 0)  # a head over several columns
        else:
            column = max(range(len(bounds)), key=lambda i: overlaps[i])
        cells[column].extend(segment)
    return [text_of(cell) for cell in cells]


def _joined_labels(cells: Sequence[list[str]]) -> Iterator[list[str]]:
    """A label that goes on in the row below, in small letters, is one label."""
    waiting: list[str] | None = None
    for row, below in pairwise([*cells, []]):
        if waiting is not None:
            row[0] = f"{waiting[0]} {row[0]}".strip()
            waiting = None
        is_label = bool(row[0]) and not any(row[1:]) and not row[0].endswith((":", "."))
        if is_label and below and any(below[1:]) and below[0][:1].islower():
            waiting = row
        else:
            yield row
