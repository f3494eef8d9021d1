"""What an archive may hold, told from its directory, before anything is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from llmops.errors import DocumentError
from llmops.ingestion.parsing.zip_limits import MAX_MEMBERS, check_zip, read_member
from tests.ingestion.parsing.reading import zipped


def refused(raw: bytes) -> str:
    with pytest.raises(DocumentError, match=r"\S") as caught:
        check_zip(raw)
    return str(caught.value)


def test_an_honest_archive_passes() -> None:
    check_zip(zipped({"a.txt": "x" * 1_000, "folder/b.txt": bytes(900_000)}))


def test_a_bomb_is_known_by_its_ratio() -> None:
    assert refused(zipped({"a.xml": bytes(20_000_000)})).startswith(
        "would unpack 'a.xml' to 20 MB, over 200 times"
    )


def test_many_members_that_unpack_to_too_much_together_are_refused() -> None:
    raw = zipped({f"{n}.bin": bytes(999_999) for n in range(301)})
    assert refused(raw) == "would unpack to 301 MB; at most 300 MB are unpacked"


def test_too_many_members_are_refused() -> None:
    assert "at most 10000" in refused(zipped({f"{n}": "" for n in range(MAX_MEMBERS + 1)}))


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "..\\a", "C:\\a", "\\\\host\\a", "C:a"])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    assert "leads out of the archive" in refused(zipped({name: "x"}))


def test_duplicate_names_are_no_harm() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", "2")
    check_zip(buffer.getvalue())


def test_encrypted_and_old_office_files_are_told_apart() -> None:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    assert refused(head + "EncryptedPackage".encode("utf-16-le")) == "is encrypted and needs a password"
    assert "old binary office file" in refused(head)


def test_other_bytes_and_a_truncated_archive_are_no_archive() -> None:
    assert "no ZIP archive" in refused(b"hello")
    assert "no ZIP archive" in refused(zipped({"a": "x" * 1_000})[:-30])


def test_a_member_that_holds_more_than_its_directory_says_is_refused() -> None:
    raw = bytearray(zipped({"a.txt": b"x" * 5_000}))
    at = raw.index(b"PK\x01\x02")
    struct.pack_into("<I", raw, at + 24, 10)  # the size that the central directory states
    check_zip(bytes(raw))
    with (
        zipfile.ZipFile(io.BytesIO(bytes(raw))) as archive,
        pytest.raises(DocumentError, match=r"'a\.txt' (?:cannot be unpacked|unpacks to more)"),
    ):
        read_member(archive, "a.txt")


def test_a_missing_and_an_encrypted_member_have_a_reason() -> None:
    raw = bytearray(zipped({"a.txt": "x"}))
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    with zipfile.ZipFile(io.BytesIO(bytes(raw))) as archive:
        with pytest.raises(DocumentError, match=r"'a\.txt', which is encrypted and needs a password"):
            read_member(archive, "a.txt")
        with pytest.raises(DocumentError, match=r"is damaged: 'b\.txt' is missing"):
            read_member(archive, "b.txt")
