"""What Qdrant Edge says when something is wrong, as one of our errors."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from llmops.clients.vectors.ownership import busy
from llmops.errors import CollectionShapeError, LlmopsError, StorageError, WorkspaceBusyError

ROOM_TO_WRITE = 256 * 2**20
"""Bytes: more than Edge lays out at once (write-ahead log, vectors and payload in pages of 32 MB)."""
ROOM_TO_OPEN = 64 * 2**20

_DIMENSION = re.compile(r"expected dim: (\d+), got (\d+)")
_ERRNO = re.compile(r"(?:code: |os error )(\d+)")


def check_room(directory: Path, needed_bytes: int) -> None:
    """Refuse to go on with a disk that is nearly full.

    Edge writes through sparse memory maps: where the disk fills up under one, the system kills the
    process with SIGBUS, and no exception can be caught. So we stop before.

    Raises:
        StorageError: less than `needed_bytes` are free.
    """
    try:
        free = shutil.disk_usage(directory).free
    except OSError as exc:
        raise StorageError(f"{str(directory)!r} cannot be read ({exc.strerror}): check the disk") from exc
    if free < needed_bytes:
        raise StorageError(
            f"the disk of {str(directory)!r} has {free // 2**20} MB free and the vectors need "
            f"{needed_bytes // 2**20} MB: free some space and repeat; nothing that was stored is lost"
        )


def is_panic(exc: BaseException) -> bool:
    """A panic of the engine: not an `Exception`, and its class cannot be imported."""
    return type(exc).__name__ == "PanicException"


def explained(collection: str, directory: Path, exc: BaseException) -> LlmopsError:
    """Edge raises bare `Exception` for everything; its message is all there is to tell them apart."""
    message = str(exc)
    if "WouldBlock" in message:
        return WorkspaceBusyError(busy(directory))
    if found := _DIMENSION.search(message):
        return CollectionShapeError(
            f"collection {collection!r} holds vectors of {found[1]} numbers, not {found[2]}: "
            "build a new collection for another embedder with `llmops ingest run NAME --rebuild`"
        )
    errno = exc.errno if isinstance(exc, OSError) else _errno(message)
    if errno is not None:
        return StorageError(
            f"collection {collection!r} in {str(directory)!r} cannot be read or written "
            f"({os.strerror(errno)}): mend the disk or the folder's permissions, then restore it or run "
            "`llmops ingest run NAME --rebuild`"
        )
    return StorageError(
        f"collection {collection!r} in {str(directory)!r} is damaged ({message.splitlines()[0][:300]}): "
        "restore it or run `llmops ingest run NAME --rebuild`"
    )


def _errno(message: str) -> int | None:
    found = _ERRNO.search(message)
    return int(found[1]) if found else None
