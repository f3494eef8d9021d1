"""Words of a PDF's page into rows: what stands on one base line, and the parts of it that wide gaps set apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmops.ingestion.parsing.pdf_pages import Word

Segment = tuple[Word, ...]

_SAME_ROW = 0.5  # of the letter size
_GAP = 1.2  # between segments of a row, in letter sizes


@dataclass(frozen=True, slots=True)
class Row:
    """Words on one base line, from left to right, and the parts of it that wide gaps set apart."""

    segments: tuple[Segment, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment)

    @property
    def x0(self) -> float:
        return self.segments[0][0].x0

    @property
    def x1(self) -> float:
        return max(segment[-1].x1 for segment in self.segments)

    @property
    def y0(self) -> float:
        return min(word.y0 for word in self.words)

    @property
    def y1(self) -> float:
        return max(word.y1 for word in self.words)


def rows_of(words: Sequence[Word]) -> list[Row]:
    """Rows from top to bottom."""
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word.base, word.x0)):
        last = rows[-1][0] if rows else None
        if last is not None and word.base - last.base <= _SAME_ROW * max(min(last.size, word.size), 2.0):
            rows[-1].append(word)
        else:
            rows.append([word])
    return [Row(tuple(_segments(sorted(row, key=lambda word: word.x0)))) for row in rows]


def _segments(words: Sequence[Word]) -> Iterator[Segment]:
    part: list[Word] = []
    for word in words:
        if part and word.x0 - max(w.x1 for w in part[-3:]) > _GAP * max(part[-1].size, word.size):
            yield tuple(part)
            part = []
        part.append(word)
    if part:
        yield tuple(part)


def text_of(words: Sequence[Word]) -> str:
    """Words of a row as they are read."""
    return " ".join(word.text for word in in_order(words))


def in_order(words: Sequence[Word]) -> Sequence[Word]:
    """Words of a row from left to right; a row that is mostly written to the left keeps the order of the file."""
    n_right_to_left = sum(word.is_right_to_left for word in words)
    if n_right_to_left and n_right_to_left * 2 > sum(any(map(str.isalpha, word.text)) for word in words):
        return sorted(words, key=lambda word: word.order)
    return words
