"""PPTX through python-pptx: a section for each slide, with tables, charts, diagrams, notes and comments."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.exc import PackageNotFoundError
from pptx.table import Table

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder, pipe_table
from llmops.ingestion.parsing.charts import add_chart
from llmops.ingestion.parsing.media_types import PPTX
from llmops.ingestion.parsing.pptx_text import add_frame, paragraph_text
from llmops.ingestion.parsing.remarks import add_remarks, people, remarks_of
from llmops.ingestion.parsing.safe_xml import (
    attribute,
    children,
    descendants,
    local,
    read_xml,
    refuse_document_types,
)
from llmops.ingestion.parsing.zip_limits import check_zip

MAX_SLIDES = 2_000
_MAX_DEPTH = 20
_FURNITURE = (PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER)
_FILE_NAMES = (".png", ".jpg", ".jpeg", ".gif", ".emf", ".wmf", ".bmp", ".tif", ".svg")


def parse_pptx(raw: bytes, uri: str) -> Parsed:
    """Slides in order, each under its title; a slide's number is its page.

    Raises:
        DocumentError: it is no presentation, is encrypted, or unpacks to too much.
    """
    check_zip(raw)
    refuse_document_types(raw)
    try:
        presentation = Presentation(io.BytesIO(raw))
    except (PackageNotFoundError, KeyError, ValueError) as error:
        raise DocumentError(f"is not a PowerPoint presentation ({str(error)[:150]})") from error
    builder, problems = TextBuilder(), list[str]()
    authors = _authors(presentation, problems)
    slides = presentation.slides
    for number in range(1, min(len(slides), MAX_SLIDES) + 1):
        part = TextBuilder()  # a slide that cannot be read leaves nothing half-read behind
        try:
            _slide(slides[number - 1], number, part, authors, problems)
        except Exception as error:  # noqa: BLE001 (python-pptx raises anything on a damaged part; the others go on)
            problems.append(f"slide {number} cannot be read ({type(error).__name__}: {str(error)[:150]})")
            continue
        builder.merge(part)
    if len(slides) > MAX_SLIDES:
        problems.append(f"has {len(slides)} slides; only the first {MAX_SLIDES} are read")
    properties = presentation.core_properties
    metadata: dict[str, Scalar] = {"author": properties.author} if properties.author else {}
    title = "" if properties.title in ("PowerPoint Presentation", None) else properties.title
    return builder.build(uri=uri, media_type=PPTX, title=title, metadata=metadata, problems=problems)


def _authors(presentation: Any, problems: list[str]) -> dict[str, str]:
    """Who wrote comments, by id; two generations of PowerPoint keep them in parts of their own."""
    found: dict[str, str] = {}
    for relation in presentation.part.rels.values():
        if relation.reltype.rpartition("/")[2] in ("commentAuthors", "authors"):
            try:
                found |= people(read_xml(relation.target_part.blob, "the authors of comments"))
            except DocumentError as error:
                problems.append(str(error))
    return found


def _slide(slide: Any, number: int, builder: TextBuilder, authors: dict[str, str], problems: list[str]) -> None:
    title_shape = slide.shapes.title
    title = " ".join(title_shape.text_frame.text.split()) if title_shape is not None else ""
    hidden = " (hidden slide)" if slide._element.get("show") in ("0", "false") else ""
    builder.add("heading", f"{title or f'Slide {number}'}{hidden}", level=1, page=number)
    n_before = builder.n_characters
    shapes = [shape for shape in slide.shapes if title_shape is None or shape.shape_id != title_shape.shape_id]
    for shape in shapes:
        _shape(shape, number, builder, 0)
    for box in slide.shapes._spTree:  # python-pptx passes over what newer programs wrote in two forms
        if local(box) == "AlternateContent":
            for choice in children(box, "Choice"):
                lines = (paragraph_text(paragraph) for paragraph in descendants(choice, "p"))
                builder.add("paragraph", "\n".join(line for line in lines if line.strip()), page=number)
    if builder.n_characters == n_before and any(_is_picture(shape, 0) for shape in shapes):
        problems.append(f"slide {number} shows only pictures, and their text is not read")
    frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if frame is not None and frame.text.strip():
        builder.add("paragraph", f"Notes: {frame.text}", page=number)
    for relation in slide.part.rels.values():
        if relation.reltype.rpartition("/")[2] == "comments":
            root = read_xml(relation.target_part.blob, f"comments of slide {number}")
            add_remarks(remarks_of(root, authors), builder, page=number)


def _shape(shape: Any, page: int, builder: TextBuilder, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise RecursionError
    if shape.is_placeholder and shape.placeholder_format.type in _FURNITURE:
        return
    if hasattr(shape, "shapes"):
        for inner in shape.shapes:
            _shape(inner, page, builder, depth + 1)
    elif getattr(shape, "has_table", False):
        builder.add("table", pipe_table(_rows(shape.table)), page=page)
    elif getattr(shape, "has_chart", False):
        add_chart(
            shape.chart_part.blob if hasattr(shape, "chart_part") else shape.chart.part.blob, builder, page=page
        )
    elif shape.has_text_frame:
        add_frame(shape, builder, page=page)
    elif local(shape._element) == "graphicFrame":
        _diagram(shape, page, builder)
    elif local(shape._element) == "pic":
        described = " ".join(shape._element.xpath("./p:nvPicPr/p:cNvPr/@descr"))
        if not described.lower().endswith(_FILE_NAMES):
            builder.add("paragraph", described, page=page)


def _is_picture(shape: Any, depth: int) -> bool:
    inner = shape.shapes if hasattr(shape, "shapes") and depth < _MAX_DEPTH else ()
    return local(shape._element) == "pic" or any(_is_picture(one, depth + 1) for one in inner)


def _rows(table: Table) -> Iterator[list[str]]:
    """Cells with what spans them repeated, so that each row can be read alone."""
    cells = [list(row.cells) for row in table.rows]
    texts = [["\n".join(map(paragraph_text, descendants(cell._tc, "p"))) for cell in row] for row in cells]
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            if cell.is_merge_origin:
                for line in texts[y : y + cell.span_height]:
                    line[x : x + cell.span_width] = [texts[y][x]] * len(line[x : x + cell.span_width])
    yield from texts


def _diagram(shape: Any, page: int, builder: TextBuilder) -> None:
    """SmartArt keeps its text in a part of its own, a point for each box."""
    for related in descendants(shape._element, "relIds"):
        root = read_xml(shape.part.related_part(attribute(related, "dm")).blob, "a diagram")
        lines = (
            " ".join(" ".join(map(paragraph_text, descendants(point, "p"))).split())
            for point in descendants(root, "pt")
        )
        builder.add("list", "\n".join(f"- {line}" for line in lines if line), page=page)
