"""ODT (OpenDocument text): headings, lists, tables, notes and comments, in the order of the body."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder, pipe_table
from llmops.ingestion.parsing.media_types import ODT
from llmops.ingestion.parsing.odt_text import Aside, inline_text
from llmops.ingestion.parsing.remarks import add_remarks
from llmops.ingestion.parsing.safe_xml import attribute, children, descendants, local, read_xml, read_xml_member
from llmops.ingestion.parsing.zip_limits import check_zip, read_member

_MAX_REPEATED = 1_000
_MAX_TABLE_COLUMNS = 1_000
_MAX_TABLE_CELLS = 2_000_000
_NOT_TEXT = frozenset(("tracked-changes", "sequence-decls", "variable-decls", "user-field-decls", "forms"))
# Tables of contents and indexes say again what the headings say.
_NAVIGATION = frozenset(
    ("table-of-content", "alphabetical-index", "illustration-index", "table-index", "object-index")
)
_TITLES = {"Title": 1, "Subtitle": 2}


def parse_odt(raw: bytes, uri: str) -> Parsed:
    """Text as it is shown, with tracked changes accepted.

    Raises:
        DocumentError: it is no text document, is encrypted, or unpacks to too much.
    """
    check_zip(raw)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = archive.namelist()
        if "META-INF/manifest.xml" in names:
            manifest = read_member(archive, "META-INF/manifest.xml")
            if descendants(read_xml(manifest, "META-INF/manifest.xml"), "encryption-data"):
                raise DocumentError("is encrypted and needs a password")
        root = read_xml_member(archive, "content.xml")
        styles = read_xml_member(archive, "styles.xml") if "styles.xml" in names else None
        meta = read_xml_member(archive, "meta.xml") if "meta.xml" in names else None
    bodies = [text for body in children(root, "body") for text in children(body, "text")]
    if not bodies:
        raise DocumentError("is no OpenDocument text: it holds a sheet, slides or a drawing")
    reader = _Reader([part for part in (styles, root) if part is not None])
    for body in bodies:
        reader.walk(body, 0)
    metadata: dict[str, Scalar] = {"author": author} if (author := _said(meta, "creator")) else {}
    title = _said(meta, "title")
    return reader.builder.build(uri=uri, media_type=ODT, title=title, metadata=metadata, problems=reader.problems)


def _said(meta: Any, name: str) -> str:
    found = descendants(meta, name) if meta is not None else []
    return " ".join("".join(found[0].itertext()).split())[:500] if found else ""


class _Reader:
    """One document: its styles by name, and the counters of its lists."""

    def __init__(self, parts: list[Any]) -> None:
        self.builder = TextBuilder()
        self.problems: list[str] = []
        self._parents: dict[str, str] = {}
        self._numbered: dict[str, dict[int, int]] = {}
        self._counts: dict[tuple[str, int], int] = {}
        for part in parts:
            for style in descendants(part, "style"):
                self._parents[attribute(style, "name")] = attribute(style, "parent-style-name")
            for style in descendants(part, "list-style"):
                self._numbered[attribute(style, "name")] = {
                    _number(level, "level", 1): _number(level, "start-value", 1)
                    for level in children(style, "list-level-style-number")
                    if attribute(level, "num-format")
                }

    def walk(self, element: Any, depth: int) -> None:
        """Append the blocks below an element."""
        if depth > 200:
            raise RecursionError
        for child in element:
            name = local(child)
            if name == "h":
                self._paragraph(child, _number(child, "outline-level", 1))
            elif name == "p":
                self._paragraph(child, self._title_level(attribute(child, "style-name")))
            elif name == "list":
                self._list(child)
            elif name == "table":
                asides: list[Aside] = []
                rows = _rows(child, asides)
                self.builder.add("table", pipe_table(rows))
                if sum(map(len, rows)) >= _MAX_TABLE_CELLS:
                    self.problems.append(f"a table has over {_MAX_TABLE_CELLS} cells; its other rows are not read")
                self._asides(asides, depth)
            elif name not in _NOT_TEXT and name not in _NAVIGATION:
                self.walk(child, depth + 1)

    def _title_level(self, style: str) -> int:
        """1 or 2 for what is styled as the document's title or subtitle, else 0."""
        for _ in range(20):
            if style in _TITLES:
                return _TITLES[style]
            style = self._parents.get(style, "")
        return 0

    def _paragraph(self, element: Any, level: int) -> None:
        asides: list[Aside] = []
        text = inline_text(element, asides)
        self.builder.add("heading" if level else "paragraph", text, level=level)
        self._asides(asides, 0)

    def _asides(self, asides: list[Aside], depth: int) -> None:
        """What hangs on a paragraph: notes, comments, text in frames."""
        for aside in asides:
            if aside.frame is not None:
                self.walk(aside.frame, depth + 1)
            elif aside.remark is not None:
                add_remarks([aside.remark], self.builder)
            else:
                self.builder.add("paragraph", aside.note)

    def _list(self, element: Any) -> None:
        """A list's items as lines; headings and tables in it are blocks of their own."""
        if any(local(node) in ("h", "table") for node in element.iter()):
            for item in element:
                self.walk(item, 0)
            return
        asides: list[Aside] = []
        lines: list[str] = []
        self._items(element, 1, attribute(element, "style-name"), lines, asides)
        self.builder.add("list", "\n".join(lines))
        self._asides(asides, 0)

    def _items(self, element: Any, level: int, style: str, lines: list[str], asides: list[Aside]) -> None:
        style = attribute(element, "style-name") or style
        start = self._numbered.get(style, {}).get(level)
        key = (style, level)
        if start is not None and not (attribute(element, "continue-numbering") == "true" and key in self._counts):
            self._counts[key] = start - 1
        for item in element:
            is_header = local(item) == "list-header"
            mark = "  "
            if not is_header and any(local(part) == "p" for part in item):
                mark = "- "
                if start is not None:
                    self._counts[key] = _number(item, "start-value", self._counts[key] + 1)
                    mark = f"{self._counts[key]}. "
            for part in item:
                if local(part) == "p" and (text := " ".join(inline_text(part, asides).split())):
                    lines.append(f"{'  ' * (level - 1)}{mark}{text}")
                    mark = "  "
                elif local(part) == "list":
                    self._items(part, level + 1, style, lines, asides)


