"""Text within a paragraph of an OpenDocument file, and what hangs on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmops.ingestion.parsing.remarks import Remark
from llmops.ingestion.parsing.safe_xml import attribute, children, descendants, local

_MAX_BLANKS = 1_000
_NOT_SHOWN = frozenset(("tracked-changes", "ruby-text", "annotation-end", "event-listeners", "binary-data"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Aside:
    """What stands outside of the line: a note's text, a comment, or a frame with blocks of its own."""

    note: str = ""
    remark: Remark | None = None
    frame: Any = None


def inline_text(element: Any, asides: list[Aside]) -> str:
    """The text of a paragraph as it is shown; notes, comments and frames are added to `asides`."""
    return "".join(_pieces(element, asides))


def _pieces(element: Any, asides: list[Aside]) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        yield from _piece(child, asides)
        yield child.tail or ""


def _piece(child: Any, asides: list[Aside]) -> Iterator[str]:
    match local(child):
        case "s":
            count = attribute(child, "c")
            yield " " * min(int(count), _MAX_BLANKS) if count.isascii() and count.isdigit() else " "
        case "tab":
            yield "\t"
        case "line-break":
            yield "\n"
        case "note":
            citation = "".join("".join(c.itertext()) for c in children(child, "note-citation")).strip()
            body = " ".join(inline_text(p, asides) for p in descendants(child, "p"))
            asides.append(Aside(note=f"[{citation}] {body}" if body.strip() else ""))
            yield f" [{citation}]" if citation else ""
        case "annotation":
            said = {
                name: " ".join(inline_text(c, []) for c in children(child, name)) for name in ("creator", "date")
            }
            text = " ".join(inline_text(p, []) for p in descendants(child, "p"))
            asides.append(Aside(remark=Remark(author=said["creator"], date=said["date"], text=text)))
        case "frame":
            asides += [Aside(frame=box) for box in children(child, "text-box")]
            yield " ".join("".join(c.itertext()) for name in ("title", "desc") for c in children(child, name))
        case "p" | "h" | "list-item" | "table-cell" | "table-row":  # a table or list within a cell
            yield inline_text(child, asides)
            yield " "
        case name if name not in _NOT_SHOWN:
            yield from _pieces(child, asides)
