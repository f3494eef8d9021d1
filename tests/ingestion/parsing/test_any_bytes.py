"""Whatever the bytes and whatever the name: text with ordered blocks, or one reason."""

from __future__ import annotations

import importlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from pptx import Presentation

from llmops.errors import DocumentError
from llmops.ingestion import parsing
from llmops.ingestion.parsing import media_type_of, parse, readable_formats
from llmops.ingestion.parsing.builder import MAX_CHARACTERS, MAX_PROBLEMS, TextBuilder, pipe_table
from llmops.ingestion.parsing.media_types import KEPT, PARSERS, suffix_of
from tests.ingestion.parsing.reading import reason, zipped
from tests.ingestion.parsing.test_books import book, odt
from tests.ingestion.parsing.test_mail import mail

IMAGES = tuple(kind for kind in PARSERS if kind.startswith("image/"))
SUFFIXES = sorted({suffix_of(kind) for kind in PARSERS if kind not in IMAGES})


def office() -> dict[str, bytes]:
    """A whole file of each format that is an archive or a mail."""
    sheet, slides = io.BytesIO(), io.BytesIO()
    workbook = Workbook()
    workbook.active.append(["wall", "gates"])
    workbook.active.append(["North", 3])
    workbook.save(sheet)
    deck = Presentation()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "The gate"
    deck.save(slides)
    message = mail()
    message.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="a.csv")
    return {
        "a.xlsx": sheet.getvalue(),
        "a.pptx": slides.getvalue(),
        "a.odt": odt("<text:p>The gate</text:p>"),
        "a.epub": book(),
        "a.eml": message.as_bytes(),
    }


WHOLE = office()
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\n",
    b"\t",
    b";",
    b"|",
    b"<a>",
    b"</a>",
    b"<!ENTITY x 'y'>",
    b"\xff",
]
PIECES += [
    b"1",
    b"x",
    b"\\ud800",
    b"null",
    b"From: a\n",
    b"Content-Type: multipart/mixed; boundary=x\n\n--x\n",
    b"def f():",
]
PIECES += [
    b"\x00",
    b"  ",
    b"PK\x03\x04",
    b"\xd0\xcf\x11\xe0",
    b"class A {",
    b"cells",
    b"\xe9",
    b"=",
    b"#",
    b"/*",
    b"@",
]
SOUP = st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join) | st.binary(max_size=300)


def read_or_reason(raw: bytes, uri: str) -> None:
    try:
        parsed = parse(raw, uri=uri)
    except DocumentError as error:
        assert str(error).strip()
        assert "\n" not in str(error)
        return
    assert parsed.title
    assert parsed.text.encode()
    assert len(parsed.text) <= MAX_CHARACTERS
    json.dumps(parsed.metadata, allow_nan=False).encode()
    assert all(problem and "\n" not in problem and problem.encode() for problem in parsed.problems)
    ends = [0, *(block.end for block in parsed.blocks)]
    for block, end in zip(parsed.blocks, ends, strict=False):
        assert end <= block.start < block.end <= len(parsed.text)
        assert parsed.text[block.start : block.end].strip()
        assert (block.level > 0) == (block.kind == "heading")
        assert block.first_line is None or block.last_line is None or 1 <= block.first_line <= block.last_line


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(deadline=None, max_examples=25)
@given(SOUP)
@example(b'{"a": "\\ud800"}')
def test_any_bytes_under_any_name_are_read_or_have_one_reason(suffix: str, raw: bytes) -> None:
    read_or_reason(raw, f"a{suffix}")


@pytest.mark.parametrize("uri", WHOLE)
@settings(deadline=None, max_examples=40)
@given(at=st.integers(0, 100_000), damage=st.binary(min_size=1, max_size=30), cut=st.integers(0, 9))
def test_a_damaged_file_is_read_or_has_one_reason(uri: str, at: int, damage: bytes, cut: int) -> None:
    raw = WHOLE[uri]
    at %= len(raw)
    broken = raw[:at] + damage + raw[at + len(damage) :]
    read_or_reason(broken if cut else broken[:at], uri)


@pytest.mark.parametrize("uri", WHOLE)
@pytest.mark.parametrize("other", WHOLE)
def test_a_wrong_suffix_is_read_or_has_one_reason(uri: str, other: str) -> None:
    read_or_reason(WHOLE[other], uri)


@pytest.mark.parametrize(("uri", "raw"), WHOLE.items())
def test_what_a_file_is_can_be_told_without_its_suffix(uri: str, raw: bytes) -> None:
    assert parse(raw, uri="download").media_type == media_type_of(uri)


