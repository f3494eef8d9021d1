"""An object store as a source: S3 and what speaks like it, and every other store that fsspec opens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

from llmops.errors import DocumentError
from llmops.ingestion.folder import matcher
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.rows import too_large
from llmops.ingestion.sources.specs_data import ObjectStoreSource

_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """An object as its store lists it.

    Attributes:
        name: below the source's address, with slashes.
        version: "" when the store tells nothing that changes with the content.
        is_link: a symbolic link, which is not followed.
    """

    name: str
    version: str
    n_bytes: int | None = None
    media_type: str = ""
    modified_at: datetime | None = None
    is_link: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A part of a listing, in the order of names."""

    objects: tuple[StoredObject, ...] = ()
    problems: tuple[str, ...] = ()
    after: str = ""


class Store(Protocol):
    """A place with objects. May be used from several threads."""

    def batches(self, after: str) -> Iterator[Batch]:
        """All objects whose name comes after `after` in the store's order.

        Raises:
            SourceError: it is away or refuses us.
        """
        ...

    def read(self, name: str, max_bytes: int) -> tuple[bytes, str]:
        """An object's bytes and its version, "" when it is not told.

        Raises:
            DocumentError: too large, or it cannot be read.
            DocumentGoneError: it is not there any more.
            SourceError: the store is away or refuses us.
        """
        ...

    def close(self) -> None: ...


class ObjectStore:
    """Objects below an address, listed in the order of their names, so that a listing goes on after a break.

    Raises:
        MissingExtraError: boto3 (S3) or fsspec is not installed.
        ConfigurationError: the store's package is not installed, or its options are wrong.
    """

    def __init__(self, spec: ObjectStoreSource) -> None:
        self._spec = spec
        self._store = _open_store(spec)

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002 (a store is listed whole)
        """All objects, page by page.

        Raises:
            SourceError: the store is away or refuses us.
        """
        for batch in self._store.batches(str(checkpoint.get("after", "")) if checkpoint else ""):
            items, problems = [], list(batch.problems)
            for found in batch.objects:
                if not matcher(self._spec.include).match(found.name) or matcher(self._spec.exclude).match(
                    found.name
                ):
                    continue
                if _UNREADABLE.search(found.name):
                    problems.append(f"{found.name!a}: the name is not UTF-8; rename the object")
                else:
                    items.append(self._item(found))
            # A name that is no text cannot be a place to go on from.
            place = {"after": batch.after} if not _UNREADABLE.search(batch.after) else {}
            yield Page(items=tuple(items), problems=tuple(problems), checkpoint=place)

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """An object's bytes as they are now, with their version.

        Raises:
            DocumentError: too large, archived, forbidden, or a link.
            DocumentGoneError: it is not there any more.
            SourceError: the store is away or refuses us.
        """
        if item.handle.get("is_link"):
            raise DocumentError("is a symbolic link, which is not followed; connect what it points to")
        if (item.n_bytes or 0) > max_bytes:
            raise DocumentError(too_large(item.n_bytes or 0, max_bytes))
        raw, version = self._store.read(item.uri, max_bytes)
        return Fetched(raw=raw, version=version)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: the store's users are not its readers."""
        return {}

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def _item(self, found: StoredObject) -> Item:
        return Item(
            uri=found.name,
            version=found.version,
            acl=tuple(sorted(self._spec.acl)),
            n_bytes=found.n_bytes,
            url=self._spec.link.replace("{path}", quote(found.name)),
            media_type=found.media_type,
            modified_at=found.modified_at,
            metadata=self._spec.metadata,
            handle={"is_link": True} if found.is_link else {},
        )


def _open_store(spec: ObjectStoreSource) -> Store:
    if spec.url.startswith(("s3://", "s3a://")):
        from llmops.ingestion.sources.object_store_s3 import Bucket

        return Bucket(spec)
    from llmops.ingestion.sources.object_store_fsspec import FsspecStore

    return FsspecStore(spec)
