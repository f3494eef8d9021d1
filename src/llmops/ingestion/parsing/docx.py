"""DOCX through python-docx: headings by style, lists, tables, in the order of the body."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import docx
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table
from docx.text.paragraph import Paragraph

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder

_MAX_UNPACKED_BYTES = 200_000_000
_MAX_RATIO = 200
_HEADING = re.compile(r"(?:heading|titre|überschrift)\s*(\d)", re.IGNORECASE)
_OLE_HEAD = b"\xd0\xcf\x11\xe0"
_MAX_TABLE_DEPTH = 5


def parse_docx(raw: bytes, uri: str) -> Parsed:
    _check_archive(raw)
    try:
        document = docx.Document(io.BytesIO(raw))
    except (PackageNotFoundError, KeyError, ValueError) as error:
        raise DocumentError(f"is not a Word document ({error})") from error
    builder = TextBuilder()
    items: list[str] = []
    for block in document.iter_inner_content():
        if isinstance(block, Paragraph) and _is_list(block):
            if block.text.strip():
                items.append(f"{'  ' * _list_level(block)}- {' '.join(block.text.split())}")
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


def _paragraph(paragraph: Paragraph, builder: TextBuilder) -> None:
    style = (paragraph.style.name if paragraph.style is not None else "") or ""
    heading = _HEADING.match(style)
    if heading or style.lower() == "title":
        builder.add("heading", paragraph.text, level=int(heading[1]) if heading else 1)
    else:
        builder.add("paragraph", paragraph.text)


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
            text = " ".join(cell.text.split())
            if depth < _MAX_TABLE_DEPTH:
                inner = (line for nested in cell.tables for line in _rows(nested, depth + 1))
                text = " ".join([text, *inner]).strip()
            cells.append(text)
        if any(cells):
            rows.append(" | ".join(cells))
    return rows


def _text_boxes(document: Any, builder: TextBuilder) -> None:
    """Text in boxes stands outside the flow; it is put at the end, once."""
    seen: set[str] = set()
    for box in document.element.body.iter(
        "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}txbxContent"
    ):
        text = "\n".join(
            "".join(node.text or "" for node in paragraph.iter() if str(node.tag).endswith("}t"))
            for paragraph in box.iter("{http://schemas.openxmlformats.org/wordprocessingml/2006/main}p")
        )
        if text.strip() and text not in seen:
            seen.add(text)
            builder.add("paragraph", text)
