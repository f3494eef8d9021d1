"""What every source promises: list what exists with a version, fetch one, say who belongs to which group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from llmops.records import Metadata

Checkpoint = Mapping[str, Any]
"""Where a listing is: JSON that its source alone understands."""

Acl = tuple[str, ...] | None
"""Who may read a document; () nobody; None when the source cannot say, which hides it from everyone.

Principals are texts: `user:<e-mail or id, lower case>`, `group:<source>/<id>`, or any word of the operator's own.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One document as its source lists it.

    Attributes:
        uri: its name within the source, the same from sync to sync, fit for a person to read.
        version: equal versions that are not empty mean equal content, so that nothing is fetched; "" says that
            only fetching can tell.
        url: where a person opens it, or "".
        media_type: "" when the name or the first bytes tell it.
        acl: who may read it now, inherited from the source.
        handle: what `fetch` needs; JSON, never a secret.
        title: "" when its content tells it.
    """

    uri: str
    acl: Acl
    version: str = ""
    n_bytes: int | None = None
    title: str = ""
    url: str = ""
    media_type: str = ""
    modified_at: datetime | None = None
    metadata: Metadata = field(default_factory=dict)
    handle: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A part of a listing.

    Attributes:
        removed: uris that the source says are gone (a source of changes).
        problems: what could not be listed, one sentence each. Absence then proves nothing.
        checkpoint: a listing that breaks off goes on after this page from here; empty: it begins again.
        is_everything: True when the listing this page belongs to names all that exists, so that absence means
            removal; False when it names changes since the last sync.
    """

    items: tuple[Item, ...] = ()
    removed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    checkpoint: Checkpoint = field(default_factory=dict)
    is_everything: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A document's bytes.

    Attributes:
        version: of what was fetched, when the source says so; it may be newer than what was listed.
        media_type, title: "" when there is nothing to add to the item.
        acl: who may read it, when only fetching tells; None keeps the item's.
    """

    raw: bytes
    version: str = ""
    media_type: str = ""
    title: str = ""
    url: str = ""
    acl: Acl = None
    metadata: Metadata = field(default_factory=dict)


class Source(Protocol):
    """A place that documents come from. Methods may be called from several threads, `fetch` at the same time."""

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:
        """What exists, page by page.

        Args:
            checkpoint: of the last page that was taken in, when an earlier listing broke off; else None.
            since: the last page's checkpoint of the last complete sync, for sources that can list changes; else
                None.

        Raises:
            SourceError: nothing (more) can be listed; what was listed so far is kept for a later try.
            ConfigurationError: the source is set up wrongly.
        """
        ...

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """One document.

        Raises:
            DocumentError: this document cannot be had (too large, forbidden, nonsense); others can.
            DocumentGoneError: it is not there any more.
            SourceError: the source is away or refuses us altogether.
        """
        ...

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Group principal to member principals (people or groups); {} when the source has no groups of its own.

        Raises:
            SourceError: the groups cannot be read; the last known ones are kept.
        """
        ...

    def close(self) -> None: ...
