"""ZIP archives of readable files: one document with a part for each member."""

from __future__ import annotations

import io
import time
import zipfile
from contextvars import ContextVar
from pathlib import PurePosixPath

from llmops.errors import DocumentError, EmptyDocumentError
from llmops.ingestion.parsing.builder import Parsed, TextBuilder
from llmops.ingestion.parsing.media_types import ZIP
from llmops.ingestion.parsing.zip_limits import check_zip, read_member

MAX_DEPTH = 2
"""Archives within the archive."""
MAX_MEMBERS = 2_000
"""Members that are read; `check_zip` bounds how many an archive may list."""
MAX_SECONDS = 900.0
_ENCRYPTED = 0x1
_FURNITURE = ("__MACOSX", "Thumbs.db", "desktop.ini")

_depth: ContextVar[int] = ContextVar("depth", default=0)


def parse_zip(raw: bytes, uri: str) -> Parsed:
    """Every member that has a parser under a heading with its path; the others are in `problems`.

    Lines and pages of blocks are those of the member.

    Raises:
        DocumentError: the archive is damaged or dishonest, or no member can be read.
    """
    if _depth.get() > MAX_DEPTH:
        raise DocumentError(f"stands in more than {MAX_DEPTH} archives within each other")
    check_zip(raw)
    token = _depth.set(_depth.get() + 1)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return _read(archive, uri)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise DocumentError(f"is a damaged archive ({error})") from error
    finally:
        _depth.reset(token)


def _read(archive: zipfile.ZipFile, uri: str) -> Parsed:
    builder = TextBuilder()
    problems: list[str] = []
    n_read = 0
    started = time.monotonic()
    members = [
        member for member in archive.infolist() if not member.is_dir() and not _is_furniture(member.filename)
    ]
    for number, member in enumerate(members):
        if number >= MAX_MEMBERS or time.monotonic() - started > MAX_SECONDS:
            limit = f"{MAX_MEMBERS} files" if number >= MAX_MEMBERS else f"{MAX_SECONDS:.0f} seconds"
            problems.append(f"{len(members) - number} more files were not read: the limit is {limit}")
            break
        try:
            part = _member(archive, member)
            builder.add("heading", member.filename, level=1)
            builder.embed(part)
        except EmptyDocumentError as error:
            problems.append(f"{_shown(member)}: {error}")
            continue
        except DocumentError as error:
            problems.append(f"{_shown(member)} was not read: {error}")
            continue
        n_read += 1
        problems += [f"{_shown(member)}: {problem}" for problem in part.problems]
    if not n_read:
        raise DocumentError(_nothing(problems))
    return builder.build(
        uri=uri, media_type=ZIP, title=PurePosixPath(uri).name, metadata={"files": n_read}, problems=problems
    )


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Parsed:
    from llmops.ingestion.parsing import MAX_BYTES, media_type_of, parse

    if member.flag_bits & _ENCRYPTED:
        raise DocumentError("it is encrypted and needs a password")
    if member.file_size > MAX_BYTES:
        raise DocumentError(f"it has {member.file_size / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:.0f} MB are read")
    if PurePosixPath(member.filename).suffix and media_type_of(member.filename) is None:
        raise DocumentError("there is no parser for its format")
    return parse(read_member(archive, member), uri=member.filename)


def _is_furniture(name: str) -> bool:
    """What systems put beside files, and hidden files, which a folder does not show either."""
    return any(part in _FURNITURE or part.startswith(".") for part in PurePosixPath(name).parts)


def _shown(member: zipfile.ZipInfo) -> str:
    return repr(member.filename[:200])


def _nothing(problems: list[str]) -> str:
    if not problems:
        return "is an archive without files"
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"holds nothing that can be read: {'; '.join(problems[:3])}{more}"
