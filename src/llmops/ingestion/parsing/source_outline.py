"""Definitions in source code of any language, by indentation and the words that open them.

Well-kept code of almost every language begins a definition at the margin and indents what is in it. So a piece is
a line at the margin with all deeper lines under it, and the braces, brackets or `end` that close it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from llmops.ingestion.parsing.source_words import MAX_LINE, Words, words_of

WHOLE_LINES = 30
"""A definition of at most this many lines is one piece, whatever is defined in it."""
_MAX_LEVEL = 3
_TAB = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Lines `first` to `last` of a file, 1-based; empty when `last < first`.

    Attributes:
        name: qualified name of the definition; "" for what stands between definitions.
        within: qualified name of the definition around it.
        prose: what to show instead of the lines, as a paragraph.
    """

    first: int
    last: int
    name: str = ""
    level: int = 1
    within: str = ""
    prose: str = ""


@dataclass(frozen=True, slots=True)
class _Source:
    lines: Sequence[str]
    words: Words


def outline(lines: Sequence[str], media_type: str) -> list[Piece]:
    """Pieces in order that cover every line; large ones in the parts that their own indentation makes."""
    return list(_merged(_pieces(_Source(lines, words_of(media_type)), (1, len(lines)), 0, "", 1)))


def _merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Loose lines that follow each other are one piece."""
    waiting: Piece | None = None
    for piece in pieces:
        if piece.name or waiting is None or waiting.name or waiting.level != piece.level:
            if waiting is not None:
                yield waiting
            waiting = piece
        else:
            waiting = replace(waiting, last=piece.last)
    if waiting is not None:
        yield waiting


def _pieces(source: _Source, span: tuple[int, int], margin: int, prefix: str, level: int) -> Iterator[Piece]:
    """Cut lines before each that stands at the margin and opens something, with the comments above it."""
    first, last = span
    within = prefix.rstrip(".")
    starts = _starts(source, span, margin)
    if not starts or starts[0] > first:
        starts.insert(0, first)
    for start, following in zip(starts, [*starts[1:], last + 1], strict=True):
        end = following - 1
        name = _name(source, start, end, margin)
        qualified = f"{prefix}{name}" if name else ""
        inner: list[Piece] = []
        if name and end - start >= WHOLE_LINES and level < _MAX_LEVEL:
            inner = _inside(source, (start, end), margin, f"{qualified}.", level + 1)
        if sum(bool(piece.name) for piece in inner) > 1:
            yield Piece(first=start, last=inner[0].last, name=qualified, level=level, within=within)
            yield from inner[1:]
        else:
            yield Piece(first=start, last=end, name=qualified, level=level, within=within)


def _inside(source: _Source, span: tuple[int, int], margin: int, prefix: str, level: int) -> list[Piece]:
    """The pieces of a definition's body, its own first lines before them; none where nothing is indented."""
    start, end = span
    deeper = [_indent(line) for line in source.lines[start:end] if line.strip()]
    inner_margin = min((indent for indent in deeper if indent > margin), default=0)
    if not inner_margin:
        return []
    pieces = list(_merged(_pieces(source, span, inner_margin, prefix, level)))
    return pieces if not pieces[0].name else [Piece(first=start, last=start - 1), *pieces]


def _indent(line: str) -> int:
    blanks = line[: len(line) - len(line.lstrip(" \t"))]
    return len(blanks) + (_TAB - 1) * blanks.count("\t")


def _starts(source: _Source, span: tuple[int, int], margin: int) -> list[int]:
    """Lines (1-based) at which pieces begin."""
    starts: list[int] = []
    above: int | None = None  # where the comments and decorators right above begin
    in_comment = False
    for number in range(span[0], span[1] + 1):
        line = source.lines[number - 1][:MAX_LINE]
        text = line.strip()
        if in_comment:
            in_comment = "*/" not in text
        elif not text or _indent(line) != margin:
            above = None
        elif source.words.above.match(text):
            above = number if above is None else above
            in_comment = text.startswith("/*") and "*/" not in text
        elif source.words.opens(text):
            starts.append(above if above is not None else number)
            above = None
        else:
            above = None
    return starts


def _name(source: _Source, start: int, end: int, margin: int) -> str:
    """The name of what a piece defines, by its first line that is no comment and no decorator."""
    in_comment = False
    for line in source.lines[start - 1 : min(end, start + 60)]:
        text = line.strip()[:MAX_LINE]
        if in_comment or text.startswith("/*"):
            in_comment = "*/" not in text
        elif text and _indent(line) == margin and not source.words.above.match(text):
            return source.words.name(text)
    return ""
