"""What stands on a PDF's page beside its text: drawn lines, pictures, links, notes and filled form fields.

Whoever calls holds `pdf_pages.PDFIUM`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as c

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points from the lower left of the page."""

_MAX_OBJECTS = 20_000
_MAX_LINES = 5_000
_MAX_SEGMENTS = 200
_MAX_DEPTH = 3
_MAX_ANNOTATIONS = 20_000
_MAX_NOTE_BYTES = 200_000
_THIN = 3.0
_SHORT = 4.0
_NOTES = (
    c.FPDF_ANNOT_TEXT,
    c.FPDF_ANNOT_FREETEXT,
    c.FPDF_ANNOT_HIGHLIGHT,
    c.FPDF_ANNOT_UNDERLINE,
    c.FPDF_ANNOT_SQUIGGLY,
    c.FPDF_ANNOT_STRIKEOUT,
    c.FPDF_ANNOT_SQUARE,
    c.FPDF_ANNOT_CIRCLE,
    c.FPDF_ANNOT_LINE,
    c.FPDF_ANNOT_INK,
    c.FPDF_ANNOT_CARET,
    c.FPDF_ANNOT_STAMP,
)
_CHECKS = (c.FPDF_FORMFIELD_CHECKBOX, c.FPDF_FORMFIELD_RADIOBUTTON)


@dataclass(kw_only=True, slots=True)
class Shapes:
    """Straight level or upright lines, and the area under pictures in square points."""

    lines: list[Box] = field(default_factory=list)
    picture_area: float = 0.0
    n_objects: int = 0
    n_text_objects: int = 0


@dataclass(kw_only=True, slots=True)
class Annotations:
    """Texts of notes, "label: value" of form fields, and addresses with the box they stand on."""

    notes: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    links: list[tuple[str, Box]] = field(default_factory=list)


