"""The files behind lines of JSON: found, unpacked where they are packed, and read by place."""

from __future__ import annotations

import glob
import gzip
import io
import os
import tempfile
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from llmops.errors import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a file.

    Attributes:
        number: 1-based.
        start: where it begins, in bytes of the unpacked file.
        raw: without the line's end; None when it is too long.
    """

    number: int
    start: int
    raw: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A file that is open for reading, unpacked.

    Attributes:
        state: tells whether the file is still the one it was.
        problem: why its end could not be unpacked, or "".
    """

    file: IO[bytes]
    state: tuple[int, ...]
    problem: str = ""


def find_files(folder: Path, pattern: str) -> list[str]:
    """Files that a path or glob names, relative to `folder`, in order."""
    found = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 (an absolute pattern too)
    return sorted(name for name in found if (folder / name).is_file())


def state_of(info: os.stat_result) -> tuple[int, ...]:
    """Equal while nobody wrote the file; times are compared, never ordered."""
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class LineFiles:
    """Files below a folder, each opened once. May be used from several threads.

    Args:
        max_unpacked_bytes: of one `.gz` file; what is beyond is not read.
    """

    def __init__(self, folder: Path, max_unpacked_bytes: int) -> None:
        self._folder, self._max = folder, max_unpacked_bytes
        self._lock = threading.Lock()
        self._opened: dict[str, Opened] = {}
        self._old: list[Opened] = []

    def current(self, name: str) -> tuple[int, ...]:
        """The file's state now; () when it is gone."""
        try:
            return state_of((self._folder / name).stat())
        except OSError:
            return ()

    def open(self, name: str) -> Opened:
        """The file as it is now.

        Raises:
            SourceError: it is gone or cannot be read.
        """
        with self._lock:
            known = self._opened.get(name)
            if known is not None and known.state == self.current(name):
                return known
            try:
                file = (self._folder / name).open("rb")
                state = state_of(os.fstat(file.fileno()))
                fresh = self._unpacked(file, state) if name.endswith(".gz") else Opened(file=file, state=state)
            except OSError as error:
                raise SourceError(f"the file {name!r} cannot be read: {error.strerror or error}") from error
            if known is not None:
                self._old.append(known)  # somebody may be reading it
            self._opened[name] = fresh
            return fresh

    def read(self, name: str, start: int, length: int) -> bytes:
        """A piece of the unpacked file.

        Raises:
            SourceError: it is gone or cannot be read.
        """
        opened = self.open(name)
        try:
            return os.pread(opened.file.fileno(), length, start)
        except OSError as error:
            raise SourceError(f"the file {name!r} cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """Close all files; what was unpacked is gone with that."""
        with self._lock:
            for opened in (*self._opened.values(), *self._old):
                opened.file.close()
            self._opened.clear()
            self._old.clear()

    def _unpacked(self, packed: IO[bytes], state: tuple[int, ...]) -> Opened:
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (open until the source is closed)
        problem = ""
        with packed, gzip.GzipFile(fileobj=packed) as stream:
            try:
                while piece := stream.read(_PIECE):
                    if unpacked.tell() + len(piece) > self._max:
                        problem = f"is over {self._max:,} bytes when unpacked (source.max_unpacked_bytes)"
                        break
                    unpacked.write(piece)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                problem = f"is damaged or no gzip file ({error})"
        unpacked.flush()
        return Opened(file=unpacked, state=state, problem=problem)


def lines_of(file: IO[bytes], max_line_bytes: int) -> Iterator[Line]:
    """The lines of a file, from its beginning; no more than `max_line_bytes` are held at a time."""
    start = number = 0
    own = io.BufferedReader(_FromStart(file.fileno()), _PIECE)
    while piece := own.readline(max_line_bytes + 1):
        number += 1
        is_whole = piece.endswith(b"\n") or len(piece) <= max_line_bytes
        yield Line(number=number, start=start, raw=piece.rstrip(b"\r\n") if is_whole else None)
        start += len(piece)
        while not piece.endswith(b"\n") and (piece := own.readline(_PIECE)):
            start += len(piece)


class _FromStart(io.RawIOBase):
    """A file read with a place of its own, whatever other readers do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        n_bytes = os.preadv(self._descriptor, [buffer], self._at)
        self._at += n_bytes
        return n_bytes
