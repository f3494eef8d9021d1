"""One process owns a workspace, however the one before it ended."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmops.errors import StorageError, WorkspaceBusyError
from llmops.workspace.ownership import Owner, find_owner, take_ownership

HOLD = """
import sys
from pathlib import Path
from llmops.workspace.ownership import take_ownership
held = take_ownership(Path(sys.argv[1]), "llmops up")
held.announce(url="http://127.0.0.1:8080", token="t0ken")
print("held", flush=True)
sys.stdin.readline()
if "release" in sys.argv:
    held.release()
"""


@contextmanager
def another_process(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the workspace until a line comes in."""
    command = [sys.executable, "-c", HOLD, str(root), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=30)


def test_nobody_owns_a_new_workspace(tmp_path: Path) -> None:
    assert find_owner(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        said = re.escape(
            f"the workspace {str(tmp_path)!r} is in use by `llmops up` (process {process.pid}); wait for it"
        )
        with pytest.raises(WorkspaceBusyError, match=said) as caught:
            take_ownership(tmp_path, "llmops ingest")
        assert caught.value.exit_code == 2
        assert find_owner(tmp_path) == Owner(
            pid=process.pid, command="llmops up", url="http://127.0.0.1:8080", token="t0ken"
        )


@pytest.mark.parametrize("arguments", [["release"], []])
def test_the_workspace_is_free_when_its_owner_has_left(arguments: list[str], tmp_path: Path) -> None:
    with another_process(tmp_path, *arguments) as process:
        end(process)
        assert find_owner(tmp_path) is None
        take_ownership(tmp_path, "llmops ingest").release()


def test_the_workspace_is_free_when_its_owner_was_killed(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert (tmp_path / ".llmops/owner.json").exists()  # nobody was left to remove it
        assert find_owner(tmp_path) is None
        held = take_ownership(tmp_path, "llmops ingest")
        assert find_owner(tmp_path) == Owner(pid=os.getpid(), command="llmops ingest")
        held.release()


def test_one_process_cannot_own_a_workspace_twice(tmp_path: Path) -> None:
    held = take_ownership(tmp_path, "first")
    with pytest.raises(WorkspaceBusyError, match=r"in use by `first`"):
        take_ownership(tmp_path, "second")
    held.release()
    held.release()
    take_ownership(tmp_path, "second").release()


def test_workspaces_do_not_share_an_owner(tmp_path: Path) -> None:
    one, two = take_ownership(tmp_path / "a", "one"), take_ownership(tmp_path / "b", "two")
    one.release()
    two.release()


@pytest.mark.parametrize("card", ["", "not JSON", "[1]", '{"pid": 1}', '{"surprise": 1}'])
def test_a_damaged_card_still_says_that_it_is_busy(card: str, tmp_path: Path) -> None:
    held = take_ownership(tmp_path, "first")
    (tmp_path / ".llmops/owner.json").write_text(card)
    with pytest.raises(WorkspaceBusyError, match="in use by another llmops process"):
        take_ownership(tmp_path, "second")
    assert find_owner(tmp_path) == Owner(pid=0, command="an llmops process that is just starting")
    held.release()


def test_a_stale_card_is_nobody(tmp_path: Path) -> None:
    take_ownership(tmp_path, "first").release()
    (tmp_path / ".llmops/owner.json").write_text(json.dumps({"pid": 1, "command": "ghost"}))
    assert find_owner(tmp_path) is None
    take_ownership(tmp_path, "second").release()


def test_only_its_user_can_read_the_token(tmp_path: Path) -> None:
    held = take_ownership(tmp_path, "first")
    held.announce(url="http://127.0.0.1:1", token="t0ken")
    for name in ("owner.json", "owner.lock"):
        assert stat.S_IMODE((tmp_path / ".llmops" / name).stat().st_mode) == 0o600
    held.release()
    assert not (tmp_path / ".llmops/owner.json").exists()


def test_looking_for_the_owner_does_not_keep_one_from_becoming_it(tmp_path: Path) -> None:
    take_ownership(tmp_path, "first").release()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            find_owner(tmp_path)
            stop.wait(0.0005)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            take_ownership(tmp_path, "second").release()
    finally:
        stop.set()
        looking.join()


def test_a_state_folder_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / ".llmops").write_text("a file where the folder should be")
    said = re.escape(f"the workspace's state folder {str(tmp_path / '.llmops')!r} cannot be written")
    with pytest.raises(
        StorageError, match=said + r" \(File exists\); make it writable or choose another workspace"
    ):
        take_ownership(tmp_path, "first")
    assert find_owner(tmp_path) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes every folder")
def test_a_folder_that_may_only_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match=r"cannot be written \(Permission denied\)"):
            take_ownership(tmp_path, "first")
    finally:
        tmp_path.chmod(0o700)
