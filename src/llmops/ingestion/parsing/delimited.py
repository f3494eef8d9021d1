"""CSV and TSV: one table, whatever separates its columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import PurePosixPath

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, TextBuilder, name_of, pipe_table
from llmops.ingestion.parsing.plain import decode

MAX_ROWS = 200_000
MAX_COLUMNS = 1_000
_MAX_CELL_CHARACTERS = 1_000_000
_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NUMBER = re.compile(r"[-+(]?[$€£]?\d[\d.,' ]*%?\)?")
_YEAR = re.compile(r"(?:19|20)\d\d")

csv.field_size_limit(_MAX_CELL_CHARACTERS)  # the module's own limit of 131,072 is one for the whole process


def parse_delimited(raw: bytes, uri: str) -> Parsed:
    """One table with its header first; a file without a header gets "column 1", "column 2" and so on.

    Raises:
        DocumentError: the bytes are no text, or a cell has more than a million characters.
    """
    text = decode(raw)
    suffix = PurePosixPath(uri).suffix.lower()
    delimiter = _delimiter(text, suffix)
    problems: list[str] = []
    lines_of = io.StringIO(text, newline="")  # not `splitlines`, which breaks rows at form feeds
    reader = csv.reader(lines_of, delimiter=delimiter, skipinitialspace=delimiter != "\t")
    try:
        rows = [(reader.line_num, row) for row in islice(reader, MAX_ROWS + 1)]
    except csv.Error as error:
        raise DocumentError(f"has a damaged row at line {reader.line_num} ({error})") from error
    filled = [(line, [cell.strip() for cell in row[:MAX_COLUMNS]]) for line, row in rows[:MAX_ROWS] if any(row)]
    if len(rows) > MAX_ROWS:
        problems.append(f"has over {MAX_ROWS} rows; the others are not read")
    width = max((len(row) for _, row in rows), default=0)
    if width > MAX_COLUMNS:
        problems.append(f"has {width} columns; only the first {MAX_COLUMNS} are read")
    table = [row for _, row in filled]
    if table and not _has_header(table):
        table.insert(0, [f"column {n}" for n in range(1, min(width, MAX_COLUMNS) + 1)])
    builder = TextBuilder()
    lines = (1, max(line for line, _ in filled)) if filled else None
    builder.add("table", pipe_table(table), lines=lines)
    media_type = "text/tab-separated-values" if delimiter == "\t" else "text/csv"
    return builder.build(uri=uri, media_type=media_type, title=name_of(uri), problems=problems)


def _delimiter(text: str, suffix: str) -> str:
    """The character that stands equally often in the most lines, outside of quotes."""
    if suffix in (".tsv", ".tab") and "\t" in text:
        return "\t"
    sample = _QUOTED.sub("", text[:100_000]).splitlines()[:_SAMPLE_LINES]
    lines = [line for line in sample if line.strip()]

    def agreement(delimiter: str) -> tuple[int, int]:
        counts = Counter(line.count(delimiter) for line in lines)
        n_delimiters, n_lines = max(counts.items(), key=lambda item: (item[1] * (item[0] > 0), item[0]))
        return (n_lines if n_delimiters else 0, n_delimiters)

    return max(_DELIMITERS, key=agreement) if lines else ","


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names columns: it has words where the rows below have numbers."""
    first, below = rows[0], rows[1:_SAMPLE_LINES]
    numeric = [
        x
        for x in range(len(first))
        if (cells := [row[x] for row in below if x < len(row) and row[x]])
        and all(_NUMBER.fullmatch(cell) for cell in cells)
    ]
    names = [first[x] for x in numeric if first[x]]
    return not names or not all(_NUMBER.fullmatch(name) and not _YEAR.fullmatch(name) for name in names)
