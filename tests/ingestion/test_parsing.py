"""Six formats, each on small files made here; then files of the world, where they are at hand."""

from __future__ import annotations

import io
import itertools
import json
import random
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from llmops.errors import DocumentError
from llmops.ingestion.parsing import media_type_of, parse
from llmops.ingestion.parsing.builder import Parsed

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
MEDIA_TYPES = ("text/markdown", "text/x-rst", "text/html", "text/plain", "application/pdf", DOCX)


def read(source: str | bytes, uri: str) -> Parsed:
    return parse(source.encode() if isinstance(source, str) else source, uri=uri)


def blocks(parsed: Parsed) -> list[tuple[str, str]]:
    """Kind and text of each block; code without the fences that every code block has."""
    found: list[tuple[str, str]] = []
    for block in parsed.blocks:
        text = parsed.text[block.start : block.end]
        if block.kind == "code":
            fence, _, inner = text.partition("\n")
            assert fence.strip("`") == ""
            assert inner.endswith(f"\n{fence}")
            text = inner.removesuffix(f"\n{fence}")
        found.append((block.kind, text))
    return found


def lines(parsed: Parsed) -> list[tuple[int | None, int | None]]:
    return [(block.first_line, block.last_line) for block in parsed.blocks]


def reason(source: str | bytes, uri: str) -> str:
    with pytest.raises(DocumentError, match=r"\S") as caught:
        read(source, uri)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400
    assert ". " not in said.rstrip(".")
    return said


# Markdown


def test_markdown_structure_and_line_numbers() -> None:
    source = """# Gate *rules*

A [link](http://x.example) and ![a picture](p.png)
with `code` and **bold**.

## Steps
```python
x = {{< kept >}}  # in code
```
> quoted

Setext
------
text
"""
    parsed = read(source, "gate.md")
    assert parsed.title == "Gate rules"
    assert blocks(parsed) == [
        ("heading", "Gate rules"),
        ("paragraph", "A link and a picture with code and bold."),
        ("heading", "Steps"),
        ("code", "x = {{< kept >}}  # in code"),
        ("paragraph", "quoted"),
        ("heading", "Setext"),
        ("paragraph", "text"),
    ]
    assert lines(parsed) == [(1, 1), (3, 4), (6, 6), (7, 9), (10, 10), (12, 13), (14, 14)]
    assert [block.level for block in parsed.blocks] == [1, 0, 2, 0, 0, 2, 0]


def test_yaml_front_matter_gives_title_and_metadata() -> None:
    source = (
        "---\ntitle: The Title\ntags: [a, b]\ndate: 2026-01-02\nweight: 3\nlayout: wide\n---\n# Heading\n\ntext\n"
    )
    parsed = read(source, "a.md")
    assert parsed.title == "The Title"
    assert parsed.metadata == {"title": "The Title", "tags": "a, b", "date": "2026-01-02", "weight": 3}
    assert lines(parsed) == [(8, 8), (10, 10)]


def test_toml_front_matter_gives_title_and_metadata() -> None:
    parsed = read('+++\ntitle = "T"\nweight = 2\n+++\n\ntext\n', "a.md")
    assert (parsed.title, parsed.metadata) == ("T", {"title": "T", "weight": 2})
    assert blocks(parsed) == [("paragraph", "text")]
    assert lines(parsed) == [(6, 6)]


def test_front_matter_that_is_not_valid_is_still_no_text() -> None:
    assert read("---\ntitle: a: b\n---\n\nbody\n", "a.md").text == "body"


def test_a_rule_at_the_top_of_a_page_is_no_front_matter() -> None:
    assert read("---\n\nFirst.\n\n---\n\nSecond.\n", "a.md").text == "First.\n\nSecond."


@pytest.mark.parametrize("value", [".nan", ".inf", "99999999999999999999999"])
def test_a_number_that_no_store_keeps_becomes_text(value: str) -> None:
    assert isinstance(read(f"---\nweight: {value}\n---\ntext\n", "a.md").metadata["weight"], str)


