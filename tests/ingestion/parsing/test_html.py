"""HTML: tables with spans, definitions, formulas, and pages made to be endless."""

from __future__ import annotations

import pytest

from llmops.errors import DocumentError
from llmops.ingestion.parsing import html
from tests.ingestion.parsing.reading import blocks, read, reason


def page(body: str) -> list[tuple[str, str]]:
    return blocks(read(f"<body>{body}</body>", "a.html"))


def test_what_spans_rows_and_columns_stands_in_each_of_them() -> None:
    rows = (
        "<tr><th>Day<th colspan=2>Hours</tr><tr><td rowspan=2>Monday<td>9<td>12</tr><tr><td colspan=2>shut</tr>"
        "<tr><td>Tuesday<td>9<td>17</tr>"
    )
    assert page(f"<table>{rows}</table>") == [
        ("table", "Day | Hours | Hours\nMonday | 9 | 12\nMonday | shut | shut\nTuesday | 9 | 17")
    ]


def test_heads_of_several_rows_in_a_row_of_their_own_stand_in_those_only() -> None:
    rows = "<tr><th>Year<th>Month</tr><tr><th rowspan=3>2025</tr><tr><td>May</tr><tr><td>June</tr>"
    assert page(f"<table>{rows}</table>") == [("table", "Year | Month\n2025 | May\n2025 | June")]
    last = "<tr><th>Year<th>Month</tr><tr><th rowspan=3>2025</tr>"
    assert page(f"<table>{last}</table>") == [("table", "Year | Month\n2025 |")]


def test_a_table_in_a_cell_of_data_is_part_of_the_cell() -> None:
    inner = "<table><tr><td>short<td>quak</tr><tr><td>long<td>quaak</tr></table>"
    assert page(f"<table><caption>Ducks</caption><tr><th>Call<td>{inner}</tr></table>") == [
        ("table", "Ducks\nCall | short, quak; long, quaak")
    ]


def test_definitions_are_items_and_captions_are_kept() -> None:
    terms = "<dl><dt>Gate<dt>Door<dd>A way in.<dd>Or out.<dt>Yard<dd>Behind it.<dt>Alone</dl>"
    assert page(f"{terms}<figure><img alt='A duck'><figcaption>Figure 1: a duck</figcaption></figure>") == [
        ("list", "- Gate, Door: A way in.\n  Or out.\n- Yard: Behind it.\n- Alone"),
        ("paragraph", "A duck"),
        ("paragraph", "Figure 1: a duck"),
    ]


def test_definitions_that_hold_code_stay_blocks() -> None:
    assert page("<dl><dt>run<dd><p>So:</p><pre>make</pre></dl>") == [
        ("paragraph", "run"),
        ("paragraph", "So:"),
        ("code", "make"),
    ]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("<mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mn>1</mn></mrow></mfrac>", r"\frac{a}{b+1}"),
        ("<msup><mi>x</mi><mn>2</mn></msup><mo>≤</mo><msqrt><mi>y</mi></msqrt>", r"x^{2} \leq \sqrt{y}"),
        (
            "<semantics><mi>x</mi><annotation encoding='application/x-tex'>\\hat x</annotation></semantics>",
            r"\hat x",
        ),
        ("<mrow>" * 400 + "<mi>z</mi>", "z"),
    ],
)
def test_formulas_are_one_line_of_latex(formula: str, expected: str) -> None:
    assert page(f"<p>So <math>{formula}</math> holds.</p>") == [("paragraph", f"So {expected} holds.")]


def test_what_is_nested_deeply_is_read_without_its_structure() -> None:
    text = read("<div>" * 10_000 + "inside" + "</div>" * 10_000 + "<p>after</p>", "a.html").text
    assert text == "inside\n\nafter"
    assert read("<ul><li>a" * 1_000, "a.html").text.count("a") == 1_000
    assert read("<table><tr><th>a</th><td>" * 200 + "x", "a.html").text.endswith("x")


def test_a_page_of_very_many_tags_is_refused() -> None:
    assert reason("<b>" * (html.MAX_TAGS + 1), "a.html") == "has 300001 tags; at most 300000 are read"


def test_spans_that_would_multiply_a_table_are_not_followed() -> None:
    rows = f"<tr><td colspan=200 rowspan=200>{'x' * 200}</tr>" * 200
    text = read(f"<table>{rows}</table>", "a.html").text
    assert 200 * 200 <= len(text) < 600_000


def test_entities_of_a_page_are_not_read_from_files() -> None:
    source = '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]><html><body><p>a &x; b</p></body></html>'
    assert "root:" not in read(source, "a.xhtml").text


def test_an_error_of_one_page_says_one_reason() -> None:
    with pytest.raises(DocumentError, match="binary data"):
        read(b"\0\1\2\3" * 100, "a.html")
