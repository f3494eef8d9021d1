"""Word documents: numbers that Word shows, notes, boxes, formulas, and documents made to do harm."""

from __future__ import annotations

import io
from typing import Any

import docx
import pytest

from tests.ingestion.parsing.reading import blocks, member, read, reason, with_member

BODY = "word/document.xml"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
W14 = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'


def saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def word(body: str, **parts: str) -> bytes:
    """A document with this XML as its body; `parts` are written below `word/`."""
    raw = saved(docx.Document())
    for name, content in parts.items():
        raw = with_member(raw, f"word/{name}.xml", content)
    return with_member(raw, BODY, f"<w:document {W} {M} {W14}><w:body>{body}</w:body></w:document>")


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def numbered(text: str, number: int, level: int = 0) -> str:
    return paragraph(text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')


def numbering(*levels: tuple[str, str]) -> str:
    shown = "".join(
        f'<w:lvl w:ilvl="{i}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/></w:lvl>'
        for i, (kind, text) in enumerate(levels)
    )
    over = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride>'
    return (
        f'<w:numbering {W}><w:abstractNum w:abstractNumId="0">{shown}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
        f'<w:num w:numId="2"><w:abstractNumId w:val="0"/>{over}</w:num></w:numbering>'
    )


def test_items_show_the_numbers_that_word_counts() -> None:
    levels = numbering(("decimal", "%1."), ("lowerLetter", "%1.%2)"), ("upperRoman", "%3"), ("bullet", "o"))
    body = "".join(
        numbered(text, 1, level)
        for text, level in (("one", 0), ("a", 1), ("b", 1), ("roman", 2), ("mark", 3), ("two", 0), ("again a", 1))
    )
    found = blocks(read(word(body + numbered("from seven", 2), numbering=levels), "a.docx"))
    assert found == [
        (
            "list",
            "1. one\n  1.a) a\n  1.b) b\n    I roman\n      - mark\n2. two\n  2.a) again a\n7. from seven",
        )
    ]


def test_numbered_headings_carry_their_numbers() -> None:
    outline = '<w:outlineLvl w:val="1"/><w:numPr><w:ilvl w:val="1"/><w:numId w:val="1"/></w:numPr>'
    levels = numbering(("decimal", "%1"), ("decimal", "%1.%2"))
    parsed = read(word(paragraph("Scope", outline) + paragraph("Terms", outline), numbering=levels), "a.docx")
    assert blocks(parsed) == [("heading", "1.1 Scope"), ("heading", "1.2 Terms")]
    assert [block.level for block in parsed.blocks] == [2, 2]


def test_a_cell_over_rows_stands_in_each_of_them_and_items_in_cells_keep_their_marks() -> None:
    def cell(text: str, merge: str = "") -> str:
        return f"<w:tc><w:tcPr>{merge}</w:tcPr>{text}</w:tc>"

    rows = (
        cell(paragraph("Gate"), '<w:vMerge w:val="restart"/>') + cell(numbered("one", 1) + numbered("two", 1)),
        cell(paragraph(""), "<w:vMerge/>") + cell(paragraph("b | c")),
    )
    table = "".join(f"<w:tr>{row}</w:tr>" for row in rows)
    parsed = read(word(f"<w:tbl>{table}</w:tbl>", numbering=numbering(("decimal", "%1."))), "a.docx")
    assert blocks(parsed) == [("table", "Gate | 1. one 2. two\nGate | b \\| c")]


def test_a_table_of_one_cell_is_a_frame_around_text() -> None:
    inner = paragraph("Title", '<w:outlineLvl w:val="0"/>') + paragraph("Text.")
    assert blocks(read(word(f"<w:tbl><w:tr><w:tc>{inner}</w:tc></w:tr></w:tbl>"), "a.docx")) == [
        ("heading", "Title"),
        ("paragraph", "Text."),
    ]


def test_boxes_stand_where_they_are_anchored_and_once() -> None:
    alternate = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = f"<w:txbxContent>{paragraph('In the box.')}</w:txbxContent>"
    run = (
        f'<w:r><mc:AlternateContent xmlns:mc="{alternate}"><mc:Choice Requires="wps">{box}</mc:Choice>'
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r>"
    )
    anchored = f"<w:p><w:r><w:t>First.</w:t></w:r>{run}</w:p>{paragraph('Last.')}"
    assert read(word(anchored), "a.docx").text == "First.\n\nIn the box.\n\nLast."


def test_check_boxes_show_their_state_and_hidden_text_is_not_read() -> None:
    def check(state: str) -> str:
        return (
            f'<w:sdt><w:sdtPr><w14:checkbox><w14:checked w14:val="{state}"/></w14:checkbox></w:sdtPr>'
            "<w:sdtContent><w:r><w:t>?</w:t></w:r></w:sdtContent></w:sdt>"
        )

    hidden = "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
    body = f"<w:p>{check('1')}<w:r><w:t> Tea </w:t></w:r>{check('0')}<w:r><w:t> Milk</w:t></w:r>{hidden}</w:p>"
    assert read(word(body), "a.docx").text == "[x] Tea [ ] Milk"


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("<m:f><m:num>{a}</m:num><m:den>{b}</m:den></m:f>", r"\frac{a}{b}"),
        ("<m:sSup><m:e>{a}</m:e><m:sup>{b}</m:sup></m:sSup>", "a^{b}"),
        (
            '<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{a}</m:sub><m:e>{b}</m:e></m:nary>',
            r"\sum_{a} b",
        ),
        ("<m:d><m:e>{a}</m:e></m:d>", r"\left(a\right)"),
        ("<m:rad><m:deg>{a}</m:deg><m:e>{b}</m:e></m:rad>", r"\sqrt[a]{b}"),
        ("<m:func><m:fName><m:r><m:t>cos</m:t></m:r></m:fName><m:e>{a}</m:e></m:func>", r"\cos a"),
        ("<m:m><m:mr><m:e>{a}</m:e><m:e>{b}</m:e></m:mr></m:m>", r"\begin{matrix}a & b\end{matrix}"),
    ],
)
def test_formulas_are_one_line_of_latex(formula: str, expected: str) -> None:
    shown = formula.format(a="<m:r><m:t>a</m:t></m:r>", b="<m:r><m:t>b</m:t></m:r>")
    assert read(word(f"<w:p><m:oMath>{shown}</m:oMath></w:p>"), "a.docx").text == expected