def test_comments_short_codes_and_imports_go_but_not_from_code() -> None:
    source = """import Tabs from '@theme/Tabs';

Before <!-- a
comment --> after {{% alert %}}kept{{% /alert %}} {% raw %}x{% endraw %}.

Use `{% if %}`, `{{< ref >}}` and `<!-- this -->`.

- item

  ```yaml
  {{< in code >}}
  ```
"""
    parsed = read(source, "a.mdx")
    assert blocks(parsed) == [
        ("paragraph", "Before after kept x."),
        ("paragraph", "Use {% if %}, {{< ref >}} and <!-- this -->."),
        ("list", "- item"),
        ("code", "{{< in code >}}"),
    ]
    assert lines(parsed)[:2] == [(3, 4), (6, 6)]


def test_nested_lists_keep_numbers_and_indents() -> None:
    source = "3. three\n4. four\n   - in a\n     1. deep\n   - in b\n\n     more of b\n5. five\n\n0. zero\n"
    parsed = read(source, "a.md")
    assert blocks(parsed) == [
        ("list", "3. three\n4. four\n  - in a\n    1. deep\n  - in b\n    more of b\n5. five\n6. zero")
    ]
    assert read("0. zero\n1. one\n", "a.md").text == "0. zero\n1. one"


def test_code_and_tables_in_lists_are_blocks_of_their_own() -> None:
    code = "   ```sh\n   run\n     indented\n   ```\n"
    source = f"1. first\n\n{code}2. second\n\n   | a | b |\n   |---|---|\n   | 1 | 2 |\n"
    parsed = read(source, "a.md")
    assert blocks(parsed) == [
        ("list", "1. first"),
        ("code", "run\n  indented"),
        ("list", "2. second"),
        ("table", "a | b\n1 | 2"),
    ]
    assert lines(parsed)[1] == (3, 6)


def test_tables_are_rows_of_cells() -> None:
    parsed = read("| Name | Port |\n|---|--:|\n| `api` | **80** |\n", "a.md")
    assert blocks(parsed) == [("table", "Name | Port\napi | 80")]


def test_html_in_markdown_is_read_as_html() -> None:
    details = "<summary>More</summary>\n<p>Hidden <b>detail</b></p>\n<script>x()</script>"
    source = f"<details>\n{details}\n</details>\n\nThen<br>text.\n"
    parsed = read(source, "a.md")
    assert blocks(parsed) == [("paragraph", "More"), ("paragraph", "Hidden detail"), ("paragraph", "Then\ntext.")]
    assert lines(parsed)[0] == (1, 5)


def test_an_anchor_is_no_part_of_its_heading() -> None:
    assert read("## Intro {#intro}\n\ntext\n", "a.md").title == "Intro"


# reStructuredText

RST = """\
Title
=====

See :ref:`the guide <guide>`, :py:class:`~a.B` and ``code``.

Sub
---

.. note:: Mind this.

   And *that*.

.. code-block:: python
   :linenos:

   def f():
       return 1

.. include:: /etc/passwd

.. raw:: html

   <b>raw</b>

.. tip-of-the-day:: With :doc:`an argument </x>`
   :option: dropped

   Its content.

.. versionadded:: 3.5

.. list-table:: Ports

   * - api
     - 80

1. one
2. two

   * in

term
  meaning
"""


def test_restructuredtext_structure_and_line_numbers() -> None:
    parsed = read(RST, "a.rst")
    assert parsed.title == "Title"
    assert blocks(parsed) == [
        ("heading", "Title"),
        ("paragraph", "See the guide, a.B and code."),
        ("heading", "Sub"),
        ("paragraph", "Mind this."),
        ("paragraph", "And that."),
        ("code", "def f():\n    return 1"),
        ("paragraph", "With an argument"),
        ("paragraph", "Its content."),
        ("table", "Ports\napi | 80"),
        ("list", "1. one\n2. two\n  - in"),
        ("list", "- term: meaning"),
    ]
    starts = [first for first, _ in lines(parsed)]
    assert starts == [1, 4, 6, 9, 11, 16, 25, 28, 32, 37, 42]
    assert [block.level for block in parsed.blocks if block.kind == "heading"] == [1, 2]


