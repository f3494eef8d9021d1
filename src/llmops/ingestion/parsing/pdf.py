"""PDF through PDFium: text in reading order, tables, headings, notes, form fields; scanned pages through OCR."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as c

from llmops.errors import DocumentError
from llmops.ingestion.parsing import ocr
from llmops.ingestion.parsing.builder import MAX_CHARACTERS, Parsed, Scalar, TextBuilder
from llmops.ingestion.parsing.pdf_furniture import Furniture
from llmops.ingestion.parsing.pdf_headings import with_headings
from llmops.ingestion.parsing.pdf_layout import read_layer
from llmops.ingestion.parsing.pdf_pages import MAX_PAGE_CHARACTERS, PDFIUM, Box, RawPage, Word, read_page
from llmops.ingestion.parsing.pdf_text import Piece, pieces_of

MAX_PAGES = 5_000
MAX_SECONDS = 300.0
MAX_SCANNED_PAGES = 200
_PAGES_AT_ONCE = 64
_MIN_CHARACTERS = 10
_SCAN_DPI = 200
_MAX_PIXELS = 25_000_000
_MAX_UNREADABLE_SHARE = 0.3
_MIN_PICTURE_SHARE = 0.05
_MANY_DRAWN = 100
_IS, _WAS = "{is}", "{was}"
_SCHEME = re.compile(r"^(?:https?://(?:www\.)?|mailto:)", re.IGNORECASE)
_MAX_ADDRESS = 300
_PASSWORD = "is encrypted and needs a password; save it without one"


def parse_pdf(raw: bytes, uri: str) -> Parsed:
    """Text of every page that can be read; what cannot be is in `problems`.

    Raises:
        DocumentError: it is no PDF, needs a password, or no page of it can be read.
    """
    if b"%PDF-" not in raw[:1024]:
        raise DocumentError("is not a PDF: it does not begin with %PDF")
    with _opened(raw) as document:
        reading = _Reading(document)
        reading.read()
        title = _title(document)
    builder = TextBuilder()
    for piece in with_headings(reading.pieces, reading.body_size):
        builder.add(piece.kind, piece.text, level=piece.level, page=piece.page)
    if not builder.n_characters:
        raise DocumentError(reading.reason())
    metadata: dict[str, Scalar] = {"pages": reading.n_pages}
    return builder.build(
        uri=uri, media_type="application/pdf", title=title, metadata=metadata, problems=reading.problems()
    )


@contextmanager
def _opened(raw: bytes) -> Iterator[pdfium.PdfDocument]:
    try:
        with PDFIUM:
            document = pdfium.PdfDocument(raw)
            document.init_forms()
    except pdfium.PdfiumError as error:
        match getattr(error, "err_code", None):
            case c.FPDF_ERR_PASSWORD:
                raise DocumentError(_PASSWORD) from error
            case c.FPDF_ERR_SECURITY:
                raise DocumentError(
                    "is encrypted in a way that cannot be read; save it without encryption"
                ) from error
            case _:
                raise DocumentError("is a damaged PDF, or one without pages") from error
    try:
        yield document
    finally:
        with PDFIUM:
            document.close()


class _Reading:
    """The pages of one document as they are read, and what could not be."""

    def __init__(self, document: pdfium.PdfDocument) -> None:
        self._document = document
        self._started = time.monotonic()
        self._furniture = Furniture()
        self._n_characters = 0
        self._n_pictures = 0
        self._failed: dict[str, list[int]] = {}
        self.pieces: list[Piece] = []
        with PDFIUM:
            self.n_pages = len(document)
            self._n_attached = c.FPDFDoc_GetAttachmentCount(document.raw)
            self._form = document.get_formtype()

    @property
    def body_size(self) -> float:
        return self._furniture.body_size

    def read(self) -> None:
        """Read all pages within the limits."""
        last = min(self.n_pages, MAX_PAGES)
        if self.n_pages > MAX_PAGES:
            self._fail(f"{_WAS} not read: a file may have {MAX_PAGES}", range(MAX_PAGES + 1, self.n_pages + 1))
        for first in range(0, last, _PAGES_AT_ONCE):
            numbers = range(first, min(first + _PAGES_AT_ONCE, last))
            pages = [page for index in numbers if (page := self._raw(index)) is not None]
            self._furniture.learn(pages)
            for page in pages:
                self.pieces += self._pieces(page)

    def _raw(self, index: int) -> RawPage | None:
        if self._is_late(index + 1):
            return None
        if self._n_characters > MAX_CHARACTERS:
            self._fail(f"{_WAS} not read: a file may have {MAX_CHARACTERS} characters", [index + 1])
            return None
        try:
            with PDFIUM:
                page = read_page(self._document, index)
        except (pdfium.PdfiumError, ValueError, OSError) as error:
            self._fail(f"{_IS} damaged ({error})", [index + 1])
            return None
        self._n_characters += page.n_characters
        if page.n_left_out:
            self._fail(f"{_WAS} read in part: a page may have {MAX_PAGE_CHARACTERS} characters", [index + 1])
        return page

    def _is_late(self, page: int) -> bool:
        late = time.monotonic() - self._started > MAX_SECONDS
        if late:
            self._fail(f"{_WAS} not read: the file took longer than {MAX_SECONDS:.0f} seconds", [page])
        return late

    def _pieces(self, page: RawPage) -> list[Piece]:
        n_bad, n_all = page.n_unreadable, max(page.n_characters, 1)
        is_bare = page.n_characters < _MIN_CHARACTERS
        if is_bare and page.picture_share > _MIN_PICTURE_SHARE:
            pieces = self._from_picture(page, "scanned images")
        elif is_bare and page.n_drawn > _MANY_DRAWN:  # letters may be drawn as curves
            pieces = self._from_picture(page, "drawings without letters")
        elif n_bad > _MIN_CHARACTERS and n_bad > _MAX_UNREADABLE_SHARE * n_all:
            pieces = self._from_picture(page, "in fonts that do not tell their letters")
        else:
            pieces = list(_text_pieces(page, self._furniture))
        return [*pieces, *_remarks(page)]

    def _from_picture(self, page: RawPage, what: str) -> list[Piece]:
        """The text of a page as Tesseract reads it."""
        if not ocr.is_available():
            self._fail(f"{_IS} {what} and {_WAS} not read: install Tesseract", [page.number])
            return []
        if self._is_late(page.number):
            return []
        self._n_pictures += 1
        if self._n_pictures > MAX_SCANNED_PAGES:
            self._fail(
                f"{_IS} {what} and {_WAS} not read: a file may have {MAX_SCANNED_PAGES} such", [page.number]
            )
            return []
        try:
            with PDFIUM:
                picture = _picture(self._document, page.number - 1)
            text = ocr.read_image(picture)
        except (DocumentError, pdfium.PdfiumError) as error:
            self._fail(f"{_IS} {what} and {_WAS} not read: {error}", [page.number])
            return []
        self._n_characters += len(text)
        return [Piece(kind="paragraph", text=part, page=page.number) for part in ocr.paragraphs(text)]

    def _fail(self, reason: str, pages: Sequence[int]) -> None:
        self._failed.setdefault(reason, []).extend(pages)

    def problems(self) -> tuple[str, ...]:
        """What could not be read, a sentence each."""
        said = [_sentence(pages, reason) for reason, pages in self._failed.items()]
        if self._n_attached:
            many = self._n_attached != 1
            said.append(f"{self._n_attached} attached file{'s were' if many else ' was'} not read")
        if self._form in (c.FORMTYPE_XFA_FULL, c.FORMTYPE_XFA_FOREGROUND):
            said.append("its XFA form may show more than could be read")
        return tuple(said)

    def reason(self) -> str:
        """Why the document gave no text at all."""
        if self._failed:
            return "; ".join(self.problems()[:3])
        pages = f"{self.n_pages} page{'s' * (self.n_pages != 1)}"
        return f"{pages} without text: probably scanned or drawn, and no letters were found"


def _sentence(pages: Sequence[int], reason: str) -> str:
    """`pages 3-4, 7 are ...`"""
    spans: list[list[int]] = []
    for number in sorted(pages):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [f"{first}-{last}" if last > first else str(first) for first, last in spans]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    many = len(pages) > 1
    reason = reason.replace(_IS, "are" if many else "is").replace(_WAS, "were" if many else "was")
    if not many:
        reason = reason.replace("scanned images", "a scanned image").replace("drawings", "a drawing")
    return f"page{'s' * many} {', '.join(shown[:20])}{more} {reason}"


def _text_pieces(page: RawPage, furniture: Furniture) -> Iterator[Piece]:
    """Pieces of the words that run in the page's main direction, then of those that run in others."""
    away = furniture.words(page)
    for index, layer in enumerate(page.layers):
        words = [word for word in layer if id(word) not in away]
        if index == 0:
            words = _with_addresses(words, page.links)
        elements = read_layer(words, page.rules if index == 0 else ())
        yield from pieces_of(elements, page.number, furniture.vocabulary)