def _number(element: Any, name: str, default: int) -> int:
    said = attribute(element, name)
    return int(said) if said.isascii() and said.isdigit() and len(said) < 8 else default


def _rows(table: Any, asides: list[Aside]) -> list[list[str]]:
    """Cells with what spans them repeated; a table within a cell is part of the cell's text."""
    rows: list[list[str]] = []
    open_spans: dict[int, tuple[int, str]] = {}
    n_cells = 0
    for row in _table_rows(table):
        cells: list[str] = []
        for cell in row:
            name = local(cell)
            if name not in ("table-cell", "covered-table-cell"):
                continue
            for _ in range(min(_number(cell, "number-columns-repeated", 1), _MAX_TABLE_COLUMNS - len(cells))):
                if name == "table-cell":
                    said = "\n".join(inline_text(part, asides) for part in cell)
                    here = len(cells)
                    for column in range(here, here + min(_number(cell, "number-columns-spanned", 1), 100)):
                        open_spans[column] = (_number(cell, "number-rows-spanned", 1), said)
                    cells.append(said)
                else:
                    cells.append(open_spans.get(len(cells), (0, ""))[1])
        open_spans = {column: (left - 1, said) for column, (left, said) in open_spans.items() if left > 1}
        while cells and not cells[-1]:
            cells.pop()
        n_repeated = min(_number(row, "number-rows-repeated", 1), _MAX_REPEATED if any(cells) else 1)
        n_cells += n_repeated * len(cells)
        rows += [cells] * n_repeated
        if n_cells >= _MAX_TABLE_CELLS:
            break
    return rows


def _table_rows(table: Any) -> list[Any]:
    """Rows of this table, those of its header first, and none of tables within it."""
    rows = []
    for child in table:
        if local(child) == "table-row":
            rows.append(child)
        elif local(child) in ("table-header-rows", "table-rows", "table-row-group"):
            rows += _table_rows(child)
    return rows
