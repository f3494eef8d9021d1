"""Where a text may be cut when it is too long: at lines, sentences, words, and last within a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from llmops.ingestion.chunking.units import Span, TokenCounter
from llmops.tokens import sentence_spans

Cut = Callable[[str], list[Span]]
"""A text to the spans of its pieces, in order; one piece means that it cannot be cut this way."""

_WORD = re.compile(r"\S+")
_LINE = re.compile(r"[^\n]*\S[^\n]*")
_CHARACTERS_A_TOKEN = 4  # a character is at most a few pieces, even after decomposition


def lines(text: str) -> list[Span]:
    """Lines that are not blank."""
    return [match.span() for match in _LINE.finditer(text)]


def words(text: str) -> list[Span]:
    """Runs of anything but white space."""
    return [match.span() for match in _WORD.finditer(text)]


def runs(length: int) -> Cut:
    """Runs of so many characters."""
    return lambda text: [(i, min(i + length, len(text))) for i in range(0, len(text), length)]


PROSE: tuple[Cut, ...] = (lines, sentence_spans, words)


def split(span: Span, room: int, counter: TokenCounter, cuts: Sequence[Cut] = PROSE) -> list[tuple[Span, int]]:
    """Parts of at most `room` tokens, with their tokens: at the first cut that can be made, else characters."""
    pieces = _pieces(span, room, counter, cuts)
    if len(pieces) == 1:
        return [(span, counter.spans([span])[0])]
    parts: list[tuple[Span, int]] = []
    open_part: Span | None = None
    n_open = 0
    for piece, n in zip(pieces, counter.spans(pieces), strict=True):
        if n > room:
            if open_part is not None:
                parts.append((open_part, n_open))
                open_part = None
            parts += split(piece, room, counter, cuts)
        elif open_part is not None and n_open + n <= room:
            open_part, n_open = (open_part[0], piece[1]), n_open + n
        else:
            if open_part is not None:
                parts.append((open_part, n_open))
            open_part, n_open = piece, n
    if open_part is not None:
        parts.append((open_part, n_open))
    return parts


def leaves(spans: Sequence[Span], room: int, counter: TokenCounter) -> list[tuple[Span, int]]:
    """The spans as they are, those of more than `room` tokens in the largest pieces that are not, not packed."""
    found: list[tuple[Span, int]] = []
    for span, n in zip(spans, counter.spans(spans), strict=True):
        pieces = _pieces(span, room, counter, PROSE) if n > room else [span]
        found += [(span, n)] if len(pieces) == 1 else leaves(pieces, room, counter)
    return found


def packed(pieces: Sequence[tuple[Span, int]], room: int) -> list[tuple[Span, int]]:
    """Neighbours together, as many as `room` tokens hold."""
    parts: list[tuple[Span, int]] = []
    for (start, end), n in pieces:
        if parts and parts[-1][1] + n <= room:
            (first, _), n_open = parts[-1]
            parts[-1] = ((first, end), n_open + n)
        else:
            parts.append(((start, end), n))
    return parts


def _pieces(span: Span, room: int, counter: TokenCounter, cuts: Sequence[Cut]) -> list[Span]:
    """A span cut in the first way that gives more than one piece, or itself."""
    start, end = span
    text = counter.text[start:end]
    for cut in (*cuts, runs(max(1, room // _CHARACTERS_A_TOKEN))):
        pieces = [(start + a, start + b) for a, b in cut(text)]
        if len(pieces) > 1:
            return pieces
    return [span]
