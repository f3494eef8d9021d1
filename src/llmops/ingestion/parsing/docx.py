"""DOCX through python-docx: headings by style, lists, tables, in the order of the body."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.blkcntnr import BlockItemContainer
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table, _Cell
from docx.text.paragraph import Paragraph

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder

_MAX_UNPACKED_BYTES = 200_000_000
_MAX_RATIO = 200
_HEADING = re.compile(r"(?:heading|titre|überschrift)\s*(\d)", re.IGNORECASE)
_OLE_HEAD = b"\xd0\xcf\x11\xe0"
_MAX_TABLE_DEPTH = 5
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
# Deleted text, boxes (read on their own), and the second form of what stands there twice for older programs.
_NOT_READ = frozenset(
    (
        f"{_W}del",
        f"{_W}moveFrom",
        f"{_W}txbxContent",
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    )
)


def parse_docx(raw: bytes, uri: str) -> Parsed:
    _check_archive(raw)
    try:
        document = docx.Document(io.BytesIO(raw))
    except (PackageNotFoundError, KeyError, ValueError) as error:
        raise DocumentError(f"is not a Word document ({error})") from error
    builder = TextBuilder()
    items: list[str] = []
    for block in _blocks(document.element.body, document._body):
        if isinstance(block, Paragraph) and _is_list(block):
            if text := " ".join(_text(block).split()):
                items.append(f"{'  ' * _list_level(block)}- {text}")
            continue
        if items:
            builder.add("list", "\n".join(items))
            items = []
        if isinstance(block, Table):
            builder.add("table", "\n".join(_rows(block, 0)))
        else:
            _paragraph(block, builder)
    if items:
        builder.add("list", "\n".join(items))
    _text_boxes(document, builder)
    properties = document.core_properties
    metadata: dict[str, Scalar] = {"author": properties.author} if properties.author else {}
    media_type = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    return builder.build(uri=uri, media_type=media_type, title=properties.title or "", metadata=metadata)


def _check_archive(raw: bytes) -> None:
    """A DOCX is a ZIP; refuse what is none, and what would unpack to far more than it is."""
    if raw.startswith(_OLE_HEAD):
        raise DocumentError("is encrypted, or an old .doc file under the name of a .docx")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DocumentError("is not a DOCX: it is no ZIP archive") from error
    if unpacked > _MAX_UNPACKED_BYTES or unpacked > _MAX_RATIO * max(len(raw), 10_000):
        raise DocumentError(f"would unpack to {unpacked / 1e6:.0f} MB; that is no honest document")


def _blocks(element: Any, parent: BlockItemContainer) -> Iterator[Paragraph | Table]:
    """Paragraphs and tables in order, those inside content controls and tracked insertions too."""
    for child in element.iterchildren():
        if child.tag == f"{_W}p":
            yield Paragraph(child, parent)
        elif child.tag == f"{_W}tbl":
            yield Table(child, parent)
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml"):
            yield from _blocks(child, parent)


def _text(paragraph: Paragraph) -> str:
    """What is shown: `Paragraph.text` would leave out tracked insertions, form fields and formulas."""
    return "".join(_pieces(paragraph._p))


def _pieces(element: Any) -> Iterator[str]:
    for child in element.iterchildren():
        if child.tag in (f"{_W}t", f"{_M}t"):
            yield child.text or ""
        elif child.tag in (f"{_W}tab", f"{_W}ptab"):
            yield "\t"
        elif child.tag in (f"{_W}br", f"{_W}cr"):
            yield "\n"
        elif child.tag == f"{_W}noBreakHyphen":
            yield "-"
        elif child.tag not in _NOT_READ and child.tag != f"{_W}pPr":
            yield from _pieces(child)


def _paragraph(paragraph: Paragraph, builder: TextBuilder) -> None:
    style = (paragraph.style.name if paragraph.style is not None else "") or ""
    heading = _HEADING.match(style)
    if heading or style.lower() == "title":
        builder.add("heading", _text(paragraph), level=int(heading[1]) if heading else 1)
    else:
        builder.add("paragraph", _text(paragraph))


def _is_list(paragraph: Paragraph) -> bool:
    style = (paragraph.style.name if paragraph.style is not None else "") or ""
    numbered = bool(paragraph._p.xpath("./w:pPr/w:numPr"))
    return style.lower().startswith("list") or (numbered and not _HEADING.match(style))


def _list_level(paragraph: Paragraph) -> int:
    levels = paragraph._p.xpath("./w:pPr/w:numPr/w:ilvl/@w:val")
    return min(int(levels[0]), 8) if levels and str(levels[0]).isdigit() else 0


def _rows(table: Table, depth: int) -> list[str]:
    rows: list[str] = []
    for row in table.rows:
        cells: list[str] = []
        last: Any = None
        for cell in row.cells:
            if cell._tc is last:  # a merged cell is listed once for each column it spans
                continue
            last = cell._tc
            cells.append(" ".join(_cell(cell, depth)))
        if any(cells):
            rows.append(" | ".join(cells))
    return rows


def _cell(cell: _Cell, depth: int) -> Iterator[str]:
    for block in _blocks(cell._tc, cell):
        if isinstance(block, Paragraph):
            yield from _text(block).split()
        elif depth < _MAX_TABLE_DEPTH:
            yield from _rows(block, depth + 1)


def _text_boxes(document: Any, builder: TextBuilder) -> None:
    """Text in boxes stands outside the flow; it is put at the end, once."""
    seen: set[str] = set()
    for box in document.element.body.iter(f"{_W}txbxContent"):
        text = "\n".join("".join(_pieces(paragraph)) for paragraph in box.iter(f"{_W}p"))
        if text.strip() and text not in seen:
            seen.add(text)
            builder.add("paragraph", text)
