"""Addresses of a web site: one form for each page, and which of them belong to the source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from llmops.clients.web.addresses import place_of
from llmops.errors import SourceError
from llmops.ingestion.folder import matcher
from llmops.ingestion.sources.specs_data import WebSource

_MAX_LENGTH = 2_000
_TRACKING = re.compile(
    r"utm_\w+|gclid|gclsrc|dclid|fbclid|msclkid|yclid|twclid|igshid|mc_[ce]id|_ga|_gl|_hs(enc|mi)|mkt_tok|"
    r"(php|asp\.net_|j)?session_?id|phpsessid",
    re.IGNORECASE,
)
_SESSION_IN_PATH = re.compile(r";jsessionid=[^/?;]*", re.IGNORECASE)
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def normal(url: str, *, base: str = "", keep_query: bool = True) -> str | None:
    """The one form of an address, or None when it is no page: another scheme, a password, or far too long.

    Host in lower case, no default port, no fragment, no dot segments, escapes only where they are needed, and
    without the parameters that only track a visitor.
    """
    if len(url) > _MAX_LENGTH:
        return None
    try:
        place = place_of(re.sub(r"[\t\r\n]", "", url.strip()), base=base)
        parts = urlsplit(place.url)
    except (SourceError, ValueError):
        return None
    path = _without_dots(_SESSION_IN_PATH.sub("", _escaped(parts.path)))
    kept = [pair for pair in parts.query.split("&") if pair and not _TRACKING.fullmatch(_name_of(pair))]
    query = "?" + _escaped("&".join(kept)) if kept and keep_query else ""
    return f"{place.scheme}://{place.authority}{path}{query}"


def _name_of(pair: str) -> str:
    found = parse_qsl(pair, keep_blank_values=True)
    return found[0][0] if found else ""


def _escaped(text: str) -> str:
    """Escapes in upper case, and none of what needs none."""

    def one(match: re.Match[str]) -> str:
        char = unquote_to_bytes(match[0]).decode("latin-1")
        return char if _UNRESERVED.fullmatch(char) else match[0].upper()

    return _ESCAPE.sub(one, text)


def _without_dots(path: str) -> str:
    """A path without `.` and `..` (RFC 3986 §5.2.4), which never leads above the root."""
    kept: list[str] = []
    parts = path.split("/")[1:]
    for index, part in enumerate(parts):
        if part == "..":
            kept = kept[:-1]
        elif part != ".":
            kept.append(part)
        if part in (".", "..") and index == len(parts) - 1:
            kept.append("")
    return "/" + "/".join(kept)


class Scope:
    """Which addresses belong to a source."""

    def __init__(self, spec: WebSource, named: Iterable[str]) -> None:
        self._spec = spec
        prefixes = spec.crawl.prefix if spec.crawl else ()
        self._prefixes = tuple(prefix for one in prefixes if (prefix := normal(one)) is not None)
        self._below = tuple(prefix if prefix.endswith("/") else f"{prefix}/" for prefix in self._prefixes)
        self._hosts = {urlsplit(url).netloc for url in named}

    def __contains__(self, url: str) -> bool:
        """Whether a page may be asked for at all."""
        is_here = url.startswith(self._below) or url in self._prefixes
        if not self._prefixes:
            is_here = urlsplit(url).netloc in self._hosts
        return is_here and not matcher(self._spec.exclude).match(_path(url))

    def lists(self, url: str) -> bool:
        """Whether it becomes a document; else it is only read for its links."""
        return bool(matcher(self._spec.include).match(_path(url)))


def _path(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
