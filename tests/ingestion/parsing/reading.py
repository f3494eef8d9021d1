"""What the tests of parsers share: read, look at blocks, expect one reason, write archives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import pytest

from llmops.errors import DocumentError
from llmops.ingestion.parsing import parse
from llmops.ingestion.parsing.builder import Parsed


def read(source: str | bytes, uri: str) -> Parsed:
    return parse(source.encode() if isinstance(source, str) else source, uri=uri)


def blocks(parsed: Parsed) -> list[tuple[str, str]]:
    """Kind and text of each block; code without its fences."""
    found: list[tuple[str, str]] = []
    for block in parsed.blocks:
        text = parsed.text[block.start : block.end]
        if block.kind == "code":
            text = text.partition("\n")[2].rpartition("\n")[0]
        found.append((block.kind, text))
    return found


def headings(parsed: Parsed) -> list[tuple[int, str]]:
    return [(b.level, parsed.text[b.start : b.end]) for b in parsed.blocks if b.kind == "heading"]


def lines(parsed: Parsed) -> list[tuple[int | None, int | None]]:
    return [(block.first_line, block.last_line) for block in parsed.blocks]


def reason(source: str | bytes, uri: str) -> str:
    """The one sentence of a file that cannot be read."""
    with pytest.raises(DocumentError, match=r"\S") as caught:
        read(source, uri)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 500
    return said


def zipped(members: Mapping[str, str | bytes], *, stored: tuple[str, ...] = ()) -> bytes:
    """An archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            method = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, compress_type=method)
    return buffer.getvalue()


def with_member(archive: bytes, name: str, content: str | bytes) -> bytes:
    """The archive with one member replaced or added."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        members: dict[str, str | bytes] = {entry.filename: old.read(entry) for entry in old.infolist()}
    return zipped(members | {name: content})


def member(archive: bytes, name: str) -> str:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read(name).decode()
