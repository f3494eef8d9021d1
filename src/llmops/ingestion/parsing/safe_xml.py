"""XML from strangers: no entity is expanded, no DTD loaded, nothing fetched."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from lxml import etree

from llmops.errors import DocumentError
from llmops.ingestion.parsing.zip_limits import read_member

_XML_PARTS = (".xml", ".rels", ".vml")
_PROLOG_BYTES = 65_536
_ELEMENT = re.compile(rb"<[A-Za-z_]")


def read_xml(raw: bytes, name: str) -> Any:
    """The root element (lxml) without comments and processing instructions.

    Args:
        name: what a message calls it.

    Raises:
        DocumentError: it is not well-formed, is nested deeper than 256 elements, or declares entities.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        said = str(error).partition("\n")[0][:150]
        raise DocumentError(f"is damaged: {name[:100]!r} is no well-formed XML ({said})") from error
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise DocumentError(f"declares XML entities in {name[:100]!r}, which are not expanded; remove them")
    return root


def refuse_document_types(raw: bytes) -> None:
    """Refuse an office file with a document type, and so an entity, in any XML part: its standard forbids them.

    Whatever the library that reads the file does with entities, it gets none.

    Raises:
        DocumentError: a part declares one, or does not begin as XML does.
    """
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for member in archive.infolist():
            if not member.filename.lower().endswith(_XML_PARTS):
                continue
            try:
                with archive.open(member) as stream:
                    head = stream.read(_PROLOG_BYTES).replace(b"\0", b"")  # UTF-16 has a zero in every second byte
            except Exception:  # noqa: BLE001, S112 (a damaged part is told by whoever needs it)
                continue
            name = member.filename[:100]
            if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
                raise DocumentError(
                    f"declares a document type or an entity in {name!r}, which no office program does"
                )
            if len(head) >= _PROLOG_BYTES // 2 and not _ELEMENT.search(head):
                raise DocumentError(
                    f"hides the beginning of {name!r} behind {_PROLOG_BYTES} bytes of something else"
                )


def read_xml_member(archive: zipfile.ZipFile, name: str) -> Any:
    """The root element of a member of an archive.

    Raises:
        DocumentError: it is missing, damaged, or declares entities.
    """
    return read_xml(read_member(archive, name), name)


def local(element: Any) -> str:
    """An element's name without its namespace; "" for what is no element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """An attribute by its name without a namespace; "" when there is none."""
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def children(element: Any, name: str) -> list[Any]:
    """Child elements of this name, in any namespace."""
    return [child for child in element if local(child) == name]


def descendants(element: Any, name: str) -> list[Any]:
    """Elements of this name at any depth, in any namespace, in order."""
    return [node for node in element.iter() if local(node) == name]
