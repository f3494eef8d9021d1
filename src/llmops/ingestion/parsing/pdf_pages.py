"""The door to PDFium: words with their boxes, drawn lines, pictures, links, notes and form fields of a page.

PDFium may be used by one thread at a time: whoever calls this module holds `PDFIUM`.
"""

from __future__ import annotations

import ctypes
import math
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as c

from llmops.ingestion.parsing.pdf_shapes import Box, annotations_of, shapes_of

__all__ = ["MAX_PAGE_CHARACTERS", "PDFIUM", "Box", "RawPage", "Rule", "Word", "read_page"]

PDFIUM = threading.Lock()
"""Held for each call into PDFium, and never across pages, so that threads take turns."""

MAX_PAGE_CHARACTERS = 200_000
_HYPHENS = (0x2, 0xFFFE)  # what PDFium gives for a hyphen at the end of a line
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_COMPATIBLE = re.compile("[\ufb00-\ufdff\ufe70-\ufefc]")  # ligatures and presentation forms
_BOLD = re.compile(rb"bold|black|heavy|semibold|demi|\bbd\b|,b\b", re.IGNORECASE)
_FIXED = re.compile(rb"mono|courier|consol|typewriter|cmtt|menlo|fixed", re.IGNORECASE)
_FIXED_FLAG = 1
_FORCE_BOLD_FLAG = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A run of characters without a blank.

    Coordinates are in points with the origin at the upper left of the page as the text is read: a page whose text
    runs upwards is turned first. `base` is the height of the base line.
    """

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    base: float
    size: float
    is_bold: bool = False
    is_fixed: bool = False
    order: int = 0

    @property
    def is_right_to_left(self) -> bool:
        return bool(_RIGHT_TO_LEFT.search(self.text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A drawn line, level or upright: `x0 == x1` or `y0 == y1`."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RawPage:
    """What stands on a page.

    Attributes:
        layers: words by the direction they run in, the most common direction first; each turned upright.
        rules: drawn lines, turned like the first layer.
        links: addresses with the box they stand on, turned like the first layer.
        notes: texts of comments and other annotations.
        fields: filled form fields, "label: value".
        n_unreadable: characters of fonts that do not say what their glyphs mean.
        n_left_out: characters beyond `MAX_PAGE_CHARACTERS`.
        picture_share: part of the page that pictures cover, in [0, 1].
        n_drawn: objects on it that are no text.
    """

    number: int
    layers: tuple[tuple[Word, ...], ...]
    rules: tuple[Rule, ...] = ()
    links: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()
    notes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    n_unreadable: int = 0
    n_left_out: int = 0
    picture_share: float = 0.0
    n_drawn: int = 0

    @property
    def n_characters(self) -> int:
        return sum(len(word.text) for layer in self.layers for word in layer)


_Turn = Callable[[float, float, float, float], Box]
_Run = tuple[Word, float, float]  # a word in PDF's coordinates, and where its base line begins


def read_page(document: pdfium.PdfDocument, index: int) -> RawPage:
    """One page; the caller holds `PDFIUM`.

    Raises:
        pdfium.PdfiumError: the page cannot be loaded.
    """
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            runs, n_unreadable = _runs(text_page)
            n_left_out = max(c.FPDFText_CountChars(text_page.raw) - MAX_PAGE_CHARACTERS, 0)
        finally:
            text_page.close()
        width, height = page.get_size() if page.get_rotation() in (0, 180) else page.get_size()[::-1]
        angles = sorted(runs, key=lambda angle: -sum(len(word.text) for word, _, _ in runs[angle]))
        turn = _turn(angles[0] if angles else 0, width, height)
        shapes, annotations = shapes_of(page), annotations_of(page)
        return RawPage(
            number=index + 1,
            layers=tuple(tuple(_turned(runs[a], _turn(a, width, height))) for a in angles),
            rules=tuple(_rule(turn(*box)) for box in shapes.lines),
            links=tuple((address, turn(*box)) for address, box in annotations.links),
            notes=tuple(annotations.notes),
            fields=tuple(annotations.fields),
            n_unreadable=n_unreadable,
            n_left_out=n_left_out,
            picture_share=min(shapes.picture_area / max(width * height, 1.0), 1.0),
            n_drawn=shapes.n_objects - shapes.n_text_objects,
        )
    finally:
        page.close()


def _turn(angle: int, width: float, height: float) -> _Turn:
    """From PDF's coordinates (origin at the lower left) to reading ones, for text that runs at `angle` degrees."""
    match angle:
        case 90:
            return lambda x0, y0, x1, y1: (y0, x0, y1, x1)
        case 180:
            return lambda x0, y0, x1, y1: (width - x1, y0, width - x0, y1)
        case 270:
            return lambda x0, y0, x1, y1: (height - y1, width - x1, height - y0, width - x0)
        case _:
            return lambda x0, y0, x1, y1: (x0, height - y1, x1, height - y0)


def _turned(runs: Sequence[_Run], turn: _Turn) -> Iterator[Word]:
    for word, x, y in runs:
        x0, y0, x1, y1 = turn(word.x0, word.y0, word.x1, word.y1)
        yield replace(word, x0=x0, y0=y0, x1=x1, y1=y1, base=turn(x, y, x, y)[1])


