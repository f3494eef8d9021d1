"""PDF through pypdf: born-digital text, page by page."""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Sequence

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, PdfReadError, PyPdfError

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import MAX_CHARACTERS, Parsed, Scalar, TextBuilder

_MAX_PAGES = 5_000
_HYPHEN = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
_PAGE_NUMBER = re.compile(r"\d+")
_MIN_CHARACTERS_A_PAGE = 10
_log = logging.getLogger("pypdf")
_log.setLevel(logging.CRITICAL)  # it complains of every oddity; what matters is in the result


def parse_pdf(raw: bytes, uri: str) -> Parsed:
    if b"%PDF-" not in raw[:1024]:
        raise DocumentError("is not a PDF: it does not begin with %PDF")
    reader = _open(raw)
    pages = _pages(reader)
    n_characters = sum(len(page) for page in pages)
    if n_characters < _MIN_CHARACTERS_A_PAGE:
        n = len(pages)
        shown = f"{n} page{'s' * (n != 1)}"
        raise DocumentError(f"{shown} without text: probably scanned, and this parser does not read images")
    builder = TextBuilder()
    furniture = _repeated_lines(pages)
    for number, page in enumerate(pages, start=1):
        for paragraph in _paragraphs(page, furniture):
            builder.add("paragraph", paragraph, page=number)
    metadata: dict[str, Scalar] = {"pages": len(pages)}
    return builder.build(uri=uri, media_type="application/pdf", title=_title(reader), metadata=metadata)


def _open(raw: bytes) -> PdfReader:
    try:
        reader = PdfReader(io.BytesIO(raw), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("is encrypted and needs a password; save it without one")
        n_pages = len(reader.pages)
    except FileNotDecryptedError as error:
        raise DocumentError("is encrypted and needs a password; save it without one") from error
    except DependencyError as error:
        raise DocumentError(f"is encrypted in a way that needs another package ({error})") from error
    except PyPdfError as error:
        raise DocumentError(f"is a damaged PDF ({error})") from error
    if n_pages == 0:
        raise DocumentError("is a PDF without pages")
    if n_pages > _MAX_PAGES:
        raise DocumentError(f"has {n_pages} pages; at most {_MAX_PAGES} are read")
    return reader


def _pages(reader: PdfReader) -> list[str]:
    pages: list[str] = []
    total = 0
    for number, page in enumerate(reader.pages, start=1):
        try:
            text = page.extract_text()
        except (PdfReadError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise DocumentError(f"page {number} cannot be read ({type(error).__name__}: {error})") from error
        total += len(text)
        if total > MAX_CHARACTERS:
            raise DocumentError(f"has more than {MAX_CHARACTERS} characters")
        pages.append(text)
    return pages


def _repeated_lines(pages: Sequence[str]) -> frozenset[str]:
    """First and last lines that stand on most pages: headers, footers and page numbers."""
    if len(pages) < 4:
        return frozenset()
    counts: Counter[str] = Counter()
    for page in pages:
        lines = [_mask(line) for line in page.splitlines() if line.strip()]
        counts.update({*lines[:2], *lines[-2:]})
    return frozenset(line for line, n in counts.items() if n >= 0.6 * len(pages))


def _mask(line: str) -> str:
    return _PAGE_NUMBER.sub("#", " ".join(line.split()))


def _paragraphs(page: str, furniture: frozenset[str]) -> list[str]:
    """Lines run together into paragraphs; an empty line or a clearly short line ends one."""
    lines = page.split("\n")
    kept = [line.rstrip() for i, line in enumerate(lines) if not (_at_edge(i, lines) and _mask(line) in furniture)]
    width = sorted(len(line) for line in kept if line.strip())
    typical = width[int(0.8 * (len(width) - 1))] if width else 0
    paragraphs: list[list[str]] = [[]]
    for line in kept:
        if not line.strip():
            paragraphs.append([])
            continue
        paragraphs[-1].append(line.strip())
        if len(line) < 0.7 * typical and line.rstrip().endswith((".", ":", "?", "!")):
            paragraphs.append([])
    joined = (_HYPHEN.sub("", "\n".join(paragraph)).replace("\n", " ") for paragraph in paragraphs)
    return [paragraph for paragraph in joined if paragraph.strip()]


def _at_edge(index: int, lines: Sequence[str]) -> bool:
    filled = [i for i, line in enumerate(lines) if line.strip()]
    return index in (*filled[:2], *filled[-2:])


def _title(reader: PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata else None
    except (PyPdfError, ValueError, TypeError, AttributeError, KeyError):
        return ""
    said = str(title or "").strip()
    return "" if said.lower() in ("untitled", "") or said.lower().endswith((".doc", ".docx", ".tex")) else said
