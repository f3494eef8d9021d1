"""Where a git source reads: a repository of this machine, or our own bare copy of a remote, without history."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmops.errors import ConfigurationError, SourceError
from llmops.ingestion.sources.environment import secret
from llmops.ingestion.sources.git_program import Blobs, Git, too_heavy, weight
from llmops.ingestion.sources.specs_data import GitSource

_MANY_PACKS = 20
_MAX_FILES = 2_000_000
_HEAD = "refs/llmops/head"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tip:
    """What a ref stands for now. `ref` is a branch, tag or commit as a person writes it."""

    commit: str
    ref: str


class GitStore:
    """A repository that can be read; a remote one is brought into `state` as it is needed."""

    def __init__(self, spec: GitSource, spec_file: str, state: Path, environment: Mapping[str, str]) -> None:
        self._spec = spec
        if spec.is_local:
            self._folder = (Path(spec_file).parent / spec.url).resolve()
            self._git = Git(self._folder)
        else:
            name = hashlib.sha256(spec.url.encode()).hexdigest()[:16]
            self._folder = state.resolve() / f"git-{name}"
            token = secret(environment, spec.token_env, "access token of the repository") if spec.token_env else ""
            self._git = Git(self._folder, remote=spec.url, username=spec.username, token=token)
        self._lock = threading.Lock()
        self._blobs: Blobs | None = None

    def close(self) -> None:
        """End the reader of blobs."""
        with self._lock:
            if self._blobs is not None:
                self._blobs.close()
                self._blobs = None

    def read(self, blob: str) -> bytes | None:
        """A blob's bytes, or None when it is not here."""
        with self._lock:
            if self._blobs is None or not self._blobs.is_alive:
                if self._blobs is not None:
                    self._blobs.close()
                self._open()
                self._blobs = self._git.open_blobs()
            blobs = self._blobs
        return blobs.read(blob)

    def tip(self) -> Tip:
        """What the spec's ref stands for now.

        Raises:
            SourceError: the repository is away, refuses us, or has no such ref.
        """
        self._open()
        ref = self._spec.ref
        if not self._spec.is_local:
            return self._remote_tip(ref)
        found = self._git.maybe("rev-parse", "--verify", "-q", "--end-of-options", f"{ref or 'HEAD'}^{{commit}}")
        if not found:
            raise SourceError(_no_ref(self._spec.url, ref))
        name = ref or (self._git.maybe("symbolic-ref", "--short", "-q", "HEAD") or "").strip()
        return Tip(commit=found.strip(), ref=name or found.strip())

    def _remote_tip(self, ref: str | None) -> Tip:
        names = [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"] if ref else ["HEAD"]
        said = self._git.ask("ls-remote", "--symref", "-q", "--", self._spec.url, *names, timeout_s=120)
        lines = [line.split("\t") for line in said.splitlines() if "\t" in line]
        commits = {name: value for value, name in lines if not value.startswith("ref: ")}
        branch = [value.removeprefix("ref: refs/heads/") for value, _ in lines if value.startswith("ref: ")]
        for name in names:
            if name in commits:
                return Tip(commit=commits[name], ref=ref or (branch or [commits[name]])[0])
        if ref and _COMMIT.fullmatch(ref):
            return Tip(commit=ref, ref=ref)
        raise SourceError(_no_ref(self._spec.url, ref))

    def has(self, commit: str) -> bool:
        """Whether a commit and its files are here."""
        self._open()
        return self._git.maybe("cat-file", "-e", f"{commit}^{{commit}}") is not None

    def bring(self, commit: str) -> None:
        """Fetch a commit, without its history, unless it is there already."""
        if self.has(commit) or self._spec.is_local:
            return
        with self._alone():
            if self.has(commit):
                return
            _clear_away(self._folder)
            how = ("--depth=1", "--no-tags", "--force", "--no-auto-gc", "--no-write-fetch-head", "-q")
            self._git.ask(
                *("fetch", *how, "--", self._spec.url, f"{commit}:{_HEAD}"),
                timeout_s=self._spec.timeout_s,
                max_bytes=self._spec.max_repository_bytes,
            )
            if weight(self._folder) > self._spec.max_repository_bytes:
                shutil.rmtree(self._folder)
                raise SourceError(too_heavy(self._spec.max_repository_bytes))
            if len(list((self._folder / "objects" / "pack").glob("*.pack"))) > _MANY_PACKS:
                self._git.ask("repack", "-a", "-d", "-q", timeout_s=self._spec.timeout_s)
                self._git.ask("prune", "--expire=now", timeout_s=self._spec.timeout_s)

    def _open(self) -> None:
        """Make the bare copy, or look whether the local repository is one."""
        if self._spec.is_local:
            if not self._folder.is_dir():
                raise ConfigurationError(f"no folder {str(self._folder)!r}; mend source.url of the pipeline")
            self._git.ask("rev-parse", "--git-dir")
        elif not (self._folder / "HEAD").exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._git.ask("init", "--bare", "-q", "--template=")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process changes the copy meanwhile."""
        with self._folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def entries(self, tip: Tip) -> Iterator[bytes]:
        """The files below the spec's path, as `git ls-tree -l` prints them.

        Raises:
            SourceError: there is no such path, or there are too many files.
        """
        tree = f"{tip.commit}:{self._spec.path}" if self._spec.path else tip.commit
        for n, entry in enumerate(self._git.records("ls-tree", "-r", "-z", "-l", "--full-tree", tree), start=1):
            if n > _MAX_FILES:
                raise SourceError(f"the commit {tip.commit[:12]} has more than {_MAX_FILES:,} files; name a path")
            yield entry


def _no_ref(url: str, ref: str | None) -> str:
    if ref is None:
        return f"the repository {url!r} has no commit yet"
    return f"the repository {url!r} has no branch, tag or commit {ref!r}; mend source.ref"


def _clear_away(store: Path) -> None:
    """What a transfer left behind that was killed; nobody else is in the copy now."""
    for left in (*store.rglob("*.lock"), *(store / "objects" / "pack").glob("tmp_*")):
        left.unlink(missing_ok=True)
