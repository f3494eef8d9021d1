"""Which paragraphs of a PDF are headings: larger letters, else capitals or bold letters rare elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llmops.ingestion.parsing.pdf_text import Piece

_MAX_HEADING = 160
_MAX_LINES = 3
_LARGER = 1.12
_MAX_SIZES = 4
_MAX_SHARE = 0.3
_MAX_FIXED_SHARE = 0.6
_MAX_LEVEL = 6
_EMPTY_LINE = re.compile(r"\n\s*\n")


def with_headings(pieces: Sequence[Piece], body_size: float) -> Iterator[Piece]:
    """The pieces with headings told; a document that is all in letters of one width is text, not code.

    Args:
        body_size: of most letters, in points.
    """
    total = sum(len(piece.text) for piece in pieces)
    is_fixed_text = sum(len(piece.text) for piece in pieces if piece.kind == "code") > _MAX_FIXED_SHARE * total
    level_of = _Levels(pieces, body_size, total)
    for piece in pieces:
        level = level_of(piece)
        if level:
            yield Piece(kind="heading", text=piece.text, page=piece.page, level=level)
        elif piece.kind == "code" and is_fixed_text:
            for text in _EMPTY_LINE.split(piece.text):
                yield Piece(kind="paragraph", text=text, page=piece.page)
        else:
            yield piece


class _Levels:
    """Levels by size, largest first; below them capitals, then bold letters."""

    def __init__(self, pieces: Sequence[Piece], body_size: float, total: int) -> None:
        self._body = body_size
        larger = {_size(piece) for piece in pieces if _may_head(piece) and self._is_larger(piece)}
        ranked = enumerate(sorted(larger, reverse=True), start=1)
        self._by_size = {size: min(rank, _MAX_SIZES) for rank, size in ranked}
        paragraphs = [piece for piece in pieces if piece.kind == "paragraph"]
        most = _MAX_SHARE * total
        self._tells_capital = sum(len(p.text) for p in paragraphs if _is_capital(p.text)) <= most
        self._tells_bold = sum(len(p.text) for p in paragraphs if p.is_bold) <= most

    def __call__(self, piece: Piece) -> int:
        """1 to 6, or 0 for what is no heading."""
        if not _may_head(piece) or piece.size <= 0.95 * self._body:
            return 0
        if self._is_larger(piece):
            return self._by_size[_size(piece)]
        if piece.text.endswith((".", ",", ";")):
            return 0
        below = max(self._by_size.values(), default=0)
        if self._tells_capital and _is_capital(piece.text):
            return min(below + 1, _MAX_LEVEL)
        return min(below + 2, _MAX_LEVEL) if self._tells_bold and piece.is_bold else 0

    def _is_larger(self, piece: Piece) -> bool:
        return piece.size > _LARGER * self._body


def _size(piece: Piece) -> float:
    return round(piece.size * 2) / 2


def _may_head(piece: Piece) -> bool:
    return (
        piece.kind == "paragraph"
        and len(piece.text) <= _MAX_HEADING
        and piece.n_lines <= _MAX_LINES
        and any(map(str.isalpha, piece.text))
    )


def _is_capital(text: str) -> bool:
    """Words all in capitals, and not mostly a number."""
    letters = [char for char in text if char.isalpha()]
    return text.isupper() and len(letters) > max(5, 0.6 * len(text.replace(" ", "")))
