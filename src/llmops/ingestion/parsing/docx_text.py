"""The text that a Word paragraph shows: insertions, fields and formulas; no deletions, no hidden text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llmops.ingestion.parsing.docx_numbering import W, value
from llmops.ingestion.parsing.formulas import latex_of_omml

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
_WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
BOX = f"{W}txbxContent"
# Deleted text, boxes (read on their own), and the second form of what stands there twice for older programs.
_NOT_READ = frozenset((f"{W}del", f"{W}moveFrom", BOX, FALLBACK, f"{W}pPr", f"{W}rPr"))
_AUTOMATIC = re.compile(
    r"\s*(?:Description automatically generated|AI-generated content may be incorrect\.?).*", re.DOTALL
)
_PRIVATE = 0xE000
_WINGDINGS = {"F0FE": "☒", "F0FD": "☒", "F0FC": "✓", "F0A8": "☐", "F06F": "☐", "F0E0": "→"}


class Notes:
    """Numbers of foot and end notes in the order in which the text refers to them."""

    def __init__(self) -> None:
        self.foot: list[str] = []
        self.end: list[str] = []

    def refer(self, kind: str, name: str) -> str:
        """The mark to show for a note."""
        seen = self.foot if kind == "footnoteReference" else self.end
        if name not in seen:
            seen.append(name)
        return mark_of(kind, seen.index(name) + 1)


def mark_of(kind: str, number: int) -> str:
    """`[3]` for the third footnote, `[e3]` for the third end note."""
    return f"[{number}]" if kind == "footnoteReference" else f"[e{number}]"


def text_of(paragraph: Any, notes: Notes) -> str:
    """The text of a `w:p` element."""
    return "".join(_pieces(paragraph, notes))


def _pieces(element: Any, notes: Notes) -> Iterator[str]:
    for child in element.iterchildren():
        tag = child.tag
        if not isinstance(tag, str) or tag in _NOT_READ:
            continue
        if tag == f"{W}r":
            if not _is_hidden(child):
                yield from _pieces(child, notes)
        elif tag == f"{W}t":
            yield child.text or ""
        elif tag in (f"{_M}oMath", f"{_M}oMathPara"):
            yield _formula(child)
        elif tag == f"{W}sdt" and (box := child.find(f"{W}sdtPr/{_W14}checkbox")) is not None:
            checked = box.find(f"{_W14}checked")
            yield _check(checked is not None and checked.get(f"{_W14}val") in ("1", "true", "on"))
        else:
            shown = _sign(child, tag, notes)
            if shown is None:
                yield from _pieces(child, notes)
            else:
                yield shown


def _sign(element: Any, tag: str, notes: Notes) -> str | None:
    """What an element shows that holds no text of its own; None for all others."""
    match tag.removeprefix(W):
        case "tab" | "ptab":
            return "\t"
        case "br" | "cr":
            return "\n"
        case "noBreakHyphen":
            return "-"
        case "footnoteReference" | "endnoteReference" as kind:
            return notes.refer(kind, str(element.get(f"{W}id", "")))
        case "checkBox":  # of an older form
            for name in ("checked", "default"):
                if (said := value(element, name)) is not None:
                    return _check(said in ("", "1", "true", "on"))
            return _check(False)
        case "sym":
            code = str(element.get(f"{W}char", "")).upper()
            if code in _WINGDINGS:
                return _WINGDINGS[code]
            number = int(code, 16) if re.fullmatch("[0-9A-F]{2,5}", code) else 0
            return chr(number) if 0x20 < number < _PRIVATE and not 0xD800 <= number < 0xE000 else ""
        case _:
            if tag == f"{_WP}docPr":
                return _AUTOMATIC.sub("", str(element.get("descr") or "")).strip()
            return None


def _check(is_checked: bool) -> str:
    return "[x]" if is_checked else "[ ]"


def _formula(element: Any) -> str:
    """Formulas that stand in a line of their own are parted by line breaks."""
    if element.tag == f"{_M}oMath":
        return latex_of_omml(element)
    return "\n".join(latex_of_omml(child) for child in element.iterchildren(f"{_M}oMath"))


def _is_hidden(run: Any) -> bool:
    vanish = run.find(f"{W}rPr/{W}vanish")
    return vanish is not None and vanish.get(f"{W}val", "1") not in ("0", "false", "off")