def _rule(box: Box) -> Rule:
    x0, y0, x1, y1 = box
    if x1 - x0 >= y1 - y0:
        middle = (y0 + y1) / 2
        return Rule(x0=x0, y0=middle, x1=x1, y1=middle)
    middle = (x0 + x1) / 2
    return Rule(x0=middle, y0=y0, x1=middle, y1=y1)


class _Fonts:
    """Name and size of the font at a character; names are looked at once."""

    def __init__(self, text_page: Any) -> None:
        self._raw = text_page
        self._known: dict[bytes, tuple[bool, bool]] = {}
        self._name = ctypes.create_string_buffer(96)
        self._flags = ctypes.c_int()
        self._matrix = c.FS_MATRIX()
        self._x, self._y = ctypes.c_double(), ctypes.c_double()

    def look(self, index: int) -> tuple[float, int, bool, bool, float, float]:
        """Size in points, angle in degrees (multiples of 90, else -1), bold, fixed, and the origin."""
        size = float(c.FPDFText_GetFontSize(self._raw, index))
        angle = 0
        if c.FPDFText_GetMatrix(self._raw, index, self._matrix):
            m = self._matrix
            size *= math.hypot(m.c, m.d) or 1.0
            degrees = math.degrees(math.atan2(m.b, m.a)) % 360
            angle = round(degrees / 90) * 90 % 360 if abs((degrees + 45) % 90 - 45) < 5 else -1
        c.FPDFText_GetFontInfo(self._raw, index, self._name, len(self._name), self._flags)
        name, flags = self._name.value, self._flags.value
        if name not in self._known:
            self._known[name] = bool(_BOLD.search(name)), bool(_FIXED.search(name))
        is_bold, is_fixed = self._known[name]
        c.FPDFText_GetCharOrigin(self._raw, index, self._x, self._y)
        is_bold, is_fixed = is_bold or bool(flags & _FORCE_BOLD_FLAG), is_fixed or bool(flags & _FIXED_FLAG)
        return size, angle, is_bold, is_fixed, self._x.value, self._y.value


def _runs(text_page: pdfium.PdfTextPage) -> tuple[dict[int, list[_Run]], int]:
    """Words by the angle they run at, in PDF's coordinates, and the number of unreadable characters."""
    raw = text_page.raw
    n_characters = min(c.FPDFText_CountChars(raw), MAX_PAGE_CHARACTERS)
    fonts = _Fonts(raw)
    found: dict[int, list[_Run]] = {}
    n_unreadable = 0
    start = 0
    letters: list[tuple[str, Box]] = []

    def close() -> None:
        if letters:
            angle, run = _run(letters, fonts, start)
            found.setdefault(angle, []).append(run)
            letters.clear()

    unicode_of, box_of, rectangle = c.FPDFText_GetUnicode, c.FPDFText_GetLooseCharBox, c.FS_RECTF()
    for index in range(n_characters):
        code = unicode_of(raw, index)
        if code in _HYPHENS:
            code = 0x2D
        if code <= 0x20 or code in (0xA0, 0x200B, 0x3000):
            close()
            n_unreadable += code == 0
            continue
        n_unreadable += code == 0xFFFD or 0xE000 <= code <= 0xF8FF
        box_of(raw, index, rectangle)
        box = (rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
        if letters:
            last = letters[-1][1]
            is_next = -1 < box[0] - last[2] < 1 and -1 < box[1] - last[1] < 1  # nearly always: look no further
            if not is_next and _is_apart(last, box):
                close()
        if not letters:
            start = index
        letters.append((chr(code) if not 0xD800 <= code <= 0xDFFF else "\ufffd", box))
    close()
    return found, n_unreadable


def _is_apart(last: Box, box: Box) -> bool:
    """Whether a character begins a word though PDFium saw no blank: after a leap, as where scripts change."""
    em = max(min(last[3] - last[1], last[2] - last[0], box[3] - box[1]), 1.0)
    tall = max(last[3] - last[1], box[3] - box[1], 1.0)
    across = max(box[0] - last[2], last[0] - box[2])
    down = max(box[1] - last[3], last[1] - box[3])
    return across > max(em, 0.7 * tall) or down > max(em, 0.7 * tall)


def _run(letters: list[tuple[str, Box]], fonts: _Fonts, start: int) -> tuple[int, _Run]:
    size, angle, is_bold, is_fixed, x, y = fonts.look(start)
    text = "".join(letter for letter, _ in letters)
    if _RIGHT_TO_LEFT.search(text):
        text = _ligatures_in_order(letters)
    if _COMPATIBLE.search(text):
        text = unicodedata.normalize("NFKC", text)
    boxes = [box for _, box in letters]
    word = Word(
        text=text,
        x0=min(box[0] for box in boxes),
        y0=min(box[1] for box in boxes),
        x1=max(box[2] for box in boxes),
        y1=max(box[3] for box in boxes),
        base=y,
        size=size if 0.5 < size < 2000 else max(boxes[0][3] - boxes[0][1], 1.0),
        is_bold=is_bold,
        is_fixed=is_fixed,
        order=start,
    )
    return angle, (word, x, y)


def _ligatures_in_order(letters: list[tuple[str, Box]]) -> str:
    """PDFium turns right-to-left text around character by character, and so the letters of a ligature too."""
    parts: list[str] = []
    last: Box | None = None
    for letter, box in letters:
        if last is not None and box == last and _RIGHT_TO_LEFT.match(letter):
            parts[-1] = letter + parts[-1]
        else:
            parts.append(letter)
        last = box
    return "".join(parts)
