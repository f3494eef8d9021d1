"""Parts of a workbook that openpyxl's streaming reader leaves out: comments, charts and text boxes."""

from __future__ import annotations

import posixpath
import zipfile
from dataclasses import dataclass

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import TextBuilder
from llmops.ingestion.parsing.charts import add_chart
from llmops.ingestion.parsing.remarks import Remark, add_remarks, people, remarks_of
from llmops.ingestion.parsing.safe_xml import attribute, children, descendants, read_xml_member
from llmops.ingestion.parsing.zip_limits import read_member

_BOOK = "xl/workbook.xml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """What one part of an office file says of another; `kind` is the last word of its type."""

    id: str
    kind: str
    member: str


def relations(archive: zipfile.ZipFile, member: str) -> list[Relation]:
    """Parts within the file that this one points at.

    Raises:
        DocumentError: its list of relations is damaged.
    """
    folder, name = posixpath.split(member)
    listed = posixpath.join(folder, "_rels", f"{name}.rels")
    if listed not in archive.namelist():
        return []
    return [
        Relation(
            id=attribute(node, "Id"),
            kind=attribute(node, "Type").rpartition("/")[2],
            member=posixpath.normpath(posixpath.join("/", folder, attribute(node, "Target"))).lstrip("/"),
        )
        for node in read_xml_member(archive, listed)
        if attribute(node, "TargetMode") != "External"
    ]


def sheet_members(archive: zipfile.ZipFile) -> list[tuple[str, str, str]]:
    """Name, state ("visible", "hidden", "veryHidden") and member of every sheet, in order.

    Raises:
        DocumentError: there is no readable workbook.
    """
    book = next((r.member for r in relations(archive, "") if r.kind == "officeDocument"), _BOOK)
    by_id = {relation.id: relation.member for relation in relations(archive, book)}
    sheets = [sheet for part in children(read_xml_member(archive, book), "sheets") for sheet in part]
    return [
        (
            attribute(sheet, "name"),
            attribute(sheet, "state") or "visible",
            next(
                (by_id[value] for key, value in sheet.attrib.items() if key.endswith("}id") and value in by_id), ""
            ),
        )
        for sheet in sheets
    ]


def add_parts(
    archive: zipfile.ZipFile, sheet: str, builder: TextBuilder, problems: list[str], *, with_data: bool
) -> None:
    """Append a sheet's comments, charts and text boxes.

    Args:
        with_data: write out the charts' numbers, which elsewhere stand in the sheet's own cells.
    """
    try:
        found = relations(archive, sheet)
        for relation in found:
            if relation.kind == "drawing":
                _drawing(archive, relation.member, builder, with_data=with_data)
        add_remarks(_remarks(archive, found), builder)
    except DocumentError as error:
        problems.append(f"a comment or drawing of sheet {sheet!r} {error}")


def _drawing(archive: zipfile.ZipFile, member: str, builder: TextBuilder, *, with_data: bool) -> None:
    root = read_xml_member(archive, member)
    for body in descendants(root, "txBody"):
        lines = ("".join(t.text or "" for t in descendants(p, "t")) for p in children(body, "p"))
        builder.add("paragraph", "\n".join(lines))
    for relation in relations(archive, member):
        if relation.kind == "chart":
            add_chart(read_member(archive, relation.member), builder, with_data=with_data)


def _remarks(archive: zipfile.ZipFile, found: list[Relation]) -> list[Remark]:
    """Threads where there are some: the older form then only repeats them for older programs."""
    threads = [relation.member for relation in found if relation.kind == "threadedComment"]
    authors: dict[str, str] = {}
    for relation in relations(archive, _BOOK) if threads else ():
        if relation.kind == "person":
            authors |= people(read_xml_member(archive, relation.member))
    remarks = [r for member in threads for r in remarks_of(read_xml_member(archive, member), authors)]
    places = {remark.place for remark in remarks}
    for relation in found:
        if relation.kind == "comments":
            older = _older_remarks(archive, relation.member)
            remarks += [remark for remark in older if remark.place not in places]
    return remarks


def _older_remarks(archive: zipfile.ZipFile, member: str) -> list[Remark]:
    root = read_xml_member(archive, member)
    authors = [author.text or "" for author in descendants(root, "author")]
    remarks = []
    for node in descendants(root, "comment"):
        index = attribute(node, "authorId")
        known = index.isascii() and index.isdigit() and int(index[:7]) < len(authors)
        text = "".join(t.text or "" for part in children(node, "text") for t in descendants(part, "t"))
        author = authors[int(index)] if known else ""
        author = "" if author.startswith("tc={") else author
        remarks.append(Remark(author=author, date="", text=text, place=attribute(node, "ref")))
    return remarks
