"""DOCX through python-docx: headings, numbered lists, tables, boxes and notes, in the order of the body."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.opc.exceptions import PackageNotFoundError
from lxml import etree

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder, pipe_table
from llmops.ingestion.parsing.docx_numbering import Numbering, W, value
from llmops.ingestion.parsing.docx_text import BOX, FALLBACK, Notes, mark_of, text_of
from llmops.ingestion.parsing.safe_xml import read_xml
from llmops.ingestion.parsing.zip_limits import check_zip

_HEADING = re.compile(r"(?:heading|titre|überschrift)\s*(\d)", re.IGNORECASE)
_MAX_DEPTH = 40
_MAX_RATIO = 200
_OLE_HEAD = b"\xd0\xcf\x11\xe0"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_WRAPPERS = frozenset(f"{W}{name}" for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"))
_TEXT_OUTLINE = 9
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def parse_docx(raw: bytes, uri: str) -> Parsed:
    """A Word document as it is shown with all changes accepted; notes, comments, heads and feet at its end.

    Raises:
        DocumentError: it is none, is encrypted, or would unpack to far more than it is.
    """
    _check(raw)
    try:
        document = docx.Document(io.BytesIO(raw))
    except (PackageNotFoundError, KeyError, ValueError, etree.XMLSyntaxError) as error:
        raise DocumentError(f"is not a Word document ({error})") from error
    builder = TextBuilder()
    reader = _Reader(document, builder)
    reader.walk(document.element.body, 0)
    reader.flush()
    _notes(document, reader.notes, builder)
    _comments(document, builder)
    _heads_and_feet(document, builder)
    properties = document.core_properties
    metadata: dict[str, Scalar] = {"author": properties.author} if properties.author else {}
    n_pictures = 0 if builder.n_characters else sum(1 for _ in document.element.body.iter(f"{_A}blip"))
    said = f"its {n_pictures} picture{'s were' if n_pictures > 1 else ' was'} not read"
    problems = [said] if n_pictures else []
    title = properties.title or ""
    return builder.build(uri=uri, media_type=_MEDIA_TYPE, title=title, metadata=metadata, problems=problems)


def _check(raw: bytes) -> None:
    """Refuse what is no DOCX, and what would unpack to far more than it is."""
    if raw.startswith(_OLE_HEAD) and _ENCRYPTED_PACKAGE not in raw:
        raise DocumentError("is an old .doc file under the name of a .docx; save it as .docx")
    try:
        check_zip(raw)
    except DocumentError as error:
        n_bytes = _unpacked(raw)
        if n_bytes > _MAX_RATIO * max(len(raw), 10_000):
            raise DocumentError(f"would unpack to {n_bytes / 1e6:.0f} MB; that is no honest document") from error
        raise


def _unpacked(raw: bytes) -> int:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return 0


class _Reader:
    """Blocks of the body in order; items wait until their list ends."""

    def __init__(self, document: Any, builder: TextBuilder) -> None:
        self._builder = builder
        self._items: list[str] = []
        self._names: dict[str | None, tuple[str, int | None]] = {}
        styles = document.styles.element
        self._styles = [style for style in styles if style.tag == f"{W}style"]
        self._numbering = Numbering(_part(document, "numbering"), self._styles)
        self._default = next(
            (
                str(style.get(f"{W}styleId"))
                for style in self._styles
                if style.get(f"{W}type") == "paragraph" and style.get(f"{W}default") in ("1", "true")
            ),
            None,
        )
        self.notes = Notes()

    def walk(self, element: Any, depth: int) -> None:
        """Paragraphs and tables, those inside content controls and tracked insertions too."""
        if depth > _MAX_DEPTH:
            raise RecursionError
        for child in element.iterchildren():
            if child.tag == f"{W}p":
                self._paragraph(child, depth)
            elif child.tag == f"{W}tbl":
                self._table(child, depth)
            elif child.tag in _WRAPPERS:
                self.walk(child, depth + 1)

    def flush(self) -> None:
        if self._items:
            self._builder.add("list", "\n".join(self._items))
            self._items = []

    def _paragraph(self, paragraph: Any, depth: int) -> None:
        text = text_of(paragraph, self.notes)
        name, outline = self._style(value(paragraph, "pPr/pStyle"))
        own = value(paragraph, "pPr/outlineLvl")
        heading = _HEADING.match(name)
        level = int(heading[1]) if heading else outline
        if own is not None and own.isdecimal():
            level = int(own) + 1 if int(own) < _TEXT_OUTLINE else None
        mark = self._numbering.mark(paragraph) if text.strip() else None
        label = f"{mark.label} " if mark is not None and mark.label else ""
        if level is not None or name.lower() == "title":
            self.flush()
            self._builder.add("heading", label + text, level=level or 1)
        elif (mark is not None or name.lower().startswith("list")) and text.strip():
            indent = "  " * (mark.level if mark is not None else 0)
            self._items.append(f"{indent}{label or '- '}{' '.join(text.split())}")
        elif text.strip():
            self.flush()
            self._builder.add("paragraph", label + text)
        for box in _boxes(paragraph):
            self.flush()
            self.walk(box, depth + 1)
            self.flush()

    def _style(self, style: str | None) -> tuple[str, int | None]:
        """Name and heading level (None for text) of a style."""
        style = style or self._default
        if style not in self._names:
            name, level = "", None
            for element in self._numbering.chain(style) if style else ():
                name = name or value(element, "name") or ""
                outline = value(element, "pPr/outlineLvl")
                if level is None and outline is not None and outline.isdecimal():
                    level = int(outline) + 1
            self._names[style] = (name, level if level is not None and level <= _TEXT_OUTLINE else None)
        return self._names[style]

    def _table(self, table: Any, depth: int) -> None:
        self.flush()
        rows = list(_under(table, f"{W}tr"))
        if len(rows) == 1 and len(cells := list(_under(rows[0], f"{W}tc"))) == 1:
            self.walk(cells[0], depth + 1)  # a frame around text
            self.flush()
            return
        self._builder.add("table", pipe_table(self._rows(rows, depth)))
        for box in _boxes(table):
            self.walk(box, depth + 1)
            self.flush()

    def _rows(self, rows: list[Any], depth: int) -> Iterator[list[str]]:
        """Cells of each row: one merged over rows stands in each of them, one merged over columns stands once."""
        above: dict[int, str] = {}
        for row in rows:
            texts: list[str] = [""] * _count(value(row, "trPr/gridBefore"), 0)
            column = len(texts)
            merged: dict[int, str] = {}
            for cell in _under(row, f"{W}tc"):
                is_on = value(cell, "tcPr/vMerge") in ("", "continue")
                text = above[column] if is_on and column in above else " ".join(self._cell(cell, depth))
                if value(cell, "tcPr/vMerge") is not None:
                    merged[column] = text
                if value(cell, "tcPr/hMerge") not in ("", "continue"):
                    texts.append(text)
                column += _count(value(cell, "tcPr/gridSpan"), 1)
            above = merged
            yield texts

    def _cell(self, cell: Any, depth: int) -> Iterator[str]:
        """Words of a cell, with the marks of its items; a table in it is read row by row."""
        if depth > _MAX_DEPTH:
            raise RecursionError
        for child in cell.iterchildren():
            if child.tag == f"{W}p":
                words = text_of(child, self.notes).split()
                mark = self._numbering.mark(child) if words else None
                if mark is not None:
                    yield mark.label or "-"
                yield from words
            elif child.tag == f"{W}tbl":
                inner = self._rows(list(_under(child, f"{W}tr")), depth + 1)
                yield "; ".join(", ".join(filter(None, row)) for row in inner)
            elif child.tag in _WRAPPERS:
                yield from self._cell(child, depth + 1)


def _under(element: Any, tag: str) -> Iterator[Any]:
    """Rows of a table or cells of a row, those inside content controls too."""
    for child in element.iterchildren():
        if child.tag == tag:
            yield child
        elif child.tag in _WRAPPERS:
            yield from _under(child, tag)


def _count(text: str | None, otherwise: int) -> int:
    return min(int(text), 100) if text is not None and text.isdecimal() else otherwise


def _boxes(element: Any) -> Iterator[Any]:
    """Text boxes anchored here, each once and not those within another one."""
    for child in element.iterchildren():
        if child.tag == BOX:
            yield child
        elif child.tag != FALLBACK and child.tag != f"{W}del":
            yield from _boxes(child)


def _part(document: Any, name: str) -> Any:
    """The root of a part that the document refers to, None without one.

    Raises:
        DocumentError: it is damaged.
    """
    for relation in document.part.rels.values():
        if not relation.is_external and relation.reltype.endswith(f"/{name}"):
            return read_xml(relation.target_part.blob, str(relation.target_part.partname))
    return None


def _all_text(element: Any) -> str:
    """The text of all paragraphs in a part."""
    return " ".join(" ".join(text_of(paragraph, Notes()).split()) for paragraph in element.iter(f"{W}p")).strip()


def _notes(document: Any, notes: Notes, builder: TextBuilder) -> None:
    for kind, names in (("footnote", notes.foot), ("endnote", notes.end)):
        root = _part(document, f"{kind}s") if names else None
        texts = {str(note.get(f"{W}id")): note for note in root.findall(f"{W}{kind}")} if root is not None else {}
        for number, name in enumerate(names, start=1):
            if name in texts:
                builder.add("paragraph", f"{mark_of(f'{kind}Reference', number)} {_all_text(texts[name])}")


def _comments(document: Any, builder: TextBuilder) -> None:
    root = _part(document, "comments")
    for comment in root.findall(f"{W}comment") if root is not None else ():
        author = str(comment.get(f"{W}author") or "").strip()
        if text := _all_text(comment):
            builder.add("paragraph", f"Comment by {author}: {text}" if author else f"Comment: {text}")


def _heads_and_feet(document: Any, builder: TextBuilder) -> None:
    """Each once: they stand on every page."""
    seen: set[str] = set()
    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/header", "/footer")):
            continue
        text = _all_text(relation.target_part.element)
        if (
            sum(map(str.isalpha, text)) > 2
            and text not in seen
            and not re.fullmatch(r"(?i)page\W*\d*( of \d*)?", text)
        ):
            seen.add(text)
            builder.add("paragraph", text)
