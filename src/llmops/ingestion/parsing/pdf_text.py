"""Lines of a PDF into blocks: running heads away, lines into paragraphs, lists, code and headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from llmops.ingestion.parsing.pdf_layout import Line
from llmops.ingestion.parsing.pdf_pages import RawPage, Word
from llmops.ingestion.parsing.pdf_rows import rows_of, text_of
from llmops.ingestion.parsing.pdf_tables import Table
from llmops.records import BlockKind

_HYPHENATED = re.compile(r"(\w*[^\W\d_])-\n([^\W\d_]\w*)")
_PAGE_NUMBER = re.compile(r"^\d+\s|\s\d+$")
_DIGITS = re.compile(r"\d+")
_BULLET = re.compile(r"\s*([•‣▪●○◦■□❖➢✓\uf0b7\uf0a7\uf0d8]|[-–—*](?=\s)|o(?=\s\S))\s*")
_NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-z])[.)]\s")
_PUNCTUATION = ".,;:!?()[]\"'“”‘’"
_SENTENCE_END = (".", ":", "?", "!", "。", "؟")
_MIN_PAGES = 4
_MOST_PAGES = 0.6
_SAME_PLACE_PAGES = 3
_SOME_PAGES = 0.08
_MAX_HEADING = 160
_LARGER = 1.12
_MAX_SIZES = 4
_MAX_SHARE = 0.3
_MAX_FIXED_SHARE = 0.6


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


class Furniture:
    """Running heads and feet, learned from the pages of a document as they come, and its words."""

    def __init__(self) -> None:
        self._masked: Counter[str] = Counter()
        self._placed: Counter[tuple[str, int]] = Counter()
        self._sizes: Counter[float] = Counter()
        self._n_pages = 0
        self.vocabulary: set[str] = set()

    def learn(self, pages: Iterable[RawPage]) -> None:
        for page in pages:
            self._n_pages += 1
            for word in page.layers[0] if page.layers else ():
                self._sizes[round(word.size, 1)] += len(word.text)
                self.vocabulary.add(word.text.strip(_PUNCTUATION).lower())
            edges = _edges(page)
            self._masked.update({_mask(text) for text, _ in edges})
            self._placed.update(
                {(_bare(text), round(words[0].base / 3)) for text, words in edges if _is_word(text)}
            )

    def words(self, page: RawPage) -> frozenset[int]:
        """Ids of the page's words that stand in a running head or foot."""
        if self._n_pages < _MIN_PAGES:
            return frozenset()
        body = self._sizes.most_common(1)[0][0] if self._sizes else 0.0
        found: set[int] = set()
        for text, words in _edges(page):
            place = round(words[0].base / 3)
            often = self._masked[_mask(text)] >= _MOST_PAGES * self._n_pages
            n_here = sum(self._placed[(_bare(text), near)] for near in (place - 1, place, place + 1))
            again = n_here >= max(_SAME_PLACE_PAGES, _SOME_PAGES * self._n_pages) and words[0].size <= 1.1 * body
            if often or again:
                found.update(id(word) for word in words)
        return frozenset(found)


def _edges(page: RawPage) -> list[tuple[str, tuple[Word, ...]]]:
    """The first and last two rows."""
    rows = rows_of(page.layers[0]) if page.layers else []
    shown = [*rows[:2], *rows[max(2, len(rows) - 2) :]]
    return [(text_of(row.words), row.words) for row in shown]


def _mask(line: str) -> str:
    return _DIGITS.sub("#", line)


def _bare(line: str) -> str:
    """Without the page number at an end."""
    return _PAGE_NUMBER.sub("", line).strip()


def _is_word(text: str) -> bool:
    return any(map(str.isalpha, text))


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


def with_headings(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Paragraphs that stand out by their letters' size or weight become headings; code all over is text."""
    prose = [piece for piece in pieces if piece.kind in ("paragraph", "code")]
    sizes: Counter[float] = Counter()
    for piece in prose:
        sizes[_size(piece)] += len(piece.text) * (piece.size > 0)
    if not sizes.total():
        yield from pieces
        return
    body = sizes.most_common(1)[0][0]
    n_characters = sizes.total()
    n_fixed = sum(len(piece.text) for piece in prose if piece.kind == "code")
    larger = {
        _size(piece): 0
        for piece in prose
        if piece.kind == "paragraph" and piece.size > _LARGER * body and _may_head(piece)
    }
    levels = {size: min(rank, _MAX_SIZES) for rank, size in enumerate(sorted(larger, reverse=True), start=1)}
    n_bold = sum(len(piece.text) for piece in prose if piece.is_bold)
    n_capital = sum(len(piece.text) for piece in prose if _is_capital(piece.text))
    deeper = max(levels.values(), default=0) + 1
    for piece in pieces:
        level = 0
        if piece.kind == "paragraph" and _may_head(piece) and piece.size > 0.95 * body:
            if piece.size > _LARGER * body:
                level = levels[_size(piece)]
            elif piece.text.endswith((".", ",", ";")):
                pass
            elif n_capital <= _MAX_SHARE * n_characters and _is_capital(piece.text):
                level = min(deeper, 6)
            elif n_bold <= _MAX_SHARE * n_characters and piece.is_bold:
                level = min(deeper + 1, 6)
        if level:
            yield Piece(kind="heading", text=piece.text, page=piece.page, level=level)
        elif piece.kind == "code" and n_fixed > _MAX_FIXED_SHARE * n_characters:
            yield from (
                Piece(kind="paragraph", text=text, page=piece.page) for text in re.split(r"\n\s*\n", piece.text)
            )
        else:
            yield piece


def _is_capital(text: str) -> bool:
    """Two words or more, all in capitals, and not mostly a number."""
    letters = [char for char in text if char.isalpha()]
    return text.isupper() and " " in text and len(letters) > max(5, 0.6 * len(text.replace(" ", "")))


def _size(piece: Piece) -> float:
    return round(piece.size * 2) / 2


def _may_head(piece: Piece) -> bool:
    return len(piece.text) <= _MAX_HEADING and piece.n_lines <= 3 and _is_word(piece.text)
