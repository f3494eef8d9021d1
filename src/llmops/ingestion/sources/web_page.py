"""What a page of HTML says about itself: its links, its canonical address, and what robots shall do with it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.clients.web import Response
from llmops.errors import MissingExtraError

_HTML = ("text/html", "application/xhtml+xml")
_MAX_LINKS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a page tells a crawler.

    Attributes:
        links: as they stand in the page, resolved by `base`.
        canonical: the address that the page names as its own, or "".
        is_hidden: it asks not to be indexed.
    """

    links: tuple[str, ...] = ()
    base: str = ""
    canonical: str = ""
    is_hidden: bool = False


@dataclass(kw_only=True)
class _Found:
    links: dict[str, None] = field(default_factory=dict)
    base: str = ""
    canonical: str = ""
    rules: set[str] = field(default_factory=set)


def told_by(body: bytes, headers: Mapping[str, str], *, url: str, name: str) -> Told:
    """What a page tells a crawler of this `name`.

    Raises:
        MissingExtraError: lxml is not installed.
    """
    found = _Found(base=url)
    found.rules |= _rules(headers.get("x-robots-tag", ""), name)
    kind = headers.get("content-type", "text/html").partition(";")[0].strip().lower()
    if kind in _HTML and body.strip():
        _read(body, found, name)
    is_hidden = bool(found.rules & {"noindex", "none"})
    links = () if found.rules & {"nofollow", "none"} else tuple(found.links)
    return Told(links=links, base=found.base, canonical=found.canonical, is_hidden=is_hidden)


def text_of(response: Response) -> bytes:
    """The body; a text whose encoding the Content-Type header names becomes UTF-8, with the mark that says so."""
    content_type = response.headers.get("content-type", "")
    named = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", content_type, re.IGNORECASE)
    if named is None or not (response.media_type.startswith("text/") or response.media_type in _HTML):
        return response.body
    try:
        encoding = codecs.lookup(named[1]).name
        return (
            response.body if encoding in ("utf-8", "ascii") else response.body.decode(encoding).encode("utf-8-sig")
        )
    except (LookupError, UnicodeError):
        return response.body


def _read(body: bytes, found: _Found, name: str) -> None:
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingExtraError("lxml", "ingest") from error
    parser = etree.HTMLParser(no_network=True, remove_comments=True, recover=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return
    if root is None:
        return
    has_base = False
    for element in root.iter("a", "area", "base", "link", "meta"):
        href, relations = element.get("href", ""), (element.get("rel") or "").lower().split()
        match element.tag:
            case "base" if href and not has_base:
                found.base, has_base = href, True
            case "link" if "canonical" in relations and href:
                found.canonical = found.canonical or href
            case "meta" if (element.get("name") or "").lower() in ("robots", name.lower()):
                found.rules |= _words(element.get("content") or "")
            case "a" | "area" if href and "nofollow" not in relations and len(found.links) < _MAX_LINKS:
                found.links[href] = None
            case _:
                pass


def _rules(header: str, name: str) -> set[str]:
    """Of an X-Robots-Tag header: `noindex, nofollow` for all, or `name: noindex` for one."""
    agent, colon, rest = header.partition(":")
    if colon and re.fullmatch(r"[\w-]+", agent.strip()) and agent.strip().lower() != "unavailable_after":
        return _words(rest) if agent.strip().lower() == name.lower() else set()
    return _words(header)


def _words(text: Any) -> set[str]:
    return {word.strip().lower() for word in str(text).split(",")}
