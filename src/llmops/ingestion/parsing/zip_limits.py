"""What a ZIP may hold before anything of it is unpacked: honest sizes, honest names."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath, PureWindowsPath

from llmops.errors import DocumentError

MAX_UNPACKED_BYTES = 300_000_000
MAX_MEMBERS = 10_000
MAX_RATIO = 200
_RATIO_FROM_BYTES = 1_000_000
_OLE_HEAD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_ENCRYPTED = 0x1


def check_zip(raw: bytes) -> None:
    """Refuse an archive, or an office file that is one, by its central directory alone.

    Raises:
        DocumentError: it is no ZIP, is encrypted, has a name that leads out of it, or would unpack to over
            `MAX_UNPACKED_BYTES`, over `MAX_MEMBERS` members, or over `MAX_RATIO` times a large member's size.
    """
    if raw.startswith(_OLE_HEAD):
        if _ENCRYPTED_PACKAGE in raw:
            raise DocumentError("is encrypted and needs a password")
        raise DocumentError("is an old binary office file under the name of a new one; save it in the new format")
    members = _members(raw)
    if len(members) > MAX_MEMBERS:
        raise DocumentError(f"holds {len(members)} files; at most {MAX_MEMBERS} are unpacked")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES:
        raise DocumentError(
            f"would unpack to {unpacked / 1e6:.0f} MB; at most {MAX_UNPACKED_BYTES / 1e6:.0f} MB are unpacked"
        )
    for member in members:
        _check_member(member)


def _members(raw: bytes) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise DocumentError(f"is damaged, or no ZIP archive ({error})") from error


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    windows = PureWindowsPath(name)  # reads both slashes, and drives
    if windows.drive or windows.root or ".." in windows.parts or PurePosixPath(name).is_absolute():
        raise DocumentError(f"holds a file whose name leads out of the archive: {name[:100]!r}")
    if member.file_size > _RATIO_FROM_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1):
        raise DocumentError(
            f"would unpack {name[:100]!r} to {member.file_size / 1e6:.0f} MB, over {MAX_RATIO} times its size; "
            "that is no honest document"
        )


def read_member(archive: zipfile.ZipFile, name: str | zipfile.ZipInfo) -> bytes:
    """A member's bytes, and no more of them than the directory that `check_zip` has seen says.

    Raises:
        DocumentError: it is not there, is encrypted or damaged, or holds more than its directory says.
    """
    shown = name if isinstance(name, str) else name.filename
    try:
        member = archive.getinfo(name) if isinstance(name, str) else name
        if member.flag_bits & _ENCRYPTED:
            raise DocumentError(f"holds {shown[:100]!r}, which is encrypted and needs a password")
        with archive.open(member) as stream:
            content = stream.read(member.file_size + 1)
    except KeyError as error:
        raise DocumentError(f"is damaged: {shown[:100]!r} is missing in it") from error
    except DocumentError:
        raise
    except Exception as error:  # zlib, lzma, bz2 and zipfile raise their own on damaged data
        raise DocumentError(f"is damaged: {shown[:100]!r} cannot be unpacked ({error})") from error
    if len(content) > min(member.file_size, MAX_UNPACKED_BYTES):
        raise DocumentError(f"is damaged: {shown[:100]!r} unpacks to more than its directory says")
    return content