def test_every_format_has_its_parser() -> None:
    for kind, parser in PARSERS.items():
        module, function = parser.split(":")
        found = importlib.import_module(f"llmops.ingestion.parsing.{module}")
        assert callable(getattr(found, function)), kind
        assert suffix_of(kind).startswith(".") or kind == KEPT, kind
    assert readable_formats().startswith(".docx, .htm, .pdf, .md, .rst, .txt, .pptx, .xlsx")
    assert len(SUFFIXES) > 45


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("Dockerfile", b"", "text/x-dockerfile"),
        ("sub/Makefile", b"", "text/x-makefile"),
        ("old.doc", b"", None),
        ("old.xls", b"", None),
        ("download", b"\x7fELF", None),
        ("page", b"  <!DOCTYPE html><html>", "text/html"),
        ("page", b"just words", None),
    ],
)
def test_names_and_first_bytes(name: str, head: bytes, expected: str | None) -> None:
    assert media_type_of(name, head) == expected


@pytest.mark.parametrize("uri", ["a.xlsx", "a.pptx", "a.odt", "a.epub"])
def test_bombs_traversal_and_encryption_have_a_reason_in_every_office_format(uri: str) -> None:
    assert "no honest document" in reason(zipped({"content.xml": bytes(30_000_000)}), uri)
    assert "leads out of the archive" in reason(zipped({"../content.xml": "x"}), uri)
    locked = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le")
    assert reason(locked, uri) == "is encrypted and needs a password"
    assert "no ZIP archive" in reason("just text", uri)


def test_files_within_a_file_are_held_to_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_NESTED_BYTES", 3_000)
    message = mail()
    for n in range(4):
        message.add_attachment(b"word " * 200, maintype="text", subtype="plain", filename=f"{n}.txt")
    parsed = parse(message.as_bytes(), uri="a.eml")
    assert "2.txt" in parsed.text
    (problem,) = parsed.problems
    assert problem.startswith("attachment '3.txt' (text/plain) is not read: is one of files within a file")
    assert parse(message.as_bytes(), uri="a.eml").problems == parsed.problems  # nothing is left over


def test_a_text_over_the_limit_of_characters_has_a_reason() -> None:
    builder = TextBuilder()
    builder.add("paragraph", "x" * 15_000_000)
    with pytest.raises(DocumentError, match="has more than 20000000 characters"):
        builder.add("paragraph", "x" * 15_000_000)


def test_problems_are_one_sentence_each_and_not_endless() -> None:
    builder = TextBuilder()
    builder.add("paragraph", "x")
    parsed = builder.build(uri="a", media_type="text/plain", problems=["a\nb", *["c"] * 500])
    assert parsed.problems[0] == "a b"
    assert parsed.problems[-1] == "401 more parts could not be read"
    assert len(parsed.problems) == MAX_PROBLEMS + 1


def test_what_cannot_be_read_is_named_when_nothing_else_is_there() -> None:
    raw = zipped({})
    message = mail("")
    del message["From"], message["To"], message["Date"], message["Subject"]
    message.add_attachment(raw, maintype="application", subtype="x", filename="a.odt")
    assert "attachment 'a.odt' (application/x) is not read" in reason(message.as_bytes(), "a.eml")


def test_an_embedded_document_keeps_its_places_and_goes_deeper() -> None:
    part = parse(b"# Plan\n\ntext\n", uri="a.md")
    builder = TextBuilder()
    builder.add("heading", "a.md", level=2)
    builder.embed(part, deeper=2)
    whole = builder.build(uri="x", media_type="text/plain")
    assert [whole.text[b.start : b.end] for b in whole.blocks] == ["a.md", "Plan", "text"]
    assert [b.level for b in whole.blocks] == [2, 3, 0]
    assert whole.blocks[2].first_line == 3


def test_a_table_can_be_cut_into_its_cells_again() -> None:
    assert (
        pipe_table([["a", "b", "c"], ["x | y", "", ""], ["", "", ""], ["1"]])
        == "a | b | c\nx \\| y |  | \n1 |  | "
    )


@pytest.mark.slow
def test_every_office_document_of_these_formats_is_read(shared: Path) -> None:
    folder = shared / "data" / "documents_office"
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    ours = [entry for entry in entries if entry["format"] in ("pptx", "xlsx", "csv", "eml", "msg", "odt")]
    assert len(ours) == 21
    for entry in ours:
        parsed = parse((folder / entry["file"]).read_bytes(), uri=entry["file"])
        assert len(parsed.text) > 30, entry["file"]
        assert parsed.problems == (), entry["file"]