def test_restructuredtext_says_nothing_and_reads_no_other_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    source = f"""
.. include:: {secret}
.. literalinclude:: {secret}
.. csv-table:: t
   :file: {secret}
.. figure:: {secret}
.. raw:: html
   :file: {secret}

`broken :role:`x *y

Title
==

|undefined| text_
"""
    text = read(source, "a.rst").text
    assert "secret" not in text.replace(str(secret), "")
    assert "text" in text
    assert capfd.readouterr() == ("", "")


def test_a_pep_header_becomes_title_and_metadata() -> None:
    parsed = read(
        "PEP: 8\nTitle: Style\nAuthor: A <a@x.example>,\n  B\n\nIntroduction\n============\n\ntext\n",
        "pep-0008.rst",
    )
    assert parsed.title == "PEP 8 – Style"
    assert parsed.metadata["author"] == "A <a@x.example>, B"
    assert blocks(parsed) == [("heading", "Introduction"), ("paragraph", "text")]
    assert lines(parsed) == [(6, 6), (9, 9)]


def test_what_one_file_defines_does_not_change_how_the_next_is_read() -> None:
    plain = ":ref:`the title <target>` and :doc:`x` and :red:`y`\n\n.. step:: Do\n   this\n"
    before = blocks(read(plain, "b.rst"))
    assert before[0] == ("paragraph", "the title and x and y")
    roles = ".. role:: ref(code)\n.. role:: red(strong)\n.. role:: doc(raw)\n   :format: html\n"
    read(f"{roles}\n:ref:`a <b>` :doc:`c`\n\n.. code-block:: x\n\n   .. step:: quoted\n", "a.rst")
    read(".. default-role:: math\n\n`x`\n\n.. step:: one\n", "c.rst")
    assert blocks(read(plain, "b.rst")) == before


def test_titles_of_boxes_do_not_become_sections() -> None:
    parsed = read("T\n=\n\n.. admonition:: Careful\n\n   Inside.\n\n.. rubric:: Aside\n\nAfter.\n", "a.rst")
    assert blocks(parsed)[1:3] == [("paragraph", "Careful"), ("paragraph", "Inside.")]
    assert [(block.kind, block.level) for block in parsed.blocks][3:] == [("heading", 2), ("paragraph", 0)]


def test_formulas_are_kept() -> None:
    assert blocks(read(".. math::\n\n   a^2 + b^2\n\nWhere :math:`a`.\n", "a.rst")) == [
        ("code", "a^2 + b^2"),
        ("paragraph", "Where a."),
    ]


def test_code_after_a_double_colon_and_doctests() -> None:
    assert blocks(read("Run::\n\n    make  all\n\n>>> 1 + 1\n2\n", "a.rst")) == [
        ("paragraph", "Run:"),
        ("code", "make  all"),
        ("code", ">>> 1 + 1\n2"),
    ]


# HTML


def test_html_keeps_the_content_and_drops_the_rest() -> None:
    source = """<!doctype html><html><head><title> The  page </title>
<meta name="author" content="A. Author"><style>p {}</style></head>
<body><header><nav><a>Home</a> <a>Docs</a> <a>Blog</a> <a>About</a></nav></header>
<h1>Gate <em>rules</em></h1><p>First <b>para</b><br>goes on.</p>
<div hidden>hidden</div><p style="display: none">hidden</p><script>hidden()</script><!-- hidden -->
<pre>def f():
    return 1</pre>
<blockquote><p>Quoted</p></blockquote>loose <i>text</i>
<aside>Related pages</aside><form><input value="hidden">Subscribe</form>
<footer>Copyright</footer></body></html>"""
    parsed = read(source, "a.html")
    assert parsed.title == "The page"
    assert parsed.metadata == {"author": "A. Author"}
    assert blocks(parsed) == [
        ("heading", "Gate rules"),
        ("paragraph", "First para goes on."),
        ("code", "def f():\n    return 1"),
        ("paragraph", "Quoted"),
        ("paragraph", "loose text"),
    ]


