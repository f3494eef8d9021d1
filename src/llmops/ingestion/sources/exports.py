"""Exports that vendors hand out: a zip or a folder of files, read in place and within limits, never unpacked."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

import orjson

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError, SourceError

BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError)
"""What reading a damaged, encrypted or vanished file raises."""


class Export:
    """A zip or a folder. Names are paths below it, with slashes.

    Args:
        path: of the zip or folder.
        max_bytes: of all files together, unpacked.

    Raises:
        ConfigurationError: there is none, it is no zip, or it is over `max_bytes`.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self.path, self._max_bytes = path, max_bytes
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self._root = path.resolve()
            sizes = {
                file.relative_to(path).as_posix(): file.stat().st_size
                for file in path.rglob("*")
                if file.is_file() and file.resolve().is_relative_to(self._root)
            }
        else:
            self._zip = _opened(path)
            sizes = {one.filename: one.file_size for one in self._zip.infolist() if not one.is_dir()}
        if sum(sizes.values()) > max_bytes:
            self.close()
            raise ConfigurationError(
                f"the export {str(path)!r} holds more than {max_bytes:,} bytes; raise max_export_bytes"
            )
        self._sizes = {name: sizes[name] for name in sorted(sizes)}

    @property
    def names(self) -> list[str]:
        """All files, sorted."""
        return list(self._sizes)

    def find(self, name: str) -> str | None:
        """The file of this name that lies highest, since some zips have a folder around all."""
        found = [one for one in self._sizes if PurePosixPath(one).name == name]
        return min(found, key=lambda one: (one.count("/"), one), default=None)

    def open(self, name: str) -> IO[bytes]:
        """A file to be read piece by piece; it ends with an error after `max_bytes`.

        Raises:
            DocumentGoneError: there is no such file.
        """
        if name not in self._sizes:
            raise DocumentGoneError(f"{name!r} is not in the export {self.path.name!r}")
        try:
            raw = (self._root / name).open("rb") if self._zip is None else self._zip.open(name)
        except FileNotFoundError as error:
            raise DocumentGoneError(f"{name!r} is not in the export {self.path.name!r}") from error
        except BROKEN as error:
            raise DocumentError(
                f"{name!r} in {self.path.name!r} cannot be read ({error}); export it again"
            ) from error
        return io.BufferedReader(_Bounded(raw, self._max_bytes), 1 << 16)

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """A whole file.

        Raises:
            DocumentGoneError: there is no such file.
            DocumentError: it is larger than `max_bytes`, or damaged.
        """
        with self.open(name) as file:
            try:
                raw = file.read(max_bytes + 1)
            except BROKEN as error:
                raise DocumentError(
                    f"{name!r} in {self.path.name!r} is damaged ({error}); export it again"
                ) from error
        if len(raw) > max_bytes:
            raise DocumentError(
                f"{name!r} is larger than {max_bytes:,} bytes; raise max_file_bytes or leave it out"
            )
        return raw

    def json(self, name: str, *, max_bytes: int) -> list[dict[str, object]]:
        """A file that holds a list of objects.

        Raises:
            SourceError: it holds something else.
        """
        try:
            found = orjson.loads(self.read(name, max_bytes=max_bytes))
        except (orjson.JSONDecodeError, RecursionError, DocumentError) as error:
            raise SourceError(
                f"{name!r} in {self.path.name!r} cannot be read ({error}); export it again"
            ) from error
        if not isinstance(found, list):
            raise SourceError(f"{name!r} in {self.path.name!r} holds no list; is this the vendor's export?")
        return [one for one in found if isinstance(one, dict)]

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()


class _Bounded(io.RawIOBase):
    """Lets at most so many bytes through, whatever the zip's directory claims."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self._file, self._left = file, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._file.read(min(len(buffer), self._left + 1))
        self._left -= len(piece)
        if self._left < 0:
            raise OSError("it is larger than the export may be")
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise ConfigurationError(f"no export {str(path)!r}; mend path (it is relative to the spec)") from error
    except BROKEN as error:
        raise ConfigurationError(f"{str(path)!r} is no zip that can be read ({error}); export it again") from error