def _with_addresses(words: list[Word], links: Sequence[tuple[str, Box]]) -> list[Word]:
    """The address of a link after its last word, unless the words show it."""
    last_box = dict(links)  # a link over two lines has two boxes
    for address, (x0, y0, x1, y1) in last_box.items():
        under = [
            index
            for index, word in enumerate(words)
            if x0 - 1 <= (word.x0 + word.x1) / 2 <= x1 + 1 and y0 - 1 <= (word.y0 + word.y1) / 2 <= y1 + 1
        ]
        shown = "".join(words[index].text for index in under)
        bare = _SCHEME.sub("", address).rstrip("/")
        if under and bare and len(address) <= _MAX_ADDRESS and not (bare in shown or shown.rstrip("/") in bare):
            last = words[under[-1]]
            words[under[-1]] = replace(last, text=f"{last.text} ({address})")
    return words


def _remarks(page: RawPage) -> Iterator[Piece]:
    if page.fields:
        yield Piece(kind="list", text="\n".join(f"- {field}" for field in page.fields), page=page.number)
    for note in page.notes:
        yield Piece(kind="paragraph", text=note, page=page.number)


def _picture(document: pdfium.PdfDocument, index: int) -> Any:
    page = document[index]
    try:
        width, height = page.get_size()
        scale = min(_SCAN_DPI / 72, (_MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
        bitmap = page.render(scale=scale, grayscale=True)
        try:
            return bitmap.to_pil().copy()
        finally:
            bitmap.close()
    finally:
        page.close()


def _title(document: pdfium.PdfDocument) -> str:
    with PDFIUM:
        said = str(document.get_metadata_value("Title") or "").strip()
    return "" if said.lower() in ("untitled", "") or said.lower().endswith((".doc", ".docx", ".tex")) else said
