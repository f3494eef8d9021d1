"""Slides, made with python-pptx and read back."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from tests.ingestion.parsing.reading import blocks, headings, member, read, reason, with_member, zipped

BOX = (Inches(1), Inches(1), Inches(5), Inches(3))
XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def deck(*make: Callable[[Any], None], layout: int = 5) -> bytes:
    """A presentation with a slide for each function, which fills it."""
    presentation = Presentation()
    for fill in make:
        fill(presentation.slides.add_slide(presentation.slide_layouts[layout]))
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def titled(text: str) -> Callable[[Any], None]:
    def fill(slide: Any) -> None:
        slide.shapes.title.text = text

    return fill


def test_each_slide_is_a_section_and_its_number_a_page() -> None:
    parsed = read(deck(titled("Opening"), titled(""), titled("The gate")), "a.pptx")
    assert headings(parsed) == [(1, "Opening"), (1, "Slide 2"), (1, "The gate")]
    assert [block.page for block in parsed.blocks] == [1, 2, 3]
    assert parsed.title == "Opening"


def test_bullets_of_the_layout_are_a_list_and_notes_are_kept() -> None:
    def fill(slide: Any) -> None:
        slide.shapes.title.text = "Steps"
        frame = slide.placeholders[1].text_frame
        frame.text = "Unlock"
        for text, level in (("Turn the key", 1), ("Push", 0)):
            paragraph = frame.add_paragraph()
            paragraph.text, paragraph.level = text, level
        slide.notes_slide.notes_text_frame.text = "Say it slowly."

    assert blocks(read(deck(fill, layout=1), "a.pptx")) == [
        ("heading", "Steps"),
        ("list", "- Unlock\n  - Turn the key\n- Push"),
        ("paragraph", "Notes: Say it slowly."),
    ]


def test_merged_cells_are_repeated_and_bars_escaped() -> None:
    def fill(slide: Any) -> None:
        table = slide.shapes.add_table(3, 3, *BOX).table
        table.cell(0, 1).text = "Width"
        table.cell(0, 1).merge(table.cell(0, 2))
        for x, text in enumerate(("Gate", "a|b", "c")):
            table.cell(1, x).text = text
        table.cell(1, 0).merge(table.cell(2, 0))
        table.cell(2, 1).text = "d"

    (_, table) = blocks(read(deck(fill), "a.pptx"))
    assert table == ("table", "| Width | Width\nGate | a\\|b | c\nGate | d |")


def test_a_chart_says_its_title_and_numbers() -> None:
    def fill(slide: Any) -> None:
        data: Any = CategoryChartData()  # type: ignore[no-untyped-call]
        data.categories = ["North", "South"]
        data.add_series("Opened", (3, 5))
        data.add_series("Closed", (1, 2.5))
        chart = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *BOX, data).chart
        chart.has_title = True
        chart.chart_title.text_frame.text = "Gates by wall"

    assert blocks(read(deck(fill), "a.pptx"))[1:] == [
        ("paragraph", "Gates by wall (bar chart)"),
        ("table", "| Opened | Closed\nNorth | 3 | 1\nSouth | 5 | 2.5"),
    ]


def test_groups_are_read_and_hidden_slides_are_said_to_be_hidden() -> None:
    def fill(slide: Any) -> None:
        slide.shapes.title.text = "Plan"
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(*BOX).text_frame.text = "Deep inside"
        slide._element.set("show", "0")

    parsed = read(deck(fill), "a.pptx")
    assert blocks(parsed) == [("heading", "Plan (hidden slide)"), ("paragraph", "Deep inside")]


def test_numbered_paragraphs_keep_their_numbers() -> None:
    def fill(slide: Any) -> None:
        frame = slide.shapes.add_textbox(*BOX).text_frame
        frame.text = "first"
        frame.add_paragraph().text = "second"
        for paragraph in frame.paragraphs:
            properties = paragraph._p.get_or_add_pPr()
            numbering = properties.makeelement(
                "{http://schemas.openxmlformats.org/drawingml/2006/main}buAutoNum",
                {"type": "arabicPeriod", "startAt": "4"},
            )
            properties.append(numbering)

    assert blocks(read(deck(fill), "a.pptx"))[1] == ("list", "4. first\n5. second")


def test_comments_name_their_author() -> None:
    raw = deck(titled("Gate"))
    main = "http://schemas.openxmlformats.org/presentationml/2006/main"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    kind = "application/vnd.openxmlformats-officedocument.presentationml"
    for name, text, listed in (
        (
            "ppt/comments/comment1.xml",
            f'<p:cmLst xmlns:p="{main}"><p:cm authorId="0" dt="2026-01-01T00:00:00" idx="1">'
            "<p:text>Too high?</p:text></p:cm></p:cmLst>",
            ("ppt/slides/_rels/slide1.xml.rels", "comments", "../comments/comment1.xml"),
        ),
        (
            "ppt/commentAuthors.xml",
            f'<p:cmAuthorLst xmlns:p="{main}"><p:cmAuthor id="0" name="Ann" initials="A"/></p:cmAuthorLst>',
            ("ppt/_rels/presentation.xml.rels", "commentAuthors", "commentAuthors.xml"),
        ),
    ):
        rels, type_name, target = listed
        said = f'<Relationship Id="rIdX" Type="{relation}/{type_name}" Target="{target}"/></Relationships>'
        raw = with_member(raw, name, XML + text)
        raw = with_member(raw, rels, member(raw, rels).replace("</Relationships>", said))
        types = member(raw, "[Content_Types].xml")
        part = f'<Override PartName="/{name}" ContentType="{kind}.{type_name}+xml"/></Types>'
        raw = with_member(raw, "[Content_Types].xml", types.replace("</Types>", part))
    assert blocks(read(raw, "a.pptx"))[1] == ("paragraph", "Comment by Ann (A), 2026-01-01T00:00:00: Too high?")


def test_a_damaged_slide_is_named_and_the_others_are_read() -> None:
    raw = deck(titled("One"), titled("Two"), titled("Three"))
    parsed = read(with_member(raw, "ppt/slides/slide2.xml", XML + "<nothing/>"), "a.pptx")
    assert [text for _, text in headings(parsed)] == ["One", "Three"]
    assert len(parsed.problems) == 1
    assert parsed.problems[0].startswith("slide 2 cannot be read")


def test_a_slide_of_pictures_only_is_named() -> None:
    picture = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
    )

    def fill(slide: Any) -> None:
        slide.shapes.title.text = "Scan"
        slide.shapes.add_picture(io.BytesIO(picture), *BOX[:2])

    assert read(deck(fill), "a.pptx").problems == ("slide 1 shows only pictures, and their text is not read",)


@pytest.mark.parametrize("size", [0.3, 0.9])
def test_a_truncated_presentation_has_a_reason(size: float) -> None:
    raw = deck(titled("One"))
    assert "is damaged" in reason(raw[: int(len(raw) * size)], "a.pptx")


def test_another_archive_is_no_presentation() -> None:
    assert "is not a PowerPoint presentation" in reason(zipped({"a.txt": "x"}), "a.pptx")
