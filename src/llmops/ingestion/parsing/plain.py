"""Plain text of any encoding."""

from __future__ import annotations

import re

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, TextBuilder

_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MAX_CONTROL_SHARE = 0.02
# What Western European text is made of beyond ASCII; detectors mistake short texts of it for Central European.
_WESTERN = frozenset("àáâãäåæçèéêëíîïñòóôõöøœùúûüÿßÀÁÂÃÄÅÆÇÈÉÊËÍÎÏÑÒÓÔÕÖØŒÙÚÛÜ¿¡“”„‘’‚–—…•«»€£§°©®™·´ \u00a0")
_MAX_WESTERN_SHARE = 0.3
_OTHER_ALPHABET = re.compile("[À-ÿ]{3}")
_SAMPLE_BYTES = 200_000
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
_MIN_WIDE = 4
_MIN_NUL_SHARE = 0.4
_MAX_NUL_SHARE = 0.02


def decode(raw: bytes) -> str:
    """Text of bytes: by byte order mark, as UTF-8, else by detection.

    Raises:
        DocumentError: the bytes are no text.
    """
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    if (wide := _wide(raw)) is not None:
        return wide
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _detect(raw)
    sample = text[:_SAMPLE_BYTES]
    n_control = len(_CONTROL.findall(sample))
    if n_control > _MAX_CONTROL_SHARE * len(sample):
        raise DocumentError("is binary data, not text")
    return text


def _wide(raw: bytes) -> str | None:
    """UTF-16 without a mark: what is mostly ASCII has a NUL in every other place."""
    sample = raw[:_SAMPLE_BYTES]
    n_even, n_odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if len(raw) % 2 or half < _MIN_WIDE or max(n_even, n_odd) < _MIN_NUL_SHARE * half:
        return None
    if min(n_even, n_odd) > _MAX_NUL_SHARE * half:
        return None
    try:
        text = raw.decode("utf-16-be" if n_even > n_odd else "utf-16-le")
    except UnicodeDecodeError:
        return None
    n_odd_characters = sum(not (c.isprintable() or c.isspace()) for c in text[:_SAMPLE_BYTES])
    return text if n_odd_characters <= _MAX_CONTROL_SHARE * len(text[:_SAMPLE_BYTES]) else None


def _detect(raw: bytes) -> str:
    from charset_normalizer import from_bytes

    if b"\0" in raw[:_SAMPLE_BYTES]:
        raise DocumentError("is binary data, not text")
    if (western := _western(raw)) is not None:
        return western
    best = from_bytes(raw[:_SAMPLE_BYTES]).best()
    if best is None:
        raise DocumentError("its text encoding cannot be told; save it as UTF-8")
    return raw.decode(best.encoding, "replace")


def _western(raw: bytes) -> str | None:
    """The text as Windows-1252 (a superset of Latin-1), when it is plausible as such."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    high = [char for char in text if char > "\x7f"]
    n_letters, n_high_letters = sum(map(str.isalpha, text)), sum(map(str.isalpha, high))
    is_latin = n_high_letters <= _MAX_WESTERN_SHARE * n_letters and not _OTHER_ALPHABET.search(text)
    return text if is_latin and _WESTERN.issuperset(high) else None


def parse_plain(raw: bytes, uri: str) -> Parsed:
    """Paragraphs are what empty lines separate."""
    builder = TextBuilder()
    paragraph: list[str] = []
    first = 1
    # Lines as an editor counts them: `splitlines` would also break at form feeds.
    text = decode(raw).replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            first = first if paragraph else number
            paragraph.append(line.strip())
        elif paragraph:
            builder.add("paragraph", "\n".join(paragraph), lines=(first, number - 1))
            paragraph = []
    return builder.build(uri=uri, media_type="text/plain")
