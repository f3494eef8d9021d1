"""From a file's bytes to text with structure: one module a format, each around a well-kept library."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from llmops.errors import DocumentError, EmptyDocumentError, MissingExtraError
from llmops.ingestion.parsing.builder import Parsed
from llmops.ingestion.parsing.media_types import PARSERS, ZIP, media_type_of, readable_formats

__all__ = ["MAX_BYTES", "PARSER_VERSION", "Parsed", "media_type_of", "parse", "readable_formats"]

PARSER_VERSION = 5
"""Part of every document's fingerprint: a change in how files are read makes them be read again."""

MAX_BYTES = 50_000_000
MAX_NESTING = 5
"""Files within files within files: an archive in a mail in an archive."""
MAX_NESTED_BYTES = 300_000_000
"""What all files within one file may have together, at all depths."""

Parser = Callable[[bytes, str], Parsed]


@dataclass(kw_only=True, slots=True)
class _Nesting:
    """What the file that is being read now may still hold."""

    depth: int = 0
    n_bytes: int = 0


_nesting: ContextVar[_Nesting | None] = ContextVar("nesting", default=None)


def parse(raw: bytes, *, uri: str, media_type: str | None = None, max_bytes: int = MAX_BYTES) -> Parsed:
    """Text, blocks and title of one file; parsers of archives and mails read what is in them with this too.

    Raises:
        DocumentError: it cannot be read, with the reason for the ledger; nothing else is raised.
    """
    kind = media_type or media_type_of(uri, raw)
    if kind == ZIP and not PurePosixPath(uri).suffix:
        kind = media_type_of(uri, raw) or kind  # the first bytes alone may not tell which archive it is
    if len(raw) > max_bytes:
        raise DocumentError(f"has {len(raw) / 1e6:.1f} MB; at most {max_bytes / 1e6:.0f} MB are read")
    if not raw.strip():
        raise EmptyDocumentError("is empty")
    try:
        with _nested(len(raw)):
            parsed = _parser(kind)(raw, uri)
    except DocumentError as error:
        if "\n" not in str(error):
            raise
        raise type(error)(" ".join(str(error).split())) from error
    except MissingExtraError as error:
        raise DocumentError(f"cannot be read here: {error}") from error
    except RecursionError as error:
        raise DocumentError("is nested too deeply to be read") from error
    except MemoryError as error:
        raise DocumentError("needs more memory than there is") from error
    except Exception as error:  # format libraries raise anything on a damaged file
        said = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no details"
        raise DocumentError(f"cannot be read as {kind} ({type(error).__name__}: {said})") from error
    if not parsed.text.strip():
        raise EmptyDocumentError(_why_empty(parsed))
    return parsed


def _why_empty(parsed: Parsed) -> str:
    if not parsed.problems:
        return "holds no text"
    more = f" (and {len(parsed.problems) - 1} more such parts)" if len(parsed.problems) > 1 else ""
    return f"holds no text that can be read: {parsed.problems[0]}{more}"


@contextmanager
def _nested(n_bytes: int) -> Iterator[None]:
    """Hold depth and size of files within files to their limits."""
    around = _nesting.get()
    here = around or _Nesting()
    if here.depth > MAX_NESTING:
        raise DocumentError(f"stands in more than {MAX_NESTING} files within each other")
    here.n_bytes += n_bytes if around is not None else 0
    if here.n_bytes > MAX_NESTED_BYTES:
        raise DocumentError(
            f"is one of files within a file that have over {MAX_NESTED_BYTES / 1e6:.0f} MB together"
        )
    token = _nesting.set(here)
    here.depth += 1
    try:
        yield
    finally:
        here.depth -= 1
        _nesting.reset(token)


def _parser(kind: str | None) -> Parser:
    """The parser of a media type, imported when it is first needed."""
    if kind not in PARSERS:
        raise DocumentError(f"no parser for {kind or 'this format'}; readable are {readable_formats()}")
    module, _, function = PARSERS[kind].partition(":")
    return cast(Parser, getattr(importlib.import_module(f"{__name__}.{module}"), function))
