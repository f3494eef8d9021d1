"""Tables by rows, each chunk under the table's header; all else by structure.

The header stands in the text of a table's first chunk, and innermost in the heading path of the others: so it is
embedded with every row, while `text` stays a span of the document.
"""

from __future__ import annotations

from dataclasses import replace

from llmops.ingestion.chunking.cuts import lines, split
from llmops.ingestion.chunking.source_lines import SourceLines
from llmops.ingestion.chunking.spec import TableRowsSpec
from llmops.ingestion.chunking.structure import fitting_paths, in_parts, joined_small, pack
from llmops.ingestion.chunking.units import Path, Span, TokenCounter, Unit, placed
from llmops.records import Block, Document

_CELLS = " | "


def table_rows(document: Document, spec: TableRowsSpec, counter: TokenCounter) -> list[Unit]:
    """Rows of one table together, as many as fit and at most `max_rows`; a table is never mixed with prose."""
    blocks = placed(document)
    fitting = fitting_paths(blocks, counter)
    counts = counter.spans([(block.start, block.end) for block, _ in blocks])
    units: list[Unit] = []
    for (block, path), n_tokens in zip(blocks, counts, strict=True):
        if block.kind == "table":
            source = SourceLines(block, document)
            units += [
                replace(unit, is_closed=True, blocks=(source.narrowed((unit.start, unit.end)),))
                for unit in _rows(block, path, spec.max_rows, counter)
            ]
        else:
            units += in_parts(block, fitting[path], n_tokens, counter)
    return joined_small(pack(units, counter), counter, spec.min_tokens)


def _rows(block: Block, section: Path, max_rows: int, counter: TokenCounter) -> list[Unit]:
    text = counter.text[block.start : block.end]
    rows = [(block.start + start, block.start + end) for start, end in lines(text)]
    n_header = _n_header_lines([counter.text[start:end] for start, end in rows])
    header = tuple(counter.text[start:end].strip() for start, end in rows[:n_header])
    first, below = counter.fitting(section), counter.fitting((*section, *header))
    units: list[Unit] = []
    n_rows = 0
    for index, (row, n) in enumerate(zip(rows, counter.spans(rows), strict=True)):
        last = units[-1] if units else None
        is_data = index >= n_header
        if (
            last
            and last.n_tokens + n <= counter.room(last.path)
            and not (max_rows and n_rows + is_data > max_rows)
        ):
            units[-1] = replace(last, end=row[1], n_tokens=last.n_tokens + n)
            n_rows += is_data
            continue
        units += _row(row, n, below if is_data else first, counter)
        n_rows = int(is_data)
    return units


def _row(row: Span, n_tokens: int, path: Path, counter: TokenCounter) -> list[Unit]:
    """A row, in parts when it is too long for a chunk."""
    room = counter.room(path)
    parts = [(row, n_tokens)] if n_tokens <= room else split(row, room, counter)
    return [Unit(start, end, n, path, ()) for (start, end), n in parts]


def _n_header_lines(rows: list[str]) -> int:
    """The first line; the first two when a caption of one cell stands above a row of several."""
    return 2 if len(rows) > 1 and _CELLS not in rows[0] and _CELLS in rows[1] else 1
