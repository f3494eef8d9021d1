"""ZIP archives of files: what is read, what is named, and what is refused."""

from __future__ import annotations

import io
import zipfile

import pytest

from llmops.errors import DocumentError
from llmops.ingestion.parsing import archive, parse
from llmops.ingestion.parsing.builder import Parsed
from tests.ingestion.parsing.pdfs import lines_at, pdf_of


def zipped(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return buffer.getvalue()


def read(files: dict[str, bytes | str]) -> Parsed:
    return parse(zipped(files), uri="folder/all.zip")


def test_members_stand_under_their_paths_with_their_own_lines_and_pages() -> None:
    parsed = read(
        {
            "docs/gate.md": "# Gate\n\n###### Deep\n\n```\nx = 1\n```\n",
            "hours.pdf": pdf_of(lines_at(["Monday."]), lines_at(["Tuesday."])),
            "empty/": "",
            "__MACOSX/docs/._gate.md": "furniture",
            ".git/config": "hidden",
        }
    )
    found = [(b.kind, b.level, b.first_line, b.page, parsed.text[b.start : b.end]) for b in parsed.blocks]
    assert found == [
        ("heading", 1, None, None, "docs/gate.md"),
        ("heading", 2, 1, None, "Gate"),
        ("heading", 6, 3, None, "Deep"),
        ("code", 0, 5, None, "```\nx = 1\n```"),
        ("heading", 1, None, None, "hours.pdf"),
        ("paragraph", 0, None, 1, "Monday."),
        ("paragraph", 0, None, 2, "Tuesday."),
    ]
    assert (parsed.title, parsed.metadata, parsed.problems) == ("all.zip", {"files": 2}, ())


def test_members_that_cannot_be_read_are_named_and_the_rest_is_complete() -> None:
    parsed = read({"a.md": "kept", "b.exe": b"\0\1", "c.pdf": b"nonsense", "d.txt": ""})
    assert parsed.text == "a.md\n\nkept"
    assert parsed.problems == (
        "'b.exe' was not read: there is no parser for its format",
        "'c.pdf' was not read: is not a PDF: it does not begin with %PDF",
        "'d.txt': is empty",
    )


def test_archives_in_archives_are_read_two_levels_deep() -> None:
    files: dict[str, bytes | str] = {"deep.md": "text"}
    for _ in range(archive.MAX_DEPTH):
        files = {"inner.zip": zipped(files)}
    assert "text" in read(files).text
    with pytest.raises(DocumentError, match="stands in more than 2 archives within each other"):
        read({"inner.zip": zipped(files)})


def test_an_archive_of_nothing_readable_gives_the_first_reasons() -> None:
    with pytest.raises(DocumentError, match=r"holds nothing that can be read: 'a\.exe' .*; 'd\.exe'|; and 1 more"):
        read({f"{name}.exe": b"\0" for name in "abcd"})
    with pytest.raises(DocumentError, match="is an archive without files"):
        read({})


@pytest.mark.parametrize("name", ["../a.md", "/etc/a.md", "a/../../b.md", "C:\\a.md"])
def test_names_that_lead_out_of_the_archive_are_refused(name: str) -> None:
    with pytest.raises(DocumentError, match="name leads out of the archive"):
        read({name: "text"})


def test_an_encrypted_member_is_named() -> None:
    raw = bytearray(zipped({"a.md": "kept", "b.md": "secret"}))
    with zipfile.ZipFile(io.BytesIO(raw)) as source:
        entry = source.getinfo("b.md")
    raw[entry.header_offset + 6] |= 1
    central = raw.rindex(b"PK\x01\x02")
    raw[central + 8] |= 1
    parsed = parse(bytes(raw), uri="a.zip")
    assert parsed.problems == ("'b.md' was not read: it is encrypted and needs a password",)
    assert "secret" not in parsed.text


def test_a_bomb_and_a_damaged_archive_are_refused() -> None:
    with pytest.raises(DocumentError, match="that is no honest document"):
        read({"a.txt": bytes(50_000_000)})
    whole = zipped({"a.md": "text " * 1000})
    with pytest.raises(DocumentError, match="damaged"):
        parse(whole[: len(whole) // 2], uri="a.zip")


def test_more_members_than_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    parsed = read({f"{number}.md": f"text {number}" for number in range(5)})
    assert parsed.metadata == {"files": 2}
    assert parsed.problems == ("3 more files were not read: the limit is 2 files",)
