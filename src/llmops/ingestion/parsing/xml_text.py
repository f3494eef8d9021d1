"""XML of any vocabulary: what elements and attributes say, with the elements' names; prose as paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmops.ingestion.parsing.builder import Parsed, TextBuilder, name_of
from llmops.ingestion.parsing.safe_xml import local, read_xml

_RECORD_DEPTH = 3


def parse_xml_text(raw: bytes, uri: str) -> Parsed:
    """A paragraph of `path.to.element: text` lines for each record, and one for each element with mixed content.

    Raises:
        DocumentError: it is not well-formed, is nested deeper than 256 elements, or declares entities.
    """
    root = read_xml(raw, uri)
    builder = TextBuilder()
    _walk(root, builder, 0)
    return builder.build(uri=uri, media_type="application/xml", title=name_of(uri))


def _walk(element: Any, builder: TextBuilder, depth: int) -> None:
    """Descend while there are records below; an element without any is a record itself."""
    inner = [child for child in element if local(child)]
    has_records = any(len(child) for child in inner) and depth < _RECORD_DEPTH
    if not has_records or _is_mixed(element):
        lines = (element.sourceline, max(node.sourceline or 1 for node in element.iter()))
        known = lines if isinstance(lines[0], int) and 1 <= lines[0] <= lines[1] else None
        builder.add("paragraph", "\n".join(_lines(element, "")), lines=known)
        return
    own = [*_attributes(element, ""), *(line for child in inner if not len(child) for line in _lines(child, ""))]
    builder.add("paragraph", "\n".join(own))
    for child in inner:
        if len(child):
            _walk(child, builder, depth + 1)


def _is_mixed(element: Any) -> bool:
    """Whether text stands beside child elements, as in prose."""
    return len(element) > 0 and bool((element.text or "").strip() or any((c.tail or "").strip() for c in element))


def _attributes(element: Any, path: str) -> Iterator[str]:
    for name, value in element.attrib.items():
        if said := " ".join(str(value).split()):
            key = name.rpartition("}")[2]
            yield f"{path}.{key}: {said}" if path else f"{key}: {said}"


def _lines(element: Any, above: str) -> Iterator[str]:
    path = f"{above}.{local(element)}" if above else local(element)
    yield from _attributes(element, path)
    if _is_mixed(element) or not len(element):
        said = " ".join("".join(element.itertext()).split())
        if said:
            yield f"{path}: {said}"
        return
    for child in element:
        if local(child):
            yield from _lines(child, path)