def test_notes_comments_heads_and_feet_follow_the_text() -> None:
    document: Any = docx.Document()
    paragraph_ = document.add_paragraph("Closed on feasts.")
    document.add_comment(paragraph_.runs, text="Which ones?", author="Ann")
    document.sections[0].header.paragraphs[0].text = "Handbook, third edition"
    document.sections[0].footer.paragraphs[0].text = "Page 1"
    assert read(saved(document), "a.docx").text == (
        "Closed on feasts.\n\nComment by Ann: Which ones?\n\nHandbook, third edition"
    )


def test_a_footnote_is_marked_where_it_stands_and_read_at_the_end() -> None:
    raw = word(
        '<w:p><w:r><w:t>Closed.</w:t></w:r><w:r><w:footnoteReference w:id="4"/></w:r></w:p>' + paragraph("End.")
    )
    note = f'<w:footnotes {W}><w:footnote w:id="4">{paragraph("On feasts.")}</w:footnote></w:footnotes>'
    relations = member(raw, "word/_rels/document.xml.rels").replace(
        "</Relationships>",
        '<Relationship Id="rIdN" Target="footnotes.xml" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/footnotes"/></Relationships>',
    )
    raw = with_member(with_member(raw, "word/footnotes.xml", note), "word/_rels/document.xml.rels", relations)
    assert read(raw, "a.docx").text == "Closed.[1]\n\nEnd.\n\n[1] On feasts."


def test_a_document_of_pictures_only_says_so() -> None:
    a = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    raw = word(f"<w:p><w:r><w:drawing><a:blip {a}/></w:drawing></w:r></w:p>")
    assert reason(raw, "a.docx") == "holds no text that can be read: its 1 picture was not read"


def test_entities_and_endless_nesting_are_refused_or_not_followed() -> None:
    plain = word(paragraph("&amp;x;"))
    lines = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE d [<!ENTITY e0 "ha">{lines}]>{member(plain, BODY).replace("&amp;x;", "&e9;")}'
    assert "not a Word document" in reason(with_member(plain, BODY, bomb), "a.docx")
    outside = (
        f'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>{member(plain, BODY).replace("&amp;x;", "a&x;")}'
    )
    assert read(with_member(plain, BODY, outside), "a.docx").text == "a"
    deep = "<w:tbl><w:tr><w:tc>" * 60 + paragraph("x") + "</w:tc></w:tr></w:tbl>" * 60
    assert reason(word(deep), "a.docx") == "is nested too deeply to be read"
