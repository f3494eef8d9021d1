"""EPUB: the chapters in the order of the book's spine, each through our own HTML parser."""

from __future__ import annotations

import io
import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from llmops.errors import DocumentError, EmptyDocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder, name_of
from llmops.ingestion.parsing.html import parse_html
from llmops.ingestion.parsing.media_types import EPUB
from llmops.ingestion.parsing.safe_xml import attribute, children, descendants, read_xml_member
from llmops.ingestion.parsing.zip_limits import check_zip, read_member

MAX_CHAPTERS = 5_000
_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def parse_epub(raw: bytes, uri: str) -> Parsed:
    """Chapters below each other; one without a heading gets its page's title.

    Raises:
        DocumentError: it is no book, or is protected.
    """
    check_zip(raw)
    builder, problems = TextBuilder(), list[str]()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        _refuse_protected(archive)
        package = _package(archive)
        root = read_xml_member(archive, package)
        title = _said(root, "title")
        chapters = _spine(root, package)
        for member, kind in chapters[:MAX_CHAPTERS]:
            if kind not in _PAGES:
                problems.append(
                    f"{member[:200]!r} ({kind or 'not in the list of files'}) is no page and is not read"
                )
                continue
            _chapter(archive, member, title, builder, problems)
        if len(chapters) > MAX_CHAPTERS:
            problems.append(f"has {len(chapters)} chapters; only the first {MAX_CHAPTERS} are read")
        metadata: dict[str, Scalar] = {
            name: said
            for name, element in (("author", "creator"), ("language", "language"), ("publisher", "publisher"))
            if (said := _said(root, element))
        }
    return builder.build(uri=uri, media_type=EPUB, title=title, metadata=metadata, problems=problems)


def _refuse_protected(archive: zipfile.ZipFile) -> None:
    """Scrambled fonts are no obstacle, scrambled pages are."""
    if _ENCRYPTION not in archive.namelist():
        return
    methods = descendants(read_xml_member(archive, _ENCRYPTION), "EncryptionMethod")
    if any(attribute(method, "Algorithm") not in _FONTS for method in methods):
        raise DocumentError("is protected by digital rights management and cannot be read")


def _package(archive: zipfile.ZipFile) -> str:
    for rootfile in descendants(read_xml_member(archive, _CONTAINER), "rootfile"):
        if path := attribute(rootfile, "full-path"):
            return path
    raise DocumentError(f"is no EPUB book: {_CONTAINER!r} names no package")


def _said(root: Any, name: str) -> str:
    """The first such entry of the book's metadata."""
    for metadata in children(root, "metadata"):
        for element in descendants(metadata, name):
            if said := " ".join("".join(element.itertext()).split()):
                return said[:500]
    return ""


def _spine(root: Any, package: str) -> list[tuple[str, str]]:
    """Member and media type of each chapter; one that the manifest does not know has none."""
    folder = posixpath.dirname(package)
    files = {
        attribute(item, "id"): (
            posixpath.normpath(posixpath.join(folder, unquote(attribute(item, "href")))),
            attribute(item, "media-type"),
        )
        for manifest in children(root, "manifest")
        for item in children(manifest, "item")
    }
    references = [
        attribute(item, "idref") for spine in children(root, "spine") for item in children(spine, "itemref")
    ]
    if not references:
        raise DocumentError("is no EPUB book: its package lists no chapters")
    return [files.get(reference, (reference, "")) for reference in references]


def _chapter(
    archive: zipfile.ZipFile, member: str, book_title: str, builder: TextBuilder, problems: list[str]
) -> None:
    try:
        part = parse_html(read_member(archive, member), member)
    except EmptyDocumentError:
        return
    except DocumentError as error:
        problems.append(f"chapter {member[:200]!r} {error}")
        return
    except Exception as error:  # noqa: BLE001 (a damaged chapter; the others go on)
        problems.append(f"chapter {member[:200]!r} cannot be read ({type(error).__name__}: {str(error)[:150]})")
        return
    has_heading = any(block.kind == "heading" for block in part.blocks)
    is_named = part.title and part.title != book_title and part.title != name_of(member)
    if part.text and not has_heading and is_named:
        builder.add("heading", part.title, level=1)
    builder.embed(part, deeper=0)
