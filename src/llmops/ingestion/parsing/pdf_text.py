"""Lines of a PDF into blocks: paragraphs, lists, code, and tables as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from llmops.ingestion.parsing.pdf_layout import Line
from llmops.ingestion.parsing.pdf_tables import Table
from llmops.records import BlockKind

_HYPHENATED = re.compile(r"(\w*[^\W\d_])-\n([^\W\d_]\w*)")
_BULLET = re.compile(r"\s*([•‣▪●○◦■□❖➢✓\uf0b7\uf0a7\uf0d8]|[-–—*](?=\s)|o(?=\s\S))\s*")
_NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-z])[.)]\s")
_SENTENCE_END = (".", ":", "?", "!", "。", "؟")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A block before it is known which sizes are headings."""

    kind: BlockKind
    text: str
    page: int
    size: float = 0.0
    is_bold: bool = False
    n_lines: int = 1
    level: int = 0


def pieces_of(elements: Sequence[Line | Table], page: int, known: Set[str]) -> Iterator[Piece]:
    """Blocks of a page's lines and tables.

    Args:
        known: words of the document in small letters, which tell a hyphen from a parted word.
    """
    run: list[Line] = []
    for element in elements:
        if isinstance(element, Table):
            yield from _pieces(run, page, known)
            run = []
            yield Piece(kind="table", text=element.text, page=page)
            continue
        if run and element.is_fixed != run[-1].is_fixed:
            yield from _pieces(run, page, known)
            run = []
        run.append(element)
    yield from _pieces(run, page, known)


def _pieces(lines: Sequence[Line], page: int, known: Set[str]) -> Iterator[Piece]:
    if not lines:
        return
    if lines[0].is_fixed:
        yield Piece(kind="code", text=_code(lines), page=page, size=lines[0].size, n_lines=len(lines))
        return
    items: list[str] = []
    for paragraph in _paragraphs(lines):
        text = _joined(paragraph, known)
        bullet = _BULLET.match(text)
        if bullet and len(text) > bullet.end():
            items.append(f"- {text[bullet.end() :]}")
            continue
        if items:
            yield Piece(kind="list", text="\n".join(items), page=page)
            items = []
        is_bold = all(line.is_bold for line in paragraph)
        size = max(line.size for line in paragraph)
        yield Piece(kind="paragraph", text=text, page=page, size=size, is_bold=is_bold, n_lines=len(paragraph))
    if items:
        yield Piece(kind="list", text="\n".join(items), page=page)


def _code(lines: Sequence[Line]) -> str:
    """Indents by the place of each line, in widths of a letter."""
    left = min(line.x0 for line in lines)
    shown: list[str] = []
    for line in lines:
        width = (line.x1 - line.x0) / max(len(line.text), 1)
        shown.append(" " * min(round((line.x0 - left) / max(width, 1.0)), 80) + line.text)
    return "\n".join(shown)


def _paragraphs(lines: Sequence[Line]) -> Iterator[list[Line]]:
    spaces = sorted(below.base - above.base for above, below in pairwise(lines) if above.region == below.region)
    usual = spaces[len(spaces) // 4] if spaces else 0.0
    ends: dict[int, list[float]] = {}
    for line in lines:
        ends.setdefault(line.region, []).append(line.end)
    margins = {region: sorted(some)[int(0.9 * (len(some) - 1))] for region, some in ends.items()}
    paragraph: list[Line] = []
    for line in lines:
        if paragraph and _begins(paragraph, line, usual, margins[paragraph[-1].region]):
            yield paragraph
            paragraph = []
        paragraph.append(line)
    yield paragraph


def _begins(paragraph: Sequence[Line], line: Line, usual: float, margin: float) -> bool:
    """Whether a line begins a paragraph."""
    last, first = paragraph[-1], paragraph[0]
    if _BULLET.match(line.text) or (_NUMBER.match(line.text) and _NUMBER.match(first.text)):
        return True
    if line.region != last.region:  # the next column: a sentence may go on there
        return last.text.endswith(_SENTENCE_END) or not line.text[:1].islower() or abs(line.size - last.size) > 1
    if abs(line.size - last.size) > 0.08 * last.size and min(len(line.text), len(last.text)) > 2:
        return True
    if line.is_bold != last.is_bold and (line.is_bold or first.is_bold):
        return True
    space = line.base - last.base
    if space > max(1.35 * usual, 1.6 * last.size) or space > 2.6 * line.size or space < -line.size:
        return True
    if min(line.begin - last.begin, line.begin - first.begin) > 0.8 * line.size and len(paragraph) > 1:
        return True  # indented
    if last.end - first.begin < 0.7 * (margin - min(first.begin, line.begin)) and last.text.endswith(
        _SENTENCE_END
    ):
        return True
    # Its first word would have had room on the line before; lines in the middle break where they like.
    is_flush = abs(line.begin - last.begin) < 0.3 * line.size
    return is_flush and last.end + line.first_width + 1.5 * line.size < margin and line.size <= last.size * 1.1


def _joined(paragraph: Sequence[Line], known: Set[str]) -> str:
    """Lines as one; words that a line's end parts are put together."""

    def whole(match: re.Match[str]) -> str:
        first, second = match[1], match[2]
        is_parted = first[-1].islower() and second[0].islower()
        is_compound = (first + second).lower() not in known and {first.lower(), second.lower()} <= known
        return first + second if is_parted and not is_compound else f"{first}-{second}"

    return _HYPHENATED.sub(whole, "\n".join(line.text for line in paragraph)).replace("\n", " ")
