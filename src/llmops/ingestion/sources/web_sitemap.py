"""Sitemaps: addresses of pages or of further sitemaps, in XML or plain text, packed or not."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from llmops.errors import MissingExtraError

_MAX_UNPACKED = 60_000_000
"""The protocol allows 50 MiB, unpacked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An address in a sitemap.

    Attributes:
        modified: what it says of its last change, as it stands; compared, never ordered.
        is_sitemap: a further sitemap, not a page.
    """

    url: str
    modified: str = ""
    is_sitemap: bool = False


class SitemapError(ValueError):
    """It is no sitemap, or over the protocol's limits."""


def entries_of(body: bytes, *, limit: int) -> Iterator[Entry]:
    """The addresses of a sitemap, up to `limit`.

    Raises:
        SitemapError: it cannot be read; some addresses may have come before.
        MissingExtraError: defusedxml is not installed.
    """
    raw = _unpacked(body) if body.startswith(b"\x1f\x8b") else body
    start = raw.lstrip(b"\xef\xbb\xbf \t\r\n")
    entries = _from_xml(start) if start.startswith(b"<") else _from_text(start)
    for n, entry in enumerate(entries):
        if n >= limit:
            raise SitemapError(f"it has more than {limit:,} addresses")
        yield entry


def _unpacked(body: bytes) -> bytes:
    machine = zlib.decompressobj(31)
    try:
        raw = machine.decompress(body, _MAX_UNPACKED)
    except zlib.error as error:
        raise SitemapError(f"it is packed and damaged ({error})") from error
    if machine.unconsumed_tail:
        raise SitemapError(f"it is over {_MAX_UNPACKED:,} bytes when unpacked")
    return raw


def _from_text(raw: bytes) -> Iterator[Entry]:
    for line in raw.decode("utf-8", "replace").splitlines():
        if line.strip():
            if not line.strip().startswith(("http://", "https://")):
                raise SitemapError("it is neither XML nor a list of addresses")
            yield Entry(url=line.strip())


def _from_xml(raw: bytes) -> Iterator[Entry]:
    try:
        from defusedxml import DefusedXmlException  # type: ignore[import-untyped]  # it has no types
        from defusedxml.ElementTree import ParseError, iterparse  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("defusedxml", "sources") from error
    place, modified = "", ""
    is_known = False
    try:
        for event, element in iterparse(io.BytesIO(raw), events=("start", "end"), forbid_dtd=True):
            name = str(element.tag).rpartition("}")[2]
            is_known = is_known or name in ("urlset", "sitemapindex")
            if event == "start":
                continue
            if name == "loc" and not place:
                place = (element.text or "").strip()
            elif name == "lastmod":
                modified = (element.text or "").strip()
            elif name in ("url", "sitemap"):
                if place:
                    yield Entry(url=place, modified=modified, is_sitemap=name == "sitemap")
                place, modified = "", ""
                element.clear()
    except (ParseError, DefusedXmlException) as error:
        raise SitemapError(f"its XML cannot be read ({type(error).__name__}: {error})") from error
    if not is_known:
        raise SitemapError("it is XML, and no sitemap")
