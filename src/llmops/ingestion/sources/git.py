"""A git repository as a source: the files of one commit, each in the version that its blob's id names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from urllib.parse import quote, urlsplit

from llmops.errors import DocumentError, DocumentGoneError
from llmops.ingestion.folder import matcher
from llmops.ingestion.sources.git_store import GitStore, Tip
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.rows import too_large
from llmops.ingestion.sources.specs_data import GitSource

_PAGE = 1_000
_LFS = b"version https://git-lfs.github.com/spec/"
_LINKS = (
    (re.compile(r"github\.com|codeberg\.org"), "https://{host}/{repository}/blob/{ref}/{path}"),
    (re.compile(r"(.*\.)?gitlab\.[a-z.]+"), "https://{host}/{repository}/-/blob/{ref}/{path}"),
    (re.compile(r"bitbucket\.org"), "https://{host}/{repository}/src/{ref}/{path}"),
)


class GitRepository:
    """Files of one commit. A remote repository is fetched without its history into a bare copy of our own.

    Symbolic links, submodules and Git LFS pointers are listed, and refused when they are fetched, so that each has
    its reason in the ledger. A listing that goes on after a break stays with the commit it began with.

    Args:
        spec_file: the pipeline's file, from whose folder a local `spec.url` is seen.
        state: a folder of this source's own; removable, filled again when it is needed.

    Raises:
        ConfigurationError: git is not installed, or the token's variable is not set.
    """

    def __init__(
        self, spec: GitSource, spec_file: str, state: Path, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._spec = spec
        self._store = GitStore(spec, spec_file, state, environment)

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:
        """The files of the ref's commit, in git's order; no changes when it is the commit of `since`.

        Raises:
            SourceError: the repository is away, refuses us, or has no such ref or folder.
            ConfigurationError: a local repository is missing.
        """
        first = 0
        if checkpoint and self._store.has(str(checkpoint["commit"])):
            tip = Tip(commit=str(checkpoint["commit"]), ref=str(checkpoint["ref"]))
            first = int(checkpoint["n_seen"])
        else:
            tip = self._store.tip()
            if since and since.get("commit") == tip.commit:
                yield Page(checkpoint=dict(since), is_everything=False)
                return
            self._store.bring(tip.commit)
        entries = enumerate(self._store.entries(tip), start=1)
        listed = ((n, item) for n, entry in islice(entries, first, None) if (item := self._item(entry, tip)))
        while batch := list(islice(listed, _PAGE)):
            first = batch[-1][0]
            yield Page(items=tuple(item for _, item in batch), checkpoint=_place(tip, first))
        yield Page(checkpoint=_place(tip, first))

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A file's bytes, exactly as the commit that was listed has them.

        Raises:
            DocumentError: a link, a submodule, a Git LFS pointer, or too large.
            DocumentGoneError: the repository has it no more (its history was rewritten).
            SourceError: the repository is away.
        """
        mode, blob, commit = (str(item.handle[name]) for name in ("mode", "blob", "commit"))
        if mode == "120000":
            raise DocumentError("is a symbolic link, which is not followed; connect what it points to")
        if mode == "160000":
            raise DocumentError(f"is a submodule at {blob[:12]}; connect its repository as a source of its own")
        if (item.n_bytes or 0) > max_bytes:
            raise DocumentError(too_large(item.n_bytes or 0, max_bytes))
        if (raw := self._store.read(blob)) is None:
            self._store.bring(commit)
            if (raw := self._store.read(blob)) is None:
                raise DocumentGoneError("is no more in the repository, whose history was rewritten")
        if raw.startswith(_LFS) and len(raw) < 1024:
            raise DocumentError(
                "is a Git LFS pointer, not the file itself; connect the files where they are stored"
            )
        return Fetched(raw=raw, version=blob, metadata={"commit": commit})

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: git knows nobody."""
        return {}

    def close(self) -> None:
        """End the programs that were started."""
        self._store.close()

    def _item(self, entry: bytes, tip: Tip) -> Item | None:
        about, _, raw_name = entry.partition(b"\t")
        mode, _, blob, size = about.decode().split()
        name = _readable(raw_name)
        if not matcher(self._spec.include).match(name) or matcher(self._spec.exclude).match(name):
            return None
        uri = f"{self._spec.path}/{name}" if self._spec.path else name
        return Item(
            uri=uri,
            version=blob,
            acl=tuple(sorted(self._spec.acl)),
            n_bytes=int(size) if size.isdecimal() else None,
            url=self._link(tip, uri),
            metadata=self._spec.metadata,
            handle={"mode": mode, "blob": blob, "commit": tip.commit},
        )

    def _link(self, tip: Tip, path: str) -> str:
        parts = urlsplit(self._spec.url)
        host = parts.hostname or ""
        known = next((link for name, link in _LINKS if name.fullmatch(host)), "")
        parts_of = {
            "host": host,
            "repository": parts.path.strip("/").removesuffix(".git"),
            "ref": quote(tip.ref),
            "commit": tip.commit,
            "path": quote(path),
        }
        return re.sub(r"\{(\w+)\}", lambda hole: parts_of.get(hole[1], hole[0]), self._spec.link or known)


def _place(tip: Tip, n_seen: int) -> Checkpoint:
    return {"commit": tip.commit, "ref": tip.ref, "n_seen": n_seen}


def _readable(name: bytes) -> str:
    """A file's name; bytes that are no UTF-8 are written as \\xNN, and a name stays distinct from all others."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
