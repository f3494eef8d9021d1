"""Taking in what a source lists, so that a listing of 200,000 pages that breaks off goes on where it was."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmops.config import digest
from llmops.errors import SourceError
from llmops.ingestion.parsing import PARSER_VERSION
from llmops.ingestion.sources.protocol import Checkpoint, Item, Page, Source
from llmops.ingestion.spec import IngestionSpec
from llmops.ingestion.syncs import Sync, SyncBook

_NAMESPACE = uuid.UUID("8d0f3c1e-6c0b-5c41-9d52-6f1f2f0e9a10")

OnListed = Callable[[int], None]


def document_id(spec: IngestionSpec, uri: str) -> str:
    """Stable for a spec and a path: a new version of a file replaces the old one."""
    return uuid.uuid5(_NAMESPACE, f"{spec.name}\n{uri}").hex


def reading(spec: IngestionSpec) -> list[Any]:
    """What decides, beside its bytes, what is kept of a document: when it changes, all are read again."""
    governance = spec.governance.model_dump(mode="json", exclude_defaults=True)
    metadata = dict(spec.source.metadata)
    return [PARSER_VERSION, governance, spec.tenant, spec.clean.near_duplicates is not None, metadata]


def source_hash(spec: IngestionSpec) -> str:
    """SHA-256 (hex) of the source's section and of how its documents are read.

    A checkpoint of another one means nothing: changes alone are not enough for documents that are read anew.
    """
    return digest([spec.source.model_dump(mode="json"), reading(spec)])


@dataclass(kw_only=True, slots=True)
class Listing:
    """What a source has.

    Attributes:
        items: what exists (or changed), by document id.
        removed: documents that the source says are gone.
        absent: documents that were known before the listing and that a listing of everything does not name.
        problems: what could not be listed; absence then proves nothing.
        is_everything: whether absence from `items` means removal.
        is_broken: the listing broke off.
        has_advanced: it brought something in this run, so that a later try may go on with it.
        checkpoint: of the last page.
    """

    sync: Sync
    items: dict[str, Item] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    is_everything: bool = True
    is_broken: bool = False
    has_advanced: bool = False
    checkpoint: Checkpoint = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return not self.problems


def take_listing(
    source: Source, spec: IngestionSpec, book: SyncBook, *, collection: str, on_listed: OnListed = lambda _: None
) -> Listing:
    """Everything that a source lists now, going on where the last listing broke off.

    Args:
        collection: what the sync fills, or "" for a new one, which asks for everything.

    Raises:
        ConfigurationError: the source is set up wrongly.
    """
    mark = source_hash(spec)
    broken = book.broken_off(spec.name, mark, collection=collection)
    if broken is not None:
        book.go_on(broken)
    done = book.done_for(collection, mark) if collection else None
    since = done.checkpoint if done is not None else None
    listing = Listing(sync=broken or book.begin(spec.name, mark, collection=collection))
    if broken is not None and broken.checkpoint is not None:
        for key, item in book.taken(broken.sync_id).items():
            _take(listing, key, item)
        listing.is_everything = broken.checkpoint["is_everything"]
        listing.problems = list(broken.checkpoint["problems"])
        listing.checkpoint = broken.checkpoint["place"]
        if broken.checkpoint.get("is_finished"):  # killed after its listing: what it lists is still to be done
            return listing
    try:
        for page in source.pages(listing.checkpoint or None, since):
            _take_page(listing, page, spec, book)
            listing.has_advanced = True
            on_listed(len(listing.items))
    except SourceError as error:
        listing.problems.append(str(error))
        listing.is_broken = True
        return listing
    except BaseException as error:
        reason = str(error) or type(error).__name__
        book.end(listing.sync, "failed", reason=reason, keeps_listing=listing.has_advanced)
        raise
    if listing.checkpoint:
        book.take(listing.sync.sync_id, {}, {**_place(listing), "is_finished": True})
    return listing


def _take_page(listing: Listing, page: Page, spec: IngestionSpec, book: SyncBook) -> None:
    found: dict[str, Item | None] = {document_id(spec, uri): None for uri in page.removed}
    found.update((document_id(spec, item.uri), item) for item in page.items)
    listing.is_everything = page.is_everything
    listing.problems += page.problems
    for key, item in found.items():
        _take(listing, key, item)
    if page.checkpoint:
        listing.checkpoint = page.checkpoint
        book.take(listing.sync.sync_id, found, _place(listing))


def _place(listing: Listing) -> Checkpoint:
    problems = listing.problems
    return {"place": listing.checkpoint, "is_everything": listing.is_everything, "problems": problems}


def _take(listing: Listing, key: str, item: Item | None) -> None:
    if item is None:
        listing.items.pop(key, None)
        listing.removed.add(key)
    else:
        listing.items[key] = item
        listing.removed.discard(key)
