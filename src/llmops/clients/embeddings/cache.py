"""What is kept between starts: the built graph, checked by its own seal, hashes of large files, single vectors."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIECE = 1 << 20
_LARGE_BYTES = 10_000_000
_SETTLED_S = 2.0
# A protobuf message may be followed by another one, and the two merge: the file stays an ordinary ONNX
# model whose metadata (field 14) says the checksum of all that stands before.
_SEAL_HEAD = b"\x72\x11\x0a\x05crc32\x12\x08"
_SEAL_BYTES = len(_SEAL_HEAD) + 8


def write_sealed(path: Path, model: bytes) -> bool:
    """Write an ONNX file with its checksum behind it; False where the folder takes no files."""
    return _write_whole(path, model, _seal(zlib.crc32(model)))


def is_whole(path: Path) -> bool:
    """Whether `path` is a sealed file whose every byte is as it was written."""
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - _SEAL_BYTES
            crc = 0
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                crc = zlib.crc32(piece, crc)
                left -= len(piece)
            return left == 0 and file.read() == _seal(crc)
    except OSError:
        return False


def _seal(crc: int) -> bytes:
    return _SEAL_HEAD + b"%08x" % crc


def _write_whole(path: Path, *parts: bytes) -> bool:
    """Write the file in one step, so that nobody sees half of it."""
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, delete=False) as file:
            name = file.name
            file.writelines(parts)
        Path(name).replace(path)
    except OSError:
        if name:
            with contextlib.suppress(OSError):
                Path(name).unlink()
        return False
    return True


def sha256_of(path: Path, cache_dir: Path) -> bytes:
    """SHA-256 of a file; a large one is read anew only when its size, times or inode changed.

    A file changed within the last two seconds is hashed every time: another write within one tick of the
    clock would leave its times as they are.

    Raises:
        OSError: the file cannot be read.
    """
    stat = path.stat()
    marks = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
    note = cache_dir / f"{hashlib.sha256(os.fsencode(marks)).hexdigest()[:32]}.sha256"
    with contextlib.suppress(OSError):
        if stat.st_size > _LARGE_BYTES and len(known := note.read_bytes()) == hashlib.sha256().digest_size:
            return known
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    if stat.st_size > _LARGE_BYTES and time.time() - max(stat.st_mtime, stat.st_ctime) > _SETTLED_S:
        _write_whole(note, found)
    return found


def read_vector(path: Path, dimension: int) -> NDArray[np.float32] | None:
    """A vector of this dimension that was written before; None where there is none."""
    try:
        found = np.frombuffer(path.read_bytes(), "<f4")
    except (OSError, ValueError):
        return None
    return found if found.shape == (dimension,) and np.isfinite(found).all() else None


def write_vector(path: Path, vector: NDArray[np.float32]) -> bool:
    """Keep a vector; False where the folder takes no files."""
    return _write_whole(path, vector.astype("<f4").tobytes())
