"""A folder of files as a source: list what exists, fetch one."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from llmops.errors import DocumentError, SpecError
from llmops.ingestion.spec import FolderSource


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file that the spec's globs select. `uri` is its path below the folder, with slashes."""

    uri: str
    path: Path
    n_bytes: int


@dataclass(kw_only=True, slots=True)
class Listing:
    """What a folder holds now. With `problems` it is incomplete: absence then proves nothing."""

    files: list[SourceFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def list_folder(source: FolderSource, root: Path, *, spec_file: str) -> Listing:
    """Files in the order of their uri.

    Raises:
        SpecError: the folder itself is missing or cannot be read.
    """
    if not root.is_dir():
        problem = f"no folder {str(root)!r}; mend the path (it is relative to this file)"
        raise SpecError(spec_file, problem, field="source.path")
    listing = Listing()
    include, exclude = matcher(source.include), matcher(source.exclude)
    for path in _walk(root, listing, source.follow_symlinks):
        uri = path.relative_to(root).as_posix()
        if not include.match(uri) or exclude.match(uri):
            continue
        try:
            uri.encode()
            if not source.follow_symlinks and not path.resolve().is_relative_to(root.resolve()):
                continue
            info = path.stat()
            if stat.S_ISREG(info.st_mode):
                listing.files.append(SourceFile(uri=uri, path=path, n_bytes=info.st_size))
        except UnicodeEncodeError:
            listing.problems.append(f"{uri!a}: the name is not UTF-8; rename the file")
        except RuntimeError:  # Python 3.11 and 3.12 say so of a link that leads to itself
            listing.problems.append(f"{uri}: {os.strerror(errno.ELOOP)}")
        except OSError as error:
            listing.problems.append(f"{uri}: {error.strerror}")
    if not listing.files and any(problem.startswith(f"{root}: ") for problem in listing.problems):
        raise SpecError(spec_file, f"the folder {str(root)!r} cannot be read; check its permissions")
    listing.files.sort(key=lambda file: file.uri)
    return listing


def _walk(root: Path, listing: Listing, follow: bool) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    for folder, folders, names in os.walk(
        root, followlinks=follow, onerror=lambda e: listing.problems.append(f"{e.filename}: {e.strerror}")
    ):
        try:
            info = Path(folder).stat()
        except OSError as error:
            listing.problems.append(f"{folder}: {error.strerror}")
            folders.clear()
            continue
        if (info.st_dev, info.st_ino) in seen:
            folders.clear()
            continue
        seen.add((info.st_dev, info.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(folder) / name
            if not name.startswith(".") and (path.is_file() or path.is_symlink()):
                yield path


def fetch(file: SourceFile, *, max_bytes: int) -> tuple[bytes, str]:
    """A file's bytes and their SHA-256 (hex).

    Raises:
        DocumentError: it is too large, gone, or cannot be read.
    """
    try:
        info = file.path.stat()  # it may have changed since it was listed
        if not stat.S_ISREG(info.st_mode):
            raise DocumentError("is a pipe, a device or a folder now, not a file")
        if info.st_size > max_bytes:
            limit = f"at most {max_bytes:,} are read (source.max_file_bytes)"
            raise DocumentError(f"has {info.st_size:,} bytes; {limit}")
        raw = file.path.read_bytes()
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}") from error
    return raw, hashlib.sha256(raw).hexdigest()


@lru_cache(maxsize=256)
def matcher(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Globs as one expression: `**/` is any depth, `*` and `?` stay within a name."""
    return re.compile("|".join(f"(?:{_regex(glob)})\\Z" for glob in globs) or r"(?!)", re.DOTALL)


def _regex(glob: str) -> str:
    parts: list[str] = []
    index = 0
    while index < len(glob):
        if glob.startswith("**/", index):
            parts.append("(?:[^/]+/)*")
            index += 3
        elif glob.startswith("**", index):
            parts.append(".*")
            index += 2
        else:
            char = glob[index]
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
            index += 1
    return "".join(parts)
