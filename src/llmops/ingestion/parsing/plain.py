"""Plain text of any encoding."""

from __future__ import annotations

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, TextBuilder

_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MAX_CONTROL_SHARE = 0.02
_SAMPLE_BYTES = 200_000


def decode(raw: bytes) -> str:
    """Text of bytes: by byte order mark, as UTF-8, else by detection.

    Raises:
        DocumentError: the bytes are no text.
    """
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _detect(raw)
    sample = text[:_SAMPLE_BYTES]
    n_control = sum(c < " " and c not in "\t\n\r\f\v" for c in sample)
    if n_control > _MAX_CONTROL_SHARE * len(sample):
        raise DocumentError("is binary data, not text")
    return text


def _detect(raw: bytes) -> str:
    from charset_normalizer import from_bytes

    if b"\0" in raw[:_SAMPLE_BYTES]:
        raise DocumentError("is binary data, not text")
    best = from_bytes(raw[:_SAMPLE_BYTES]).best()
    if best is None:
        raise DocumentError("its text encoding cannot be told; save it as UTF-8")
    return raw.decode(best.encoding, "replace")


def parse_plain(raw: bytes, uri: str) -> Parsed:
    """Paragraphs are what empty lines separate."""
    builder = TextBuilder()
    paragraph: list[str] = []
    first = 1
    for number, line in enumerate([*decode(raw).splitlines(), ""], start=1):
        if line.strip():
            first = first if paragraph else number
            paragraph.append(line.strip())
        elif paragraph:
            builder.add("paragraph", "\n".join(paragraph), lines=(first, number - 1))
            paragraph = []
    return builder.build(uri=uri, media_type="text/plain")