def test_the_main_part_of_a_page_is_taken_where_it_is_marked() -> None:
    source = "<body><div>Side</div><main><h1>T</h1><p>Body</p></main><div>Other</div></body>"
    assert read(source, "a.html").text == "T\n\nBody"
    assert read("<body><p>Side</p><article><p>Body</p></article></body>", "a.html").text == "Body"


def test_a_page_that_is_all_form_is_kept() -> None:
    assert read("<body><form><p>Everything stands in a form</p></form></body>", "a.html").text != ""


def test_html_lists_nest_and_count() -> None:
    source = "<ol start=3><li>three<ul><li>in<li>in 2</ul>goes on</li><li><p>four</p></li></ol>"
    assert blocks(read(source, "a.html")) == [("list", "3. three\n  - in\n  - in 2\n  goes on\n4. four")]


def test_a_list_that_stands_in_a_list_by_mistake_is_kept() -> None:
    source = "<ul><li>a</li><ul><li>b</li></ul>loose<div>c</div></ul>"
    assert blocks(read(source, "a.html")) == [("list", "- a\n  - b\nloose\nc")]


def test_html_tables_are_rows_of_cells() -> None:
    rows = "<tr><th>Name</th><th>Port</th></tr><tr><td>api<br>v2</td><td> 80 </td></tr>"
    assert blocks(read(f"<table><caption>Ports</caption>{rows}</table>", "a.html")) == [
        ("table", "Ports\nName | Port\napi v2 | 80")
    ]


def test_a_table_used_for_layout_is_read_through() -> None:
    source = "<table><tr><td><h2>T</h2><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    assert blocks(read(source, "a.html")) == [("heading", "T"), ("table", "a | b")]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("iso-8859-1", "cp1252"), ("windows-1251", "cp1251"), ("shift_jis", "shift_jis"), ("utf-16", "utf-8")],
)
def test_html_is_read_in_the_encoding_it_declares(declared: str, encoding: str) -> None:
    text = {"cp1252": "it’s 5 €", "cp1251": "Привет", "shift_jis": "日本語", "utf-8": "naïve"}[encoding]
    assert read(f"<meta charset={declared}><p>{text}</p>".encode(encoding), "a.html").text == text


# Plain text and encodings


def test_paragraphs_of_plain_text_know_their_lines() -> None:
    parsed = read("one\ntwo\n\n\x0c\nthree \r\nfour\r\rfive", "a.txt")
    assert blocks(parsed) == [("paragraph", "one\ntwo"), ("paragraph", "three\nfour"), ("paragraph", "five")]
    assert lines(parsed) == [(1, 2), (5, 6), (8, 8)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("uri", ["a.txt", "a.md", "a.rst", "a.html"])
def test_every_text_format_is_read_in_many_encodings(encoding: str, uri: str) -> None:
    assert read("Le café “était” fermé – 5 €".encode(encoding), uri).text == "Le café “était” fermé – 5 €"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Le café était fermé à Noël."),
        ("latin-1", "Die Straße führt über die Brücke nach München."),
        ("latin-1", "El niño comió una manzana, ¿verdad?"),
        ("latin-1", "Förra året åkte vi till Göteborg."),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy."),
        ("cp1251", "Привет, как дела? Сегодня хорошая погода в Москве."),
        ("shift_jis", "日本語のテキストです。これはテストです。"),
    ],
)
def test_older_encodings_are_told_from_the_text(encoding: str, text: str) -> None:
    assert read(text.encode(encoding), "a.txt").text == text


def test_binary_data_is_refused_under_the_name_of_a_text() -> None:
    for raw in (bytes(range(256)) * 4, b"\x7fELF\x02\x01\x01\x00\x00\x00\x01", random.Random(1).randbytes(5000)):
        assert reason(raw, "a.txt") == "is binary data, not text"


