"""One process owns an embedded workspace at a time; others find it, or are refused in one sentence."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from llmops.errors import StorageError, WorkspaceBusyError
from llmops.settings import state_directory

_LOCK, _CARD = "owner.lock", "owner.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who owns a workspace. `url` and `token` lead to its admin API when it is a gateway."""

    pid: int
    command: str
    url: str = ""
    token: str = ""


class Ownership:
    """The lock of a workspace; ends with `release` or with the process, however it dies."""

    def __init__(self, descriptor: int, state: Path, owner: Owner) -> None:
        self._descriptor, self._state, self._owner = descriptor, state, owner

    def announce(self, *, url: str, token: str) -> None:
        """Let other local processes of this user find the gateway."""
        _write_card(self._state, Owner(pid=self._owner.pid, command=self._owner.command, url=url, token=token))

    def release(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                (self._state / _CARD).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def take_ownership(root: Path, command: str) -> Ownership:
    """Become the owner.

    Raises:
        WorkspaceBusyError: another process is.
        StorageError: the state folder cannot be written.
    """
    state = state_directory(root)
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        problem = f"the workspace's state folder {str(state)!r} cannot be written ({error.strerror})"
        raise StorageError(f"{problem}; make it writable or choose another workspace") from error
    try:
        _lock(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise WorkspaceBusyError(_refusal(root, _read_card(state))) from error
    owner = Owner(pid=os.getpid(), command=command)
    try:
        _write_card(state, owner)
    except OSError as error:
        os.close(descriptor)
        raise StorageError(f"cannot write {str(state / _CARD)!r} ({error.strerror}); free some space") from error
    return Ownership(descriptor, state, owner)


def _lock(descriptor: int) -> None:
    """Take the lock; `find_owner` of another process holds it for microseconds, so a refusal is tried again."""
    for _ in range(4):
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.02)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def find_owner(root: Path) -> Owner | None:
    """The process that owns the workspace now, or None when nobody does."""
    state = state_directory(root)
    try:
        descriptor = os.open(state / _LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_card(state) or Owner(pid=0, command="an llmops process that is just starting")
    finally:
        os.close(descriptor)
    return None


def _refusal(root: Path, owner: Owner | None) -> str:
    who = f"`{owner.command}` (process {owner.pid})" if owner else "another llmops process"
    cure = "wait for it or stop it; with LLMOPS_QDRANT_URL set, any number of processes can work"
    return f"the workspace {str(root)!r} is in use by {who}; {cure}"


def _write_card(state: Path, owner: Owner) -> None:
    descriptor = os.open(state / f"{_CARD}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(owner), file)
    (state / f"{_CARD}.new").replace(state / _CARD)


def _read_card(state: Path) -> Owner | None:
    try:
        return Owner(**json.loads((state / _CARD).read_text()))
    except (OSError, ValueError, TypeError):
        return None
