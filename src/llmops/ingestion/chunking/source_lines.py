"""Which lines of the source a part of a block stands on, where lines of text and source match one to one."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from llmops.ingestion.chunking.units import Span
from llmops.records import Block, Document

_FENCE = "```"


class SourceLines:
    """The lines of one block of code or one table."""

    def __init__(self, block: Block, document: Document) -> None:
        self._block = block
        self._starts = [block.start]
        while (at := document.text.find("\n", self._starts[-1], block.end)) >= 0:
            self._starts.append(at + 1)
        self._shift = self._shift_of(block, document)

    def _shift_of(self, block: Block, document: Document) -> tuple[int, int] | None:
        """What to add to the number of the first line of text, and to the others; None when nothing tells."""
        if block.first_line is None or block.last_line is None:
            return None
        n_added = len(self._starts) - (block.last_line - block.first_line + 1)
        if n_added == 0:
            return (0, 0)
        if n_added == 2 and block.kind == "code" and document.text.startswith(_FENCE, block.start):
            return (0, -1)  # the fence is the parser's
        if n_added == -1 and block.kind == "table" and document.media_type == "text/markdown":
            return (0, 1)  # the line of dashes under the header
        return None

    def narrowed(self, span: Span) -> Block:
        """The part of the block within a span, with its own lines, or the block's where nothing tells them."""
        start, end = max(self._block.start, span[0]), min(self._block.end, span[1])
        part = replace(self._block, start=start, end=end)
        if self._shift is None or part.first_line is None or part.last_line is None:
            return part
        lines = [part.first_line + self._source_line(at) for at in (start, max(start, end - 1))]
        return replace(part, first_line=min(lines[0], part.last_line), last_line=min(lines[1], part.last_line))

    def _source_line(self, position: int) -> int:
        number = bisect_right(self._starts, position) - 1
        first, others = self._shift or (0, 0)
        return number + (others if number else first)
