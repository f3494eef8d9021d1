"""PDF: reading order, tables, headings, what stands beside the text, and pages that cannot be read."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import FreeText, Link
from pypdf.generic import ArrayObject, NameObject, NullObject, NumberObject, RectangleObject

from llmops.errors import DocumentError
from llmops.ingestion.parsing import ocr, parse, pdf
from llmops.ingestion.parsing.builder import Parsed
from tests.ingestion.parsing.pdfs import At, joined, level, lines_at, pdf_of, scan, upright, written

LATIN = (
    "lorem ipsum dolor sit amet consectetuer adipiscing elit sed diam nonummy nibh euismod tincidunt ut laoreet "
    "dolore magna aliquam erat volutpat wisi enim ad minim veniam quis nostrud exerci tation ullamcorper suscipit"
).split()
needs_tesseract = pytest.mark.skipif(not ocr.is_available(), reason="Tesseract is not installed")


def read(raw: bytes) -> Parsed:
    return parse(raw, uri="a.pdf")


def blocks(parsed: Parsed) -> list[tuple[str, str]]:
    return [(block.kind, parsed.text[block.start : block.end]) for block in parsed.blocks]


def prose(seed: int, n_lines: int, n_words: int = 7) -> list[str]:
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(LATIN, k=n_words)) for _ in range(n_lines)]


@pytest.mark.parametrize("shift", [0.0, 5.0], ids=["level", "lines at other heights"])
def test_columns_are_read_one_after_the_other_below_their_title(shift: float) -> None:
    left, right = prose(1, 12), prose(2, 12)
    title = At(text="A title over both of the columns of this page", x=120, y=60, size=16)
    page = [title, *lines_at(left, x=60, y=100), *lines_at(right, x=330, y=100 + shift)]
    text = read(pdf_of(page)).text
    assert text.split("\n\n")[0] == title.text
    assert text.index(left[0]) < text.index(left[-1]) < text.index(right[0]) < text.index(right[-1])
    for line in (*left, *right):
        assert line in text


def test_rows_that_stand_in_line_are_a_table_and_signs_stay_with_their_amounts() -> None:
    rows = [("Revenue", "2023", "2022"), ("Product", "15,741", "16,631"), ("Service", "34,381", "28,686")]
    page = lines_at(prose(3, 3, 12), y=60)
    for number, (label, first, second) in enumerate(rows):
        y = 120 + 14 * number
        page += [At(text=label, x=72, y=y), At(text=first, x=330, y=y), At(text=second, x=450, y=y)]
        if number:
            page += [At(text="$", x=300, y=y), At(text="$", x=420, y=y)]
    found = blocks(read(pdf_of([*page, *lines_at(prose(4, 3, 12), y=200)])))
    assert [kind for kind, _ in found] == ["paragraph", "table", "paragraph"]
    assert found[1][1] == "Revenue | 2023 | 2022\nProduct | $ 15,741 | $ 16,631\nService | $ 34,381 | $ 28,686"


def test_a_drawn_table_keeps_wrapped_cells_and_cells_over_columns_together() -> None:
    grid = [level(70, 370, y) for y in (100, 130, 160, 190)]
    grid += [upright(70, 100, 190), upright(370, 100, 190), upright(170, 130, 190), upright(270, 130, 190)]
    words = [
        At(text="Opening hours", x=80, y=118),
        *lines_at(["Gate of", "the yard"], x=75, y=141),
        At(text="nine", x=175, y=148),
        At(text="five", x=275, y=148),
        At(text="Door", x=75, y=178),
        At(text="ten", x=175, y=178),
        At(text="four", x=275, y=178),
    ]
    assert blocks(read(pdf_of([*grid, *words, At(text="After the table.", x=72, y=240)]))) == [
        ("table", "Opening hours | |\nGate of the yard | nine | five\nDoor | ten | four"),
        ("paragraph", "After the table."),
    ]


def test_a_frame_around_prose_is_no_table() -> None:
    frame = [level(60, 540, 50), level(60, 540, 200), upright(60, 50, 200), upright(540, 50, 200)]
    assert {kind for kind, _ in blocks(read(pdf_of([*frame, *lines_at(prose(5, 8, 12))])))} == {"paragraph"}


def test_larger_capital_and_bold_lines_are_headings_in_this_order() -> None:
    page = [
        At(text="Manual of the gate", x=72, y=60, size=18),
        At(text="OPENING HOURS", x=72, y=100),
        At(text="On feast days", x=72, y=130, font="F2"),
        *lines_at(prose(6, 6, 12), y=160),
    ]
    parsed = read(pdf_of(page))
    headings = [(b.level, parsed.text[b.start : b.end]) for b in parsed.blocks if b.kind == "heading"]
    assert headings == [(1, "Manual of the gate"), (2, "OPENING HOURS"), (3, "On feast days")]
    assert parsed.title == "Manual of the gate"


def test_items_and_code_are_told_from_prose() -> None:
    page = [
        *lines_at(prose(7, 4, 12), y=60),
        At(text="• the first item of", x=80, y=120),
        At(text="two lines", x=90, y=132),
        At(text="• the second", x=80, y=144),
        At(text="def f():", x=72, y=180, font="F3"),
        At(text="return 1", x=96, y=192, font="F3"),
    ]
    found = blocks(read(pdf_of(page)))
    assert found[1:] == [
        ("list", "- the first item of two lines\n- the second"),
        ("code", "```\ndef f():\n    return 1\n```"),
    ]


def test_a_hyphen_at_a_line_end_stays_where_the_document_knows_both_words() -> None:
    lines = ["We publish a self and a publishing house and self-", "publishing is infor-", "mation for all."]
    assert "self-publishing is information" in read(pdf_of(lines_at(lines))).text


def test_heads_and_feet_of_pages_go_with_their_numbers_and_the_first_words_of_chapters_stay() -> None:
    pages = [
        [
            At(text="Handbook of the gate", x=72, y=40, size=8),
            At(text=f"Chapter {2 * number}", x=72, y=60),
            *lines_at(prose(number, 6, 12), y=80),
            At(text=f"Page {number} of 6", x=280, y=760, size=8),
        ]
        for number in range(1, 7)
    ]
    text = read(pdf_of(*pages)).text
    assert "Handbook" not in text
    assert "of 6" not in text
    assert all(f"Chapter {2 * number}" in text for number in range(1, 7))


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_pages_that_a_viewer_turns_are_read_all_the_same(rotate: int) -> None:
    lines = prose(8, 4, 10)
    assert read(pdf_of(lines_at(lines), rotate=rotate)).text == " ".join(lines)


def test_text_that_runs_upwards_is_read_upright_and_after_the_main_text() -> None:
    sideways = "BT /F1 10 Tf 0 1 -1 0 40 200 Tm (Printed in the margin) Tj ET"
    found = blocks(read(pdf_of([sideways, *lines_at(prose(9, 5, 10))])))
    assert found[-1] == ("paragraph", "Printed in the margin")
    assert len(found) == 2


def test_addresses_of_links_notes_and_filled_fields_are_text(shared: Path) -> None:
    folder = shared / "data" / "documents_office" / "files" / "sample-files"
    assert read((folder / "libre-office-link.pdf").read_bytes()).text == (
        "This is a link to an awesome blog. (https://martin-thoma.com/)"
    )
    assert "Lucas: Hello world!" in read((folder / "annotated_pdf.pdf").read_bytes()).text
    assert ("list", "- First Name: Alice\n- First Name_2: Bob") in blocks(
        read((folder / "libreoffice-form.pdf").read_bytes())
    )


def test_an_address_that_is_shown_is_not_repeated() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_of(lines_at(["See docs.example.org today."])))))
    writer.add_annotation(0, Link(rect=RectangleObject((72, 715, 300, 735)), url="https://docs.example.org/"))
    writer.add_annotation(0, FreeText(text="Free words", rect=RectangleObject((72, 100, 300, 130))))
    assert blocks(read(written(writer))) == [
        ("paragraph", "See docs.example.org today."),
        ("paragraph", "Free words"),
    ]


def test_a_page_that_is_damaged_is_named_and_the_others_are_read() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_of(lines_at(["First."]), lines_at(["Third."])))))
    pages: Any = writer._root_object["/Pages"].get_object()
    kids = pages["/Kids"]
    pages[NameObject("/Kids")] = ArrayObject([kids[0], NullObject(), kids[1]])
    pages[NameObject("/Count")] = NumberObject(3)
    parsed = read(written(writer))
    assert [(block.page, parsed.text[block.start : block.end]) for block in parsed.blocks] == [
        (1, "First."),
        (3, "Third."),
    ]
    assert len(parsed.problems) == 1
    assert parsed.problems[0].startswith("page 2 is damaged")


def test_scanned_pages_without_tesseract_are_named_and_a_file_of_nothing_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    words = pdf_of(lines_at(["These are words."]))
    parsed = read(joined(words, scan("one"), scan("two"), words, scan("three")))
    assert parsed.problems == ("pages 2-3, 5 are scanned images and were not read: install Tesseract",)
    assert [block.page for block in parsed.blocks] == [1, 4]
    with pytest.raises(DocumentError, match="page 1 is a scanned image and was not read: install Tesseract"):
        read(scan("The gate is closed."))


@needs_tesseract
@pytest.mark.parametrize("angle", [0, 180])
def test_scanned_pages_are_read_where_tesseract_is_installed(angle: int) -> None:
    raw = joined(
        pdf_of(lines_at(["Before."])), scan("The gate is closed today.", "It opens at nine.", angle=angle)
    )
    parsed = read(raw)
    assert parsed.problems == ()
    assert parsed.text == "Before.\n\nThe gate is closed today. It opens at nine."
    assert [block.page for block in parsed.blocks] == [1, 2]


def test_a_limit_that_is_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 1)
    raw = pdf_of(lines_at(["First."]), lines_at(["Second."]), lines_at(["Third."]))
    parsed = read(raw)
    assert (parsed.text, parsed.metadata) == ("First.", {"pages": 3})
    assert parsed.problems == ("pages 2-3 were not read: a file may have 1",)
    monkeypatch.setattr(pdf, "MAX_SECONDS", -1.0)
    with pytest.raises(DocumentError, match="page 1 was not read: the file took longer than"):
        read(raw)


def test_attached_files_are_named() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_of(lines_at(["Words."])))))
    writer.add_attachment("a.txt", b"inside")
    assert read(written(writer)).problems == ("1 attached file was not read",)


def test_files_are_read_by_several_threads_at_once() -> None:
    files = [pdf_of(*[lines_at(prose(10 * file + page, 20, 10)) for page in range(5)]) for file in range(8)]
    alone = [read(raw).text for raw in files]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda raw: read(raw).text, files)) == alone


def test_a_quarterly_report_gives_its_statements_as_tables(shared: Path) -> None:
    file = shared / "data" / "sec10q_rag" / "docs" / "2023_Q1_MSFT.pdf"
    parsed = read(file.read_bytes())
    tables = [parsed.text[block.start : block.end] for block in parsed.blocks if block.kind == "table"]
    assert parsed.problems == ()
    assert len(tables) > 40
    rows = {row for table in tables for row in table.split("\n")}
    assert "Total revenue | 52,747 | 51,728 | 102,869 | 97,045" in rows
    headings = [parsed.text[block.start : block.end] for block in parsed.blocks if block.kind == "heading"]
    assert "ITEM 1. FINANCIAL STATEMENTS" in headings
