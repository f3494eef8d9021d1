"""From a file's bytes to text with structure: one module a format, each around a well-kept library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from llmops.errors import DocumentError, EmptyDocumentError
from llmops.ingestion.parsing.builder import Parsed

PARSER_VERSION = 3
"""Part of every document's fingerprint: a change in how files are read makes them be read again."""

MAX_BYTES = 50_000_000

_BY_SUFFIX = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".mdx": "text/markdown",
    ".rst": "text/x-rst",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".log": "text/plain",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}
_PDF, _DOCX = _BY_SUFFIX[".pdf"], _BY_SUFFIX[".docx"]


def media_type_of(uri: str, head: bytes = b"") -> str | None:
    """The media type by the name, or by the first bytes when the name says nothing; None: no parser."""
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if not suffix and head.startswith(b"%PDF-"):
        return _PDF
    if not suffix and PurePosixPath(uri).name.isupper() and b"\0" not in head:
        return "text/plain"  # README, LICENSE
    return None


def readable_formats() -> str:
    """The endings that have a parser, for messages."""
    return ", ".join(sorted(_BY_SUFFIX))


def parse(raw: bytes, *, uri: str, media_type: str | None = None, max_bytes: int = MAX_BYTES) -> Parsed:
    """Text, blocks and title of one file.

    Raises:
        DocumentError: it cannot be read, with the reason for the ledger; nothing else is raised.
    """
    kind = media_type or media_type_of(uri, raw[:1024])
    if len(raw) > max_bytes:
        raise DocumentError(f"has {len(raw) / 1e6:.1f} MB; at most {max_bytes / 1e6:.0f} MB are read")
    if not raw.strip():
        raise EmptyDocumentError("is empty")
    try:
        parsed = _parser(kind)(raw, uri)
    except DocumentError:
        raise
    except RecursionError as error:
        raise DocumentError("is nested too deeply to be read") from error
    except MemoryError as error:
        raise DocumentError("needs more memory than there is") from error
    except Exception as error:  # format libraries raise anything on a damaged file
        said = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no details"
        raise DocumentError(f"cannot be read as {kind} ({type(error).__name__}: {said})") from error
    if not parsed.text.strip():
        raise EmptyDocumentError("holds no text")
    return parsed


def _parser(kind: str | None) -> Callable[[bytes, str], Parsed]:
    """The parser of a media type, imported when it is first needed."""
    match kind:
        case "text/markdown":
            from llmops.ingestion.parsing.markdown import parse_markdown as parser
        case "text/x-rst":
            from llmops.ingestion.parsing.restructuredtext import parse_restructuredtext as parser
        case "text/html":
            from llmops.ingestion.parsing.html import parse_html as parser
        case "text/plain":
            from llmops.ingestion.parsing.plain import parse_plain as parser
        case _ if kind == _PDF:
            from llmops.ingestion.parsing.pdf import parse_pdf as parser
        case _ if kind == _DOCX:
            from llmops.ingestion.parsing.docx import parse_docx as parser
        case _:
            raise DocumentError(f"no parser for {kind or 'this format'}; readable are {readable_formats()}")
    return parser
