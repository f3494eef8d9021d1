"""One process owns a folder of embedded collections, for as long as it holds the folder's lock."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from llmops.errors import StorageError, WorkspaceBusyError

if sys.platform != "win32":
    import fcntl

_LOCK_FILE = ".owner"


def take(directory: Path) -> IO[str]:
    """Make the folder and lock it; closing the returned file, or dying, gives it back.

    On Windows only Edge's own lock on each collection refuses a second process.

    Raises:
        WorkspaceBusyError: another process, or another store in this one, holds the lock.
        StorageError: the folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / _LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as exc:
        raise StorageError(unwritable(directory, exc)) from exc
    try:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except BlockingIOError as exc:
        file.seek(0)
        owner = file.read() or "unknown"
        file.close()
        raise WorkspaceBusyError(busy(directory, f" (process {owner})")) from exc
    except OSError as exc:
        file.close()
        raise StorageError(unwritable(directory, exc)) from exc
    return file


def busy(directory: Path, owner: str = "") -> str:
    return (
        f"the vectors in {str(directory)!r} are in use by another process{owner}: "
        "stop it, or set LLMOPS_QDRANT_URL to a server that many processes can share"
    )


def unwritable(directory: Path, exc: OSError) -> str:
    return f"{str(directory)!r} cannot be written ({exc.strerror}): check the disk and the folder's permissions"
