"""Small PDFs for tests: words at places, in three fonts, and pictures of pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

WIDTH, HEIGHT = 612, 792
FONTS = {"F1": "Helvetica", "F2": "Helvetica-Bold", "F3": "Courier"}


@dataclass(frozen=True, kw_only=True, slots=True)
class At:
    """A text whose base line begins `x` points from the left and `y` from the top."""

    text: str
    x: float
    y: float
    size: float = 10
    font: str = "F1"


def level(x0: float, x1: float, y: float) -> str:
    """A drawn line."""
    return f"{x0} {HEIGHT - y} m {x1} {HEIGHT - y} l S"


def upright(x: float, y0: float, y1: float) -> str:
    return f"{x} {HEIGHT - y0} m {x} {HEIGHT - y1} l S"


def lines_at(
    texts: Sequence[str], *, x: float = 72, y: float = 72, step: float = 12, size: float = 10, font: str = "F1"
) -> list[At]:
    """Texts below each other."""
    return [At(text=text, x=x, y=y + i * step, size=size, font=font) for i, text in enumerate(texts)]


def pdf_of(*pages: Sequence[At | str], rotate: int = 0, title: str = "") -> bytes:
    """Pages of texts and drawn lines; `rotate` turns the pages as a viewer shows them."""
    writer = PdfWriter()
    fonts = DictionaryObject()
    for name, base in FONTS.items():
        font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": f"/{base}", "/Encoding": "/WinAnsiEncoding"}
        fonts[NameObject(f"/{name}")] = writer._add_object(
            DictionaryObject({NameObject(key): NameObject(value) for key, value in font.items()})
        )
    for marks in pages:
        page = writer.add_blank_page(WIDTH, HEIGHT)
        content = DecodedStreamObject()
        content.set_data("\n".join(_drawn(mark) for mark in marks).encode("cp1252"))
        page[NameObject("/Contents")] = writer._add_object(content)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        if rotate:
            page.rotate(rotate)
    if title:
        writer.add_metadata({"/Title": title})
    return written(writer)


def _drawn(mark: At | str) -> str:
    if isinstance(mark, str):
        return mark
    text = mark.text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /{mark.font} {mark.size} Tf {mark.x} {HEIGHT - mark.y} Td ({text}) Tj ET"


def written(writer: PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def joined(*files: bytes) -> bytes:
    """The pages of several PDFs as one."""
    writer = PdfWriter()
    for raw in files:
        writer.append(PdfReader(io.BytesIO(raw)))
    return written(writer)


def picture(*lines: str, angle: int = 0) -> Image.Image:
    """Black letters on white, as a scanner would give them."""
    image = Image.new("L", (1400, 500), 255)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((60, 80 + 70 * number), line, fill=0, font=ImageFont.load_default(44))
    return image.rotate(angle, expand=True)


def scan(*lines: str, angle: int = 0) -> bytes:
    """A PDF of one scanned page."""
    buffer = io.BytesIO()
    picture(*lines, angle=angle).save(buffer, "PDF", resolution=150)
    return buffer.getvalue()