def test_characters_that_nobody_sees_are_removed() -> None:
    assert read("so\u00adft\u200b wi\u202edth\ufeff e\u0301\u2028next\n", "a.txt").text == "soft width é\nnext"


# PDF


def pdf(*pages: list[str], password: str = "", title: str = "") -> bytes:
    """Pages of text lines; an empty page has no text at all."""
    writer = PdfWriter()
    font = DictionaryObject(
        {NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1")}
        | {NameObject("/BaseFont"): NameObject("/Helvetica")}
    )
    for page_lines in pages:
        page = writer.add_blank_page(612, 792)
        shown = " T* ".join(f"({line}) Tj" for line in page_lines)
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(content)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="AES-256")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_a_pdf_is_read_page_by_page() -> None:
    parsed = read(pdf(["The gate is closed."], ["It opens at nine."], title="Gate hours"), "a.pdf")
    assert parsed.title == "Gate hours"
    assert parsed.metadata == {"pages": 2}
    assert blocks(parsed) == [("paragraph", "The gate is closed."), ("paragraph", "It opens at nine.")]
    assert [block.page for block in parsed.blocks] == [1, 2]


def test_running_heads_go_and_words_over_a_line_end_are_joined() -> None:
    body = ["alpha", "beta", "gamma", "delta", "epsilon"]
    pages = [
        [
            "Handbook 2026",
            f"Of {word} we know that it is infor-",
            "mation.",
            f"Rule {word} ends here.",
            f"Page {n} of 5",
        ]
        for n, word in enumerate(body)
    ]
    parsed = read(pdf(*pages), "a.pdf")
    assert [text for _, text in blocks(parsed)] == [
        text for word in body for text in (f"Of {word} we know that it is information.", f"Rule {word} ends here.")
    ]


def test_a_pdf_with_a_password_is_refused_unless_it_is_empty() -> None:
    assert (
        reason(pdf(["text here"], password="secret"), "a.pdf")
        == "is encrypted and needs a password; save it without one"
    )
    buffer = io.BytesIO()
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(["text for everyone"]))))
    writer.encrypt(user_password="", owner_password="owner", algorithm="AES-256")
    writer.write(buffer)
    assert read(buffer.getvalue(), "a.pdf").text == "text for everyone"


def test_a_scanned_pdf_says_so() -> None:
    assert reason(pdf([], [], []), "a.pdf").startswith("3 pages without text: probably scanned")


@pytest.mark.parametrize("raw", [b"no pdf at all", b"%PDF-1.7\nbroken", b"%PDF-1.4\n" + bytes(range(256)) * 8])
def test_what_is_no_pdf_is_refused(raw: bytes) -> None:
    assert "PDF" in reason(raw, "a.pdf")


# DOCX


