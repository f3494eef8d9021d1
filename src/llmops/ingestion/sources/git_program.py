"""The git program on a short lead: no hooks, filters or prompts, and no transport but the one asked for."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from llmops.errors import ConfigurationError, SourceDeniedError, SourceError

_DENIED = re.compile(
    r"Authentication failed|could not read (Username|Password)|terminal prompts disabled|"
    r"Permission denied|returned error: 40[13]|Host key verification failed",
    re.IGNORECASE,
)
# Nothing of the caller's environment may choose a program, a config file or another repository.
_PASSED_ON = (
    *("PATH", "HOME", "TMPDIR", "SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"),
)
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.bigFileThreshold=8m",  # larger blobs are streamed, never held
    "credential.helper=",
    "fetch.recurseSubmodules=false",
    "fetch.unpackLimit=1",
    "gc.auto=0",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "maintenance.auto=false",
    "protocol.version=2",
    "submodule.recurse=false",
    "transfer.bundleURI=false",
)
_SHORT_S = 120.0
_PIECE = 65_536


class Git:
    """Runs git on one repository.

    Args:
        folder: the repository, bare or with a working tree.
        remote: the address it may talk to, or "" for none.
        token: an access token for `remote`.

    Raises:
        ConfigurationError: git is not installed.
    """

    def __init__(self, folder: Path, *, remote: str = "", username: str = "", token: str = "") -> None:
        if shutil.which("git") is None:
            raise ConfigurationError("git is not installed; install it (apt-get install git) to read repositories")
        self.folder, self._token = folder, token
        self._environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ALLOW_PROTOCOL": remote.partition("://")[0] or "none",
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30",
            "LC_ALL": "C",
        }
        settings = [f"safe.directory={folder}", *_SETTINGS]
        settings.append(f"http.followRedirects={'false' if token else 'initial'}")
        self._command = ["git", "-C", str(folder), *(part for one in settings for part in ("-c", one))]
        if token:  # in the environment, where no list of processes shows it
            packed = base64.b64encode(f"{username}:{token}".encode()).decode()
            self._environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{remote}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {packed}",
            }

    def ask(self, *arguments: str, timeout_s: float = _SHORT_S, max_bytes: int | None = None) -> str:
        """What a command prints.

        Args:
            max_bytes: what the repository may come to weigh while it runs.

        Raises:
            SourceDeniedError: the remote refuses our credentials.
            SourceError: it failed, took too long, or brought too much.
        """
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
            with self._start(arguments, said, complained) as process:
                try:
                    self._watch(process, arguments[0], timeout_s, max_bytes)
                finally:
                    _kill(process)
            said.seek(0)
            complained.seek(0)
            if process.returncode:
                raise self._failure(arguments[0], complained.read(20_000).decode(errors="replace"))
            return said.read().decode(errors="replace")

    def maybe(self, *arguments: str) -> str | None:
        """What a command prints, or None when it fails."""
        try:
            return self.ask(*arguments)
        except SourceError:
            return None

    def records(self, *arguments: str) -> Iterator[bytes]:
        """The records that a command prints, NUL after each, as they come.

        Raises:
            SourceError: it failed.
        """
        with tempfile.TemporaryFile() as complained:
            with self._start(arguments, subprocess.PIPE, complained) as process:
                try:
                    rest = b""
                    while piece := _stdout(process).read(_PIECE):
                        *whole, rest = (rest + piece).split(b"\0")
                        yield from whole
                    process.wait(_SHORT_S)
                except subprocess.TimeoutExpired:
                    raise SourceError(f"git {arguments[0]} does not end; try again later") from None
                finally:
                    _kill(process)
            if process.returncode:
                complained.seek(0)
                raise self._failure(arguments[0], complained.read(20_000).decode(errors="replace"))

    def open_blobs(self) -> Blobs:
        """A reader of blobs, to be closed."""
        process = self._start(("cat-file", "--batch"), subprocess.PIPE, subprocess.DEVNULL, stdin=subprocess.PIPE)
        return Blobs(process)

    def _start(
        self,
        arguments: tuple[str, ...],
        out: int | IO[bytes],
        err: int | IO[bytes],
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self._command, *arguments],
                env=self._environment,
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,  # a transfer has children, which end with it
            )
        except OSError as error:
            raise SourceError(f"git cannot be started: {error.strerror}; try again") from error

    def _watch(
        self, process: subprocess.Popen[bytes], command: str, timeout_s: float, max_bytes: int | None
    ) -> None:
        until = time.monotonic() + timeout_s
        while True:
            try:
                process.wait(min(0.5, max(0.0, until - time.monotonic())))
                return
            except subprocess.TimeoutExpired:
                if time.monotonic() >= until:
                    raise SourceError(f"git {command} took more than {timeout_s:g} s; try again later") from None
                if max_bytes is not None and weight(self.folder) > max_bytes:
                    raise SourceError(too_heavy(max_bytes)) from None

    def _failure(self, command: str, complaint: str) -> SourceError:
        lines = [line for line in complaint.splitlines() if line.strip() and not line.startswith("hint:")]
        shown = " ".join(lines[-3:]).removeprefix("fatal: ")[:300] or "no reason given"
        if self._token:
            shown = shown.replace(self._token, "…")
        kind = SourceDeniedError if _DENIED.search(complaint) else SourceError
        return kind(f"git {command} failed: {shown}")


class Blobs:
    """Blobs by id, from one `git cat-file --batch`. May be called from several threads."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lock = threading.Lock()

    def read(self, blob: str) -> bytes | None:
        """A blob's bytes; None when the repository does not have it.

        Raises:
            SourceError: git has ended.
        """
        with self._lock:
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(f"{blob}\n".encode())
                self._process.stdin.flush()
                head = _stdout(self._process).readline().split()
                if len(head) == 2:
                    return None
                n_bytes = int(head[2])
                raw = _stdout(self._process).read(n_bytes + 1)[:-1]
            except (OSError, IndexError, ValueError) as error:
                raise SourceError("git ended while a file was read; try again") from error
            if len(raw) != n_bytes:
                raise SourceError("git ended while a file was read; try again")
            return raw

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the program."""
        _kill(self._process)
        with self._process:  # closes the pipes and waits
            pass


def weight(folder: Path) -> int:
    """Bytes of the files below a folder, as far as they can be seen now."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(above) / name).lstat().st_size
            except OSError:  # git moves its files while it works
                continue
    return total


def too_heavy(max_bytes: int) -> str:
    """What is said of a repository over the limit."""
    return f"the repository has more than {max_bytes:,} bytes; raise source.max_repository_bytes to read it"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and its children, unless it has ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout
