"""The numbers and bullets that Word shows before headings and items and does not keep in their text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PLACE = re.compile(r"%([1-9])")
_MAX_CHAIN = 20
_ROMAN = tuple(
    zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        "m cm d cd c xc l xl x ix v iv i".split(),
        strict=True,
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    start: int
    format: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What stands before a paragraph: a label such as `2.1` or `b)`, or "" for a bullet; `level` from 0."""

    level: int
    label: str


def value(element: Any, path: str) -> str | None:
    """The `w:val` of a descendant such as `pPr/numPr/ilvl`."""
    for name in path.split("/"):
        element = element.find(W + name) if element is not None else None
    return None if element is None else str(element.get(f"{W}val", ""))


class Numbering:
    """Counts the numbered paragraphs of one document in the order of its text."""

    def __init__(self, numbering: Any, styles: Any) -> None:
        self._abstract: dict[str, dict[int, _Level]] = {}
        self._of_number: dict[str, str] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._counts: dict[str, dict[int, int]] = {}
        self._begun: set[tuple[str, int]] = set()
        self._styles = {str(style.get(f"{W}styleId")): style for style in styles} if styles is not None else {}
        self._by_style: dict[str, tuple[str, int] | None] = {}
        if numbering is not None:
            self._learn(numbering)

    def _learn(self, numbering: Any) -> None:
        for abstract in numbering.findall(f"{W}abstractNum"):
            levels = {_int(level.get(f"{W}ilvl")): _level(level) for level in abstract.findall(f"{W}lvl")}
            self._abstract[str(abstract.get(f"{W}abstractNumId"))] = levels
        for number in numbering.findall(f"{W}num"):
            name = str(number.get(f"{W}numId"))
            self._of_number[name] = value(number, "abstractNumId") or ""
            for override in number.findall(f"{W}lvlOverride"):
                level = _int(override.get(f"{W}ilvl"))
                if (start := value(override, "startOverride")) is not None:
                    self._starts[name, level] = _int(start)

    def mark(self, paragraph: Any) -> Mark | None:
        """The mark of a `w:p` element, counted; None when it has none."""
        number, level = self._number_of(paragraph)
        levels = self._abstract.get(self._of_number.get(number or "", ""), {})
        if number is None or level not in levels:
            return None if number in (None, "0", "") else Mark(level=level, label="")
        kind = levels[level]
        counts = self._counts.setdefault(self._of_number[number], {})
        for deeper in [other for other in counts if other > level]:
            del counts[deeper]
        is_new = (number, level) in self._starts and (number, level) not in self._begun
        self._begun.add((number, level))
        counts[level] = self._starts[number, level] if is_new else counts.get(level, kind.start - 1) + 1
        if kind.format in ("bullet", "none") or not _PLACE.search(kind.text):
            return Mark(level=level, label="" if kind.format == "bullet" else kind.text.strip())

        def shown(match: re.Match[str]) -> str:
            other = int(match[1]) - 1
            if other not in levels:
                return ""
            return _formatted(counts.setdefault(other, levels[other].start), levels[other].format)

        return Mark(level=level, label=_PLACE.sub(shown, kind.text).strip())

    def _number_of(self, paragraph: Any) -> tuple[str | None, int]:
        number, level = value(paragraph, "pPr/numPr/numId"), value(paragraph, "pPr/numPr/ilvl")
        style = self.of_style(value(paragraph, "pPr/pStyle"))
        if number is None and style is not None:
            number = style[0]
            level = level if level is not None else str(style[1])
        return number, min(max(_int(level), 0), 8)

    def of_style(self, style: str | None) -> tuple[str, int] | None:
        """Number and level that a style gives its paragraphs."""
        if style is None:
            return None
        if style not in self._by_style:
            found: tuple[str, int] | None = None
            for element in self.chain(style):
                if (number := value(element, "pPr/numPr/numId")) is not None:
                    level = value(element, "pPr/numPr/ilvl")
                    found = (number, _int(level) if level is not None else self._level_of(number, style))
                    break
            self._by_style[style] = found
        return self._by_style[style]

    def _level_of(self, number: str, style: str) -> int:
        """A style may be tied to a level by the numbering alone; deep styles say so in their name's last digit."""
        digits = re.search(r"(\d)$", style)
        levels = self._abstract.get(self._of_number.get(number, ""), {})
        level = int(digits[1]) - 1 if digits and style.lower().startswith("heading") else 0
        return level if level in levels else 0

    def chain(self, style: str) -> Iterator[Any]:
        """A style and those it is based on."""
        name: str | None = style
        for _ in range(_MAX_CHAIN):
            if name is None or name not in self._styles:
                return
            yield self._styles[name]
            name = value(self._styles[name], "basedOn")


def _level(element: Any) -> _Level:
    start = value(element, "start")
    return _Level(
        start=_int(start) if start is not None else 1,
        format=value(element, "numFmt") or "decimal",
        text=value(element, "lvlText") or "",
    )


def _int(text: Any) -> int:
    shown = str(text or "").strip()
    return int(shown) if shown.lstrip("-").isdecimal() and len(shown) < 10 else 0


def _formatted(number: int, kind: str) -> str:
    match kind:
        case "lowerLetter" | "upperLetter" if 0 < number <= 26 * 10:
            letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
            return letter if kind == "lowerLetter" else letter.upper()
        case "lowerRoman" | "upperRoman" if 0 < number < 4000:
            shown = ""
            for size, letters in _ROMAN:
                shown += letters * (number // size)
                number %= size
            return shown if kind == "lowerRoman" else shown.upper()
        case "decimalZero":
            return f"{number:02d}"
        case _:
            return str(number)
