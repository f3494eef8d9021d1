"""A source in memory that does what a test says, and a pipeline that reads it into a real ledger and store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmops.clients.database import Database, open_database
from llmops.clients.protocols import Embedder, Filter
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import DocumentGoneError, SourceError
from llmops.ingestion import durable
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.events import SourceEvent, SourceEvents
from llmops.ingestion.listing import document_id
from llmops.ingestion.report import IngestReport
from llmops.ingestion.run import Options, ingest
from llmops.ingestion.shape import Indexer
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.spec import IngestionSpec
from llmops.ingestion.syncs import Sync, SyncBook
from llmops.records import Point
from llmops.releases import CollectionBook

ANYONE = Filter(principals=None)
PIPELINE = "wiki"


class Wiki:
    """A source whose pages, changes and failures a test writes down.

    Attributes:
        page_size: documents of one page of a listing.
        breaks_before: the listing fails before this page (0 is the first), once it gets there; None: never.
        problems: what cannot be listed, said with the last page.
        has_checkpoints, lists_changes, refuses_checkpoints: what the source is able to do.
        errors: by uri, what fetching it raises.
        on_page, on_fetch: called before a page, or a document, is handed over.
        asked: checkpoint and since of every listing.
        fetched: every uri that was fetched.
    """

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.raw: dict[str, bytes] = {}
        self.log: list[str] = []
        self.page_size = 2
        self.breaks_before: int | None = None
        self.problems: tuple[str, ...] = ()
        self.has_checkpoints, self.lists_changes, self.refuses_checkpoints = True, False, False
        self.has_versions = True
        self.errors: dict[str, Exception] = {}
        self.on_page: Callable[[int], None] = lambda _: None
        self.on_fetch: Callable[[str], None] = lambda _: None
        self.asked: list[tuple[Checkpoint | None, Checkpoint | None]] = []
        self.fetched: list[str] = []
        self.members: dict[str, tuple[str, ...]] = {}

    def put(self, uri: str, text: str, *, acl: tuple[str, ...] | None = ("everyone",), **fields: Any) -> None:
        """A new document, or a new version of one."""
        self.log.append(uri)
        self.raw[uri] = text.encode()
        version = str(len(self.log)) if self.has_versions else ""
        fields = {"version": version, "media_type": "text/markdown", **fields}
        self.items[uri] = Item(uri=uri, acl=acl, **fields)

    def allow(self, uri: str, *acl: str) -> None:
        """Other readers; the version stays."""
        self.log.append(uri)
        self.items[uri] = replace(self.items[uri], acl=acl)

    def remove(self, uri: str) -> None:
        self.log.append(uri)
        del self.items[uri], self.raw[uri]

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:
        self.asked.append((checkpoint, since))
        if self.refuses_checkpoints and checkpoint:
            raise SourceError("this cursor is not known any more")
        token = checkpoint["token"] if checkpoint else len(self.log)
        is_delta = self.lists_changes and since is not None
        names = sorted(set(self.log[since["token"] :]) if since is not None and is_delta else self.items)
        after = checkpoint["after"] if checkpoint else ""
        number = checkpoint["pages"] if checkpoint else 0
        names = [name for name in names if name > after]
        parts = [names[start : start + self.page_size] for start in range(0, len(names), self.page_size)] or [[]]
        for n, part in enumerate(parts):
            if self.breaks_before == number:
                raise SourceError("the wiki is away")
            number += 1
            self.on_page(number)
            is_last = n == len(parts) - 1
            place = {"token": token, "after": "" if is_last else part[-1], "pages": 0 if is_last else number}
            yield Page(
                items=tuple(self.items[name] for name in part if name in self.items),
                removed=tuple(name for name in part if name not in self.items) if is_delta else (),
                problems=self.problems if is_last else (),
                checkpoint=place if self.has_checkpoints else {},
                is_everything=not is_delta,
            )

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:  # noqa: ARG002 (the protocol names it)
        self.on_fetch(item.uri)
        self.fetched.append(item.uri)
        if item.uri in self.errors:
            raise self.errors[item.uri]
        if item.uri not in self.raw:
            raise DocumentGoneError("was removed from the wiki")
        return Fetched(raw=self.raw[item.uri], version=self.items[item.uri].version)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        return self.members

    def close(self) -> None:
        """Nothing is held open."""


@dataclass
class Trial:
    """A pipeline over a `Wiki`, with everything it writes to."""

    wiki: Wiki
    indexer: Indexer
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> IngestionSpec:
        """The pipeline with what the test changed in it; its own source stands where a folder would."""
        source = {"type": "folder", "path": ".", "acl": ["everyone"]}
        sync = {"backoff_s": 0, "max_removed_share": 0.2, **self.changes.get("sync", {})}
        fields = {"name": PIPELINE, "description": "Pages of a test.", "source": source, **self.changes}
        return IngestionSpec.model_validate({**fields, "sync": sync}, strict=False).located("wiki.yaml")

    @property
    def database(self) -> Database:
        return self.indexer.database

    @property
    def syncs(self) -> SyncBook:
        return SyncBook(self.database)

    @property
    def events(self) -> SourceEvents:
        return SourceEvents(self.database, self.indexer.store, self.indexer.collections, pipeline=PIPELINE)

    def sync(self, **options: bool) -> IngestReport:
        report = ingest(self.spec, self.indexer, options=Options(**options))
        self.check(report)
        return report

    def sync_in_steps(self, *, repeated: bool = False, **options: bool) -> IngestReport:
        """As `sync`, by the steps that a queue runs; each of them twice when `repeated`."""
        times = 2 if repeated else 1
        *_, planned = (durable.plan(self.spec, self.indexer, options) for _ in range(times))
        for number in range(planned["n_batches"]):
            for _ in range(times):
                durable.write_batch(self.spec, self.indexer, planned["sync_id"], number)
        report = [durable.conclude(self.spec, self.indexer, planned["sync_id"]) for _ in range(times)][-1]
        self.check(report)
        return report

    def check(self, report: IngestReport) -> None:
        """Every document that was found is accounted for, unless the source went away before it was read."""
        states = "indexed unchanged empty skipped failed parked duplicate refused expired".split()
        counts = {state: getattr(report, f"n_{state}") for state in states}
        assert min(counts.values()) >= 0, counts
        if not report.listing_problems:
            assert report.n_found == sum(counts.values()), counts

    def key(self, uri: str) -> str:
        return document_id(self.spec, uri)

    def tell(self, kind: str, uri: str, *acl: str) -> bool:
        assert kind in ("access", "deleted")
        event = SourceEvent(kind="deleted" if kind == "deleted" else "access", document_id=self.key(uri), acl=acl)
        return self.events.take(event)

    @property
    def collection(self) -> str:
        shape = self.indexer.collections.serving(PIPELINE)
        return shape.collection if shape is not None else ""

    @property
    def last(self) -> Sync:
        found = self.syncs.last(PIPELINE)
        assert found is not None
        return found

    def points(self, collection: str = "") -> list[Point]:
        return list(self.indexer.store.scroll(collection or self.collection, where=ANYONE))

    def texts(self, collection: str = "") -> dict[str, str]:
        """What is searchable, by uri."""
        found: dict[str, list[str]] = {}
        for point in sorted(self.points(collection), key=lambda p: p.chunk.ordinal):
            found.setdefault(point.chunk.uri, []).append(point.chunk.text)
        return {uri: "\n".join(parts) for uri, parts in sorted(found.items())}

    def readers(self, collection: str = "") -> dict[str, tuple[str, ...]]:
        return {point.chunk.uri: point.chunk.acl for point in self.points(collection)}

    def rows(self, collection: str = "") -> dict[str, DocumentRow]:
        rows = DocumentLedger(self.database, collection or self.collection).rows()
        return {row.uri: row for row in rows.values()}

    def states(self) -> dict[str, str]:
        return {uri: row.state for uri, row in self.rows().items()}


@contextmanager
def open_trial(root: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch, url: str = "") -> Iterator[Trial]:
    """A trial with a wiki of its own, in `root`."""
    database = open_database(url, root / "ledger.sqlite3")
    store = EdgeStore(root / "vectors")
    book = CollectionBook(database)
    indexer = Indexer(database=database, store=store, collections=book, load_embedder=lambda _: embedder)
    trial = Trial(Wiki(), indexer)
    for module in ("run", "durable"):
        monkeypatch.setattr(f"llmops.ingestion.{module}.open_source", lambda *_: trial.wiki)
    try:
        yield trial
    finally:
        store.close()
        database.close()


def moment(text: str) -> datetime:
    """A time of day in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
