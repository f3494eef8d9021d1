"""A folder of files as a source: every sync reads what is there, for times of files are no versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from llmops.errors import DocumentGoneError
from llmops.ingestion.folder import SourceFile, fetch, list_folder
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.spec import FolderSource


class Folder:
    """Files below a folder; a file's time may run backwards, so only its bytes tell whether it changed.

    Args:
        spec_file: the pipeline's file, from whose folder `spec.path` is seen.
    """

    def __init__(self, spec: FolderSource, spec_file: str) -> None:
        self._spec, self._spec_file = spec, spec_file
        self._root = (Path(spec_file).parent / spec.path).resolve()

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002 (a folder is listed whole)
        """All files, in one page.

        Raises:
            SpecError: the folder is missing or cannot be read.
        """
        listing = list_folder(self._spec, self._root, spec_file=self._spec_file)
        acl, metadata = tuple(sorted(self._spec.acl)), self._spec.metadata
        items = [Item(uri=f.uri, n_bytes=f.n_bytes, acl=acl, metadata=metadata) for f in listing.files]
        yield Page(items=tuple(items), problems=tuple(listing.problems))

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A file's bytes.

        Raises:
            DocumentError: it is too large, or cannot be read.
            DocumentGoneError: it was removed since it was listed.
        """
        path = self._root / item.uri
        if not path.exists() and not path.is_symlink():
            raise DocumentGoneError("was removed while the folder was read")
        raw, _ = fetch(SourceFile(uri=item.uri, path=path, n_bytes=item.n_bytes or 0), max_bytes=max_bytes)
        return Fetched(raw=raw)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: a folder knows nobody."""
        return {}

    def close(self) -> None:
        """Nothing is held open."""