class _Matrix:
    """An affine map of points, as PDF writes it."""

    def __init__(
        self, a: float = 1, b: float = 0, c_: float = 0, d: float = 1, e: float = 0, f: float = 0
    ) -> None:
        self.values = (a, b, c_, d, e, f)

    def point(self, x: float, y: float) -> tuple[float, float]:
        a, b, c_, d, e, f = self.values
        return a * x + c_ * y + e, b * x + d * y + f

    def box(self, box: Box) -> Box:
        corners = [self.point(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        return min(xs), min(ys), max(xs), max(ys)

    def after(self, inner: _Matrix) -> _Matrix:
        """The map that applies `inner` first."""
        a, b, c_, d, _, _ = inner.values
        (e, f), (p, q, r, s, _, _) = self.point(inner.values[4], inner.values[5]), self.values
        return _Matrix(p * a + r * b, q * a + s * b, p * c_ + r * d, q * c_ + s * d, e, f)


def shapes_of(page: pdfium.PdfPage) -> Shapes:
    """Lines and pictures, those inside of forms too; a page with very many objects is looked at in part."""
    shapes = Shapes()
    count = c.FPDFPage_CountObjects(page.raw)
    _collect((c.FPDFPage_GetObject(page.raw, i) for i in range(count)), shapes, _Matrix(), 0)
    return shapes


def _collect(objects: Iterator[Any], shapes: Shapes, matrix: _Matrix, depth: int) -> None:
    for drawn in objects:
        shapes.n_objects += 1
        if shapes.n_objects > _MAX_OBJECTS:
            return
        match c.FPDFPageObj_GetType(drawn):
            case c.FPDF_PAGEOBJ_TEXT:
                shapes.n_text_objects += 1
            case c.FPDF_PAGEOBJ_PATH if len(shapes.lines) < _MAX_LINES:
                shapes.lines += _lines(drawn, matrix)
            case c.FPDF_PAGEOBJ_IMAGE:
                if box := _bounds(drawn):
                    x0, y0, x1, y1 = matrix.box(box)
                    shapes.picture_area += (x1 - x0) * (y1 - y0)
            case c.FPDF_PAGEOBJ_FORM if depth < _MAX_DEPTH:
                count = c.FPDFFormObj_CountObjects(drawn)
                inner = (c.FPDFFormObj_GetObject(drawn, i) for i in range(max(count, 0)))
                _collect(inner, shapes, matrix.after(_matrix(drawn)), depth + 1)
            case _:
                pass


def _matrix(drawn: Any) -> _Matrix:
    m = c.FS_MATRIX()
    return _Matrix(m.a, m.b, m.c, m.d, m.e, m.f) if c.FPDFPageObj_GetMatrix(drawn, m) else _Matrix()


def _bounds(drawn: Any) -> Box | None:
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    done = c.FPDFPageObj_GetBounds(drawn, left, bottom, right, top)
    return (left.value, bottom.value, right.value, top.value) if done else None


def _lines(path: Any, matrix: _Matrix) -> Iterator[Box]:
    """The level and upright lines of a path: its strokes, and areas so thin that they are lines to the eye."""
    box = _bounds(path)
    if box is None:
        return
    x0, y0, x1, y1 = matrix.box(box)
    if min(x1 - x0, y1 - y0) < _THIN:
        if max(x1 - x0, y1 - y0) > _SHORT:
            yield (x0, y0, x1, y1)
        return
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    c.FPDFPath_GetDrawMode(path, fill, stroke)
    n_segments = c.FPDFPath_CountSegments(path)
    if not stroke.value or not 2 <= n_segments <= _MAX_SEGMENTS:
        return
    place = matrix.after(_matrix(path))
    last = first = (0.0, 0.0)
    x, y = ctypes.c_float(), ctypes.c_float()
    for index in range(n_segments):
        segment = c.FPDFPath_GetPathSegment(path, index)
        c.FPDFPathSegment_GetPoint(segment, x, y)
        point = place.point(x.value, y.value)
        kind = c.FPDFPathSegment_GetType(segment)
        if kind == c.FPDF_SEGMENT_MOVETO:
            first = point
        elif kind == c.FPDF_SEGMENT_LINETO:
            yield from _straight(last, point)
        if c.FPDFPathSegment_GetClose(segment):
            yield from _straight(point, first)
        last = point


def _straight(start: tuple[float, float], end: tuple[float, float]) -> Iterator[Box]:
    x0, x1 = sorted((start[0], end[0]))
    y0, y1 = sorted((start[1], end[1]))
    if min(x1 - x0, y1 - y0) < 1 and max(x1 - x0, y1 - y0) > _SHORT:
        yield (x0, y0, x1, y1)


def annotations_of(page: pdfium.PdfPage) -> Annotations:
    """Notes, filled fields and links to addresses outside of the file."""
    found = Annotations()
    for index in range(min(c.FPDFPage_GetAnnotCount(page.raw), _MAX_ANNOTATIONS)):
        annotation = c.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        try:
            _annotation(page, annotation, found)
        finally:
            c.FPDFPage_CloseAnnot(annotation)
    return found


def _annotation(page: pdfium.PdfPage, annotation: Any, found: Annotations) -> None:
    kind = c.FPDFAnnot_GetSubtype(annotation)
    if kind in _NOTES:
        note = _said(c.FPDFAnnot_GetStringValue, annotation, b"Contents")
        author = _said(c.FPDFAnnot_GetStringValue, annotation, b"T")
        if note:
            found.notes.append(f"{author}: {note}" if author and kind != c.FPDF_ANNOT_FREETEXT else note)
    elif kind == c.FPDF_ANNOT_LINK:
        if (address := _address(page, annotation)) and (box := _rectangle(annotation)):
            found.links.append((address, box))
    elif kind == c.FPDF_ANNOT_WIDGET and page.formenv:
        _field(page.formenv.raw, annotation, found)


def _field(form: Any, annotation: Any, found: Annotations) -> None:
    kind = c.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in _CHECKS:
        value = "checked" if c.FPDFAnnot_IsChecked(form, annotation) else ""
        option = _said(c.FPDFAnnot_GetFormFieldExportValue, form, annotation)
        if value and kind == c.FPDF_FORMFIELD_RADIOBUTTON and option:
            value = option
    elif kind in (c.FPDF_FORMFIELD_TEXTFIELD, c.FPDF_FORMFIELD_COMBOBOX, c.FPDF_FORMFIELD_LISTBOX):
        value = _said(c.FPDFAnnot_GetFormFieldValue, form, annotation)
    else:
        return
    label = _said(c.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _said(
        c.FPDFAnnot_GetFormFieldName, form, annotation
    )
    if value:
        found.fields.append(f"{label}: {value}" if label else value)


def _rectangle(annotation: Any) -> Box | None:
    rectangle = c.FS_RECTF()
    if not c.FPDFAnnot_GetRect(annotation, rectangle):
        return None
    return rectangle.left, rectangle.bottom, rectangle.right, rectangle.top


def _address(page: pdfium.PdfPage, annotation: Any) -> str:
    link = c.FPDFAnnot_GetLink(annotation)
    action = c.FPDFLink_GetAction(link) if link else None
    if not action or c.FPDFAction_GetType(action) != c.PDFACTION_URI:
        return ""
    document = page.pdf.raw
    n_bytes = min(c.FPDFAction_GetURIPath(document, action, None, 0), 2_000)
    buffer = ctypes.create_string_buffer(max(n_bytes, 1))
    c.FPDFAction_GetURIPath(document, action, buffer, n_bytes)
    return buffer.value.decode("utf-8", "replace").strip()


def _said(ask: Any, *subject: Any) -> str:
    """A UTF-16 text of PDFium, which is asked for its length first."""
    n_bytes = min(ask(*subject, None, 0), _MAX_NOTE_BYTES) // 2 * 2
    if n_bytes <= 2:
        return ""
    buffer = ctypes.create_string_buffer(n_bytes)
    ask(*subject, ctypes.cast(buffer, ctypes.POINTER(c.FPDF_WCHAR)), n_bytes)
    return " ".join(buffer.raw.decode("utf-16-le", "replace").split("\0")[0].split())
