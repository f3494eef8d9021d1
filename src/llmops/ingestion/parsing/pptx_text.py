"""Text of a shape on a slide: paragraphs, and lists as the slide, its layout and its own marks make them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pptx.enum.shapes import PP_PLACEHOLDER

from llmops.ingestion.parsing.builder import TextBuilder
from llmops.ingestion.parsing.safe_xml import attribute, children, local

_BODIES = (
    PP_PLACEHOLDER.BODY,
    PP_PLACEHOLDER.OBJECT,
    PP_PLACEHOLDER.VERTICAL_BODY,
    PP_PLACEHOLDER.VERTICAL_OBJECT,
)
_MARKS = {"buNone": "", "buChar": "-", "buBlip": "-", "buAutoNum": "1."}


def paragraph_text(paragraph: Any) -> str:
    """Runs, fields, formulas and line breaks of an `a:p` element."""
    return "".join(_pieces(paragraph))


def _pieces(element: Any) -> Iterator[str]:
    for child in element:
        name = local(child)
        if name == "t":
            yield child.text or ""
        elif name == "br":
            yield "\n"
        elif name not in ("Fallback", "pPr", "rPr"):  # a fallback says once more what stands before it
            yield from _pieces(child)


def add_frame(shape: Any, builder: TextBuilder, *, page: int) -> None:
    """Append a shape's paragraphs; those with bullets or numbers that follow each other are one list."""
    items: list[str] = []
    ordinals: dict[int, int] = {}
    styles = list(_list_styles(shape))
    for paragraph in shape.text_frame.paragraphs:
        text = paragraph_text(paragraph._p)
        level = paragraph.level
        mark = _mark(paragraph._p, level, styles) if text.strip() else ""
        for deeper in [known for known in ordinals if known > level or (known == level and mark != "1.")]:
            del ordinals[deeper]
        if mark:
            if mark == "1.":
                ordinals[level] = ordinals.get(level, _start(paragraph._p) - 1) + 1
                mark = f"{ordinals[level]}."
            items.append(f"{'  ' * level}{mark} {' '.join(text.split())}")
        elif text.strip():
            _flush(items, builder, page)
            builder.add("paragraph", text, page=page)
    _flush(items, builder, page)


def _flush(items: list[str], builder: TextBuilder, page: int) -> None:
    builder.add("list", "\n".join(items), page=page)
    items.clear()


def _list_styles(shape: Any) -> Iterator[Any]:
    """Where marks are inherited from, nearest first: the shape's own list style, its layout's, its master's."""
    here: Any = shape
    for _ in range(4):  # shape, layout, master
        if here is None:
            break
        for body in children(here._element, "txBody"):
            yield from children(body, "lstStyle")
        here = getattr(here, "_base_placeholder", None)
    if shape.is_placeholder and shape.placeholder_format.type in _BODIES:
        master = getattr(getattr(shape.part, "slide_layout", None), "slide_master", None)
        for styles in children(master._element, "txStyles") if master is not None else ():
            yield from children(styles, "bodyStyle")


def _mark(paragraph: Any, level: int, styles: list[Any]) -> str:
    for properties in children(paragraph, "pPr"):
        for child in properties:
            if local(child) in _MARKS:
                return _MARKS[local(child)]
    for style in styles:
        for properties in children(style, f"lvl{level + 1}pPr"):
            for child in properties:
                if local(child) in _MARKS:
                    return _MARKS[local(child)]
    return "-" if level > 0 else ""


def _start(paragraph: Any) -> int:
    for properties in children(paragraph, "pPr"):
        for numbered in children(properties, "buAutoNum"):
            start = attribute(numbered, "startAt")
            return int(start) if start.isascii() and start.isdigit() and len(start) < 8 else 1
    return 1
