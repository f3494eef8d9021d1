"""Workbooks, made with openpyxl, and delimited text."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pytest
from openpyxl import Workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment

from llmops.ingestion.parsing import delimited, xlsx
from tests.ingestion.parsing.reading import blocks, lines, member, read, reason, with_member, zipped

SHEET = "xl/worksheets/sheet1.xml"


def saved(book: Any) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def workbook(rows: Sequence[Any], title: str = "Gates") -> Any:
    book: Any = Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(list(row))
    return book


# XLSX


def test_rows_that_touch_are_a_table_and_titles_are_not() -> None:
    rows = [["Gates of the city"], ["name", "opened"], ["North", 7], [], ["source", "a|b"], [], ["note"]]
    parsed = read(saved(workbook(rows)), "city-gates.xlsx")
    assert parsed.title == "city gates"
    assert blocks(parsed) == [
        ("heading", "Gates"),
        ("paragraph", "Gates of the city"),
        ("table", "name | opened\nNorth | 7"),
        ("table", "source | a\\|b"),
        ("paragraph", "note"),
    ]


def test_values_are_shown_as_a_person_sees_them() -> None:
    book = workbook([["a", "b"], [0.1 + 0.2, True], [date(2026, 1, 2), datetime(2026, 1, 2, 3, 4)], [0.256, 1.5]])
    book.active["A4"].number_format = "0.0%"
    (_, table) = blocks(read(saved(book), "a.xlsx"))
    assert table[1] == "a | b\n0.3 | TRUE\n2026-01-02 | 2026-01-02 03:04:00\n25.6% | 1.5"


def test_merged_cells_are_repeated_in_rows_that_say_more() -> None:
    book = workbook([["Report", None, None], ["wall", "gate", "open"], ["North", "A", 1], [None, "B", 2]])
    book.active.merge_cells("A1:C1")
    book.active.merge_cells("A3:A4")
    assert blocks(read(saved(book), "a.xlsx"))[1:] == [
        ("paragraph", "Report"),
        ("table", "wall | gate | open\nNorth | A | 1\nNorth | B | 2"),
    ]


def test_stored_results_of_formulas_are_read_and_missing_ones_are_named() -> None:
    raw = saved(workbook([["a", "b"], [1, "=A2+1"]]))
    parsed = read(raw, "a.xlsx")
    assert parsed.problems == (
        "sheet 'Gates' has 1 formulas without a stored value; open and save it in a spreadsheet program",
    )
    xml = re.sub(r"<v ?/>|<v></v>", "<v>2</v>", member(raw, SHEET))
    parsed = read(with_member(raw, SHEET, xml), "a.xlsx")
    assert blocks(parsed)[1] == ("table", "a | b\n1 | 2")
    assert parsed.problems == ()


def test_hidden_sheets_are_read_and_said_to_be_hidden() -> None:
    book = workbook([["a", "b"], [1, 2]])
    other = book.create_sheet("Costs")
    other.append(["secret"])
    other.sheet_state = "veryHidden"
    parsed = read(saved(book), "a.xlsx")
    assert blocks(parsed)[2:] == [("heading", "Costs (hidden sheet)"), ("paragraph", "secret")]
    assert parsed.metadata["hidden_sheets"] == "Costs"


def test_comments_and_chart_titles_are_kept() -> None:
    book = workbook([["wall", "gates"], ["North", 3], ["South", 4]])
    book.active["B2"].comment = Comment("Counted twice", "Ann")
    chart: Any = BarChart()
    chart.title = "Gates by wall"
    chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=3), titles_from_data=True)
    book.active.add_chart(chart, "D2")
    assert blocks(read(saved(book), "a.xlsx"))[2:] == [
        ("paragraph", "Gates by wall (bar chart)"),
        ("paragraph", "Comment on B2 by Ann: Counted twice"),
    ]


def test_sheets_over_a_limit_are_cut_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MAX_ROWS", 3)
    monkeypatch.setattr(xlsx, "MAX_COLUMNS", 2)
    monkeypatch.setattr(xlsx, "MAX_SHEETS", 1)
    book = workbook([["a", "b", "c"]] * 5)
    book.create_sheet("More").append(["x"])
    parsed = read(saved(book), "a.xlsx")
    assert blocks(parsed)[1] == ("table", "a | b\na | b\na | b")
    assert parsed.problems == (
        "sheet 'Gates' is too large: only its first 3 rows are read",
        "sheet 'Gates' has over 2 columns; the others are not read",
        "has 2 sheets; only the first 1 are read",
    )


def test_a_cell_at_the_end_of_the_sheet_and_a_merge_of_everything_cost_nothing() -> None:
    book = workbook([["a", "b"], [1, 2]])
    book.active["XFD1048576"] = "end"
    raw = saved(book)
    merges = '<mergeCells count="1"><mergeCell ref="A1:XFD1048576"/></mergeCells><pageMargins'
    raw = with_member(raw, SHEET, member(raw, SHEET).replace("<pageMargins", merges, 1))
    parsed = read(raw, "a.xlsx")
    assert parsed.problems == ("sheet 'Gates' is too large: only its first 100000 rows are read",)
    assert "1 | 2" in parsed.text


def test_a_damaged_sheet_is_named_and_the_others_are_read() -> None:
    book = workbook([["a", "b"], [1, 2]])
    book.create_sheet("More").append(["x", "y"])
    raw = saved(book)
    parsed = read(with_member(raw, SHEET, member(raw, SHEET).replace("</sheetData>", "<c")), "a.xlsx")
    assert blocks(parsed) == [("heading", "More"), ("table", "x | y")]
    assert parsed.problems[0].startswith("sheet 'Gates' cannot be read")


def test_entities_in_a_sheet_are_not_expanded() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
    xml = (
        f'<!DOCTYPE w [<!ENTITY l0 "ha">{laughs}]><worksheet '
        'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">'
        '<c r="A1" t="inlineStr"><is><t>&l8;</t></is></c></row></sheetData></worksheet>'
    )
    raw = with_member(saved(workbook([["a"]])), SHEET, xml)
    assert "declares a document type or an entity in 'xl/worksheets/sheet1.xml'" in reason(raw, "a.xlsx")
    utf16 = with_member(raw, SHEET, f'<?xml version="1.0" encoding="UTF-16"?>{xml}'.encode("utf-16"))
    assert "declares a document type" in reason(utf16, "a.xlsx")
    hidden = with_member(raw, SHEET, f"<!--{'-  ' * 30_000}-->{xml}")
    assert "hides the beginning of" in reason(hidden, "a.xlsx")


def test_another_archive_and_a_truncated_workbook_have_a_reason() -> None:
    assert "is not an Excel workbook" in reason(zipped({"a.txt": "x"}), "a.xlsx")
    assert "is damaged" in reason(saved(workbook([["a"]]))[:500], "a.xlsx")


# CSV and TSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_lines(delimiter: str) -> None:
    source = "\n".join(delimiter.join(row) for row in (["name", "wall, side", "n"], ['"a b"', "x", "1"]))
    source = source.replace("wall, side", '"wall, side"')
    assert blocks(read(source, "a.csv")) == [("table", "name | wall, side | n\na b | x | 1")]


def test_quoted_line_breaks_bars_and_short_rows_keep_the_columns() -> None:
    parsed = read('a,b,c\n"x\ny",p|q\n\n1,2,3\n', "gate-list.csv")
    assert blocks(parsed) == [("table", "a | b | c\nx y | p\\|q |\n1 | 2 | 3")]
    assert (parsed.title, lines(parsed)) == ("gate list", [(1, 5)])


def test_a_file_without_a_header_gets_one_and_years_are_one() -> None:
    assert blocks(read("5,apple\n6,pear\n7,fig\n", "a.csv")) == [
        ("table", "column 1 | column 2\n5 | apple\n6 | pear\n7 | fig")
    ]
    assert read("wall,2019,2020\nNorth,1,2\n", "a.csv").text == "wall | 2019 | 2020\nNorth | 1 | 2"


def test_other_encodings_are_read() -> None:
    assert read("名前,年齢\n佐藤太郎,30\n三木英子,25\n".encode("shift_jis"), "a.csv").text.startswith(
        "名前 | 年齢"
    )
    assert "Köln" in read("Stadt;Zahl\nKöln;3\n".encode("latin-1"), "a.csv").text
    assert "binary" in reason(bytes(range(256)) * 4, "a.csv")


def test_a_hundred_thousand_columns_are_cut_and_named() -> None:
    parsed = read(",".join(f"c{n}" for n in range(100_000)) + "\n" + ",".join("1" * 100_000), "a.csv")
    assert parsed.problems == ("has 100000 columns; only the first 1000 are read",)
    assert parsed.text.split("\n")[1].count("1") == 1000


def test_rows_over_the_limit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_ROWS", 2)
    parsed = read("a,b\n1,2\n3,4\n", "a.csv")
    assert (parsed.text, parsed.problems) == ("a | b\n1 | 2", ("has over 2 rows; the others are not read",))


def test_an_endless_cell_has_a_reason() -> None:
    assert reason('a,b\n"' + "x" * 2_000_000, "a.csv").startswith("has a damaged row at line 2")