def word(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_a_word_document_keeps_its_order_and_structure() -> None:
    document = docx.Document()
    document.core_properties.title = "Manual"
    document.core_properties.author = "A. Author"
    document.add_heading("Manual of the gate", 0)
    document.add_heading("Opening", 1)
    document.add_paragraph("Before the list.")
    document.add_paragraph("one", style="List Bullet")
    document.add_paragraph("two", style="List Bullet")
    table = document.add_table(rows=2, cols=3)
    for cell, text in zip(itertools.chain(*(row.cells for row in table.rows)), "abcdef", strict=True):
        cell.text = text
    table.cell(0, 0).merge(table.cell(0, 1))
    table.cell(1, 2).add_table(rows=1, cols=1).cell(0, 0).text = "inner"
    document.add_heading("Closing", 2)
    document.add_paragraph("After the table.")
    parsed = read(word(document), "a.docx")
    assert parsed.title == "Manual"
    assert parsed.metadata == {"author": "A. Author"}
    assert blocks(parsed) == [
        ("heading", "Manual of the gate"),
        ("heading", "Opening"),
        ("paragraph", "Before the list."),
        ("list", "- one\n- two"),
        ("table", "a b | c\nd | e | f inner"),
        ("heading", "Closing"),
        ("paragraph", "After the table."),
    ]
    assert [block.level for block in parsed.blocks if block.kind == "heading"] == [1, 1, 2]


def test_insertions_fields_and_formulas_of_a_word_document_are_read_and_deletions_are_not() -> None:
    from docx.oxml import parse_xml

    names = (
        'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    )
    document = docx.Document()
    body = document.element.body
    body.insert(
        0,
        parse_xml(
            f"<w:p {names}><w:r><w:t>Kept </w:t></w:r><w:ins><w:r><w:t>inserted </w:t></w:r></w:ins>"
            "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
            "<w:sdt><w:sdtContent><w:r><w:t>field </w:t></w:r></w:sdtContent></w:sdt>"
            "<m:oMath><m:r><m:t>a=b</m:t></m:r></m:oMath></w:p>"
        ),
    )
    body.insert(
        1,
        parse_xml(
            f"<w:sdt {names}><w:sdtContent><w:p><w:r><w:t>Block field</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        ),
    )
    assert read(word(document), "a.docx").text == "Kept inserted field a=b\n\nBlock field"


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(20_000_000))
    assert reason(buffer.getvalue(), "a.docx") == "would unpack to 20 MB; that is no honest document"


def test_other_files_under_the_name_of_a_word_document_are_refused() -> None:
    assert "old .doc" in reason(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.docx")
    assert "no ZIP" in reason(b"just text", "a.docx")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert "not a Word document" in reason(buffer.getvalue(), "a.docx")


# All formats


@pytest.mark.parametrize(
    ("uri", "head", "expected"),
    [
        ("a/B.MD", b"", "text/markdown"),
        ("README", b"text", "text/plain"),
        ("download", b"%PDF-1.7", "application/pdf"),
        ("a.bin", b"%PDF-1.7", None),
        ("a.gif", b"", None),
        ("CORE", b"\x7fELF\0", None),
    ],
)
def test_the_name_tells_the_format_and_the_first_bytes_where_it_does_not(
    uri: str, head: bytes, expected: str | None
) -> None:
    assert media_type_of(uri, head) == expected


@pytest.mark.parametrize("uri", ["a.md", "a.rst", "a.html", "a.txt", "a.pdf", "a.docx"])
def test_an_empty_file_has_a_reason_in_every_format(uri: str) -> None:
    assert reason(b"", uri) == "is empty"
    assert reason(b" \n ", uri) == "is empty"


def test_files_without_text_or_parser_and_too_large_ones_have_a_reason() -> None:
    assert reason("<img src=x>", "a.html") == "holds no text"
    assert "no parser for this format; readable are .docx, .htm" in reason("x", "a.xyz")
    with pytest.raises(DocumentError, match=r"has 2\.0 MB; at most 1 MB are read"):
        parse(b"x" * 2_000_000, uri="a.md", max_bytes=1_000_000)


@pytest.mark.parametrize("uri", ["a.md", "a.rst", "a.html"])
def test_deep_nesting_is_read_or_refused(uri: str) -> None:
    deep = {
        "a.md": "> " * 3000 + "x",
        "a.rst": "\n\n".join(" " * n + "x" for n in range(900)),
        "a.html": "<div>" * 5000 + "x",
    }
    try:
        assert "x" in read(deep[uri], uri).text
    except DocumentError as error:
        assert str(error) in ("is nested too deeply to be read", "holds no text")


def test_fifty_levels_of_quotes_and_lists_are_read() -> None:
    assert read("> " * 50 + "quoted\n", "a.md").text == "quoted"
    assert read("".join("  " * n + "- x\n" for n in range(40)), "a.md").text.count("x") == 40


def test_a_title_is_made_from_the_name_where_a_file_has_none() -> None:
    assert read("text", "folder/opening_the-gate.txt").title == "opening the gate"


PIECES = (
    ["# ", "- ", "1. ", "```", "\n", "\n\n", "    ", "| a | b |\n|---|---|\n", "> ", "====\n", "*", "\\", "`"],
    ["<div>", "</p>", "<table>", "<li>", "<!--", "&#0;", "{{<", ">}}", "---\n", "+++\n", "title: x\n"],
    [".. ", "x:: ", ":r:`", "word", "é", "\x00", "\x0c", "\r", "\u2028", "\u3000", "\u200b"],
)
MARKUP = st.lists(st.sampled_from(list(itertools.chain(*PIECES))), max_size=40).map(lambda p: "".join(p).encode())
HEADS = st.sampled_from(
    [b"", b"%PDF-1.7\n", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\xff\xfe", b"---\n", b"PEP: 1\n"]
)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@settings(deadline=None, max_examples=120)
@given(raw=MARKUP | st.builds(lambda head, body: head + body, HEADS, st.binary(max_size=300)))
@example(raw=b"# A\n\n    \xe3\x80\x80\n\ntext\n")
def test_any_bytes_give_ordered_blocks_or_one_reason(media_type: str, raw: bytes) -> None:
    try:
        parsed = parse(raw, uri="a", media_type=media_type)
    except DocumentError as error:
        assert str(error).strip()
        assert "\n" not in str(error)
        return
    assert parsed.title
    assert parsed.text.encode()
    ends = [0, *(block.end for block in parsed.blocks)]
    for block, end in zip(parsed.blocks, ends, strict=False):
        assert end <= block.start < block.end <= len(parsed.text)
        assert parsed.text[block.start : block.end].strip()
        assert (block.level > 0) == (block.kind == "heading")
        assert block.first_line is None or block.last_line is None or 1 <= block.first_line <= block.last_line


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=30))
def test_a_damaged_pdf_or_word_file_gives_text_or_one_reason(at: int, damage: bytes) -> None:
    for uri, raw in WHOLE.items():
        broken = raw[: at % len(raw)] + damage + raw[at % len(raw) + len(damage) :]
        try:
            parse(broken, uri=uri)
        except DocumentError as error:
            assert str(error).strip()


def _whole() -> Iterator[tuple[str, bytes]]:
    yield "a.pdf", pdf(["The gate is closed today."])
    document = docx.Document()
    document.add_paragraph("The gate is closed today.")
    yield "a.docx", word(document)


WHOLE = dict(_whole())


# Files of the world


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_every_technical_document_gives_text(shared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = shared / "data" / "docs_technical"
    files = [entry["file"] for entry in entries(folder)]
    assert len(files) == 343
    for file in files:
        parsed = parse((folder / file).read_bytes(), uri=file)
        assert len(parsed.text) > 100, file
        assert parsed.title, file
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_office_documents_give_most_of_their_words_or_a_reason(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "data" / "documents_office"
    recalls: dict[str, float] = {}
    for entry in entries(folder):
        if entry["format"] not in ("pdf", "docx", "html"):
            continue
        raw = (folder / entry["file"]).read_bytes()
        try:
            found = Counter(re.findall(r"\w+", parse(raw, uri=entry["file"]).text.lower()))
        except DocumentError as error:
            assert str(error).strip()
            continue
        if "expected_markdown" in entry:
            expected = Counter(
                re.findall(r"\w+", (folder / entry["expected_markdown"]).read_text("utf-8").lower())
            )
            recalls[entry["file"]] = (expected & found).total() / expected.total()
    mean = sum(recalls.values()) / len(recalls)
    with capsys.disabled():
        print(f"\noffice documents: word recall {mean:.3f} over {len(recalls)}, worst {min(recalls.values()):.2f}")
    assert len(recalls) >= 37
    assert mean > 0.91
    assert min(recalls.values()) > 0.5


@pytest.mark.parametrize("fence", ["---\nexpires: 2027-01-31\n---", "+++\nexpires = 2027-01-31\n+++"])
def test_front_matter_says_until_when_a_page_holds(fence: str) -> None:
    parsed = parse(f"{fence}\n\n# Offer\n\nHalf the price.\n".encode(), uri="offer.md")
    assert parsed.metadata["expires"] == "2027-01-31"
