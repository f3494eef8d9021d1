"""Writing documents into one collection, in the order that survives a kill at any moment.

A document's row is "pending" before its first point is written; new points are written before old ones are
removed; the row says how it ended last. A run that was killed is begun again, finds the pending rows and does just
those documents once more, with the same point ids.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from llmops.clients.protocols import Embedder, Filter
from llmops.errors import SourceError
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.encoding import EncodedAhead
from llmops.ingestion.events import SourceEvent, SourceEvents, readers
from llmops.ingestion.outcomes import Emptied, attempts_of, expired, is_deleted, retry_at, storable
from llmops.ingestion.prepare import Prepared
from llmops.ingestion.report import DocumentProblem, IngestReport, Progress
from llmops.ingestion.shape import Indexer
from llmops.ingestion.spec import IngestionSpec
from llmops.ingestion.syncs import item_json
from llmops.records import DocumentState, Point
from llmops.releases import CollectionShape
from llmops.tokens import Bm25

ANYONE = Filter(principals=None)
_WINDOW_CHUNKS = 256
_FIRST_CHUNKS = 32  # the encoder shall not wait long for the first documents
_TELL_S = 0.1
_WINDOW_DOCUMENTS = 256
_AWAY_AFTER = 5  # documents in a row that fail because of their source
_HAS_VERSION = ("indexed", "failed", "parked", "pending")

OnProgress = Callable[[Progress], None]


@dataclass(kw_only=True)
class Indexing:
    """One run's writing into one collection.

    Attributes:
        rows: what the ledger knew before, by document id; kept up to date.
        donor: a collection whose vectors of unchanged text are taken over; the collection itself for none.
        listed_at: when the listing began: events after it win over what it said.
        planned_at: when the steps of a job were planned; None for a run in one go.
        keeps_items: keep what fetching a document again needs, for a source that will not list it again.
        gone: documents that vanished from their source while it was read.
        written: documents that were written in this sync.
        ahead: holds the vectors of chunks that were encoded while a new collection was measured.
    """

    spec: IngestionSpec
    shape: CollectionShape
    donor: str
    indexer: Indexer
    embedder: Embedder
    rows: dict[str, DocumentRow]
    report: IngestReport
    on_progress: OnProgress
    n_documents: int
    listed_at: datetime
    keeps_items: bool = False
    planned_at: datetime | None = None
    n_done: int = 0
    gone: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    n_away: int = 0
    emptied: dict[str, Emptied] = field(default_factory=dict)
    n_deleted: int = 0
    away: set[str] = field(default_factory=set)
    ahead: EncodedAhead | None = None

    def __post_init__(self) -> None:
        self._store, self._collection = self.indexer.store, self.shape.collection
        self._ledger = DocumentLedger(self.indexer.database, self.shape.collection)
        self._bm25 = Bm25(average_terms=self.shape.average_terms)
        self._taken: tuple[list[Prepared], Future[dict[str, NDArray[np.float32]]]] | None = None
        self._events = SourceEvents(
            self.indexer.database, self.indexer.store, self.indexer.collections, pipeline=self.spec.name
        )

    def index(self, prepared: Iterable[Prepared]) -> None:
        """Write documents as they come.

        Raises:
            SourceError: one after another fails because the source is away; what came before is written.
        """
        window: list[Prepared] = []
        n_chunks, most = 0, _FIRST_CHUNKS
        with ThreadPoolExecutor(1, thread_name_prefix="encode-ahead") as encoder:
            try:
                for item in prepared:
                    if item.is_gone:
                        self._account_gone(item)
                        continue
                    window.append(item)
                    self._watch(item)
                    n_chunks += len(item.chunks)
                    if n_chunks >= most or len(window) >= _WINDOW_DOCUMENTS:
                        self._take(window, encoder)
                        window, n_chunks, most = [], 0, min(2 * most, _WINDOW_CHUNKS)
            except SourceError:
                self.away.update(item.document_id for item in window[len(window) - self.n_away :])
                self._take(window, encoder)
                self._write_taken()
                raise
            self._take(window, encoder)
            self._write_taken()

    def _take(self, window: list[Prepared], encoder: Executor) -> None:
        """Let these documents be encoded, and write meanwhile those that were taken before."""
        window = [storable(item) for item in window if not self._empties(item)]
        if not window:
            return
        changed = [item for item in window if not self._keeps_earlier_version(item)]
        encoding = encoder.submit(self._vectors, changed)
        self._write_taken()
        self._taken = (window, encoding)

    def _write_taken(self) -> None:
        """Make the documents that were taken last searchable."""
        if self._taken is None:
            return
        (window, encoding), self._taken = self._taken, None
        n_told = self.report.n_embedded
        while not wait([encoding], timeout=_TELL_S).done:
            if self.report.n_embedded > n_told:
                n_told = self.report.n_embedded
                self._tell("")
        vectors = encoding.result()
        with self._events.in_order:
            self._write_in_order(window, vectors)

    def _write_in_order(self, window: list[Prepared], vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """From here on no event of this process comes between what is read of events and what is written."""
        events = self._events.since(self.listed_at)
        for item in [item for item in window if is_deleted(events.get(item.document_id))]:
            window.remove(item)
            self.n_deleted += 1
            self._account_gone(item)
        writable = [item for item in window if not self._keeps_earlier_version(item)]
        self._ledger.put([self._row(item, "pending", events) for item in writable])
        self._store.upsert(self._collection, self._points(writable, events, vectors))
        for item in writable:
            if item.document_id in self.rows:  # a document without a row has no earlier points
                kept = [chunk.chunk_id for chunk in item.chunks]
                self._store.delete_document(self._collection, item.document_id, keep=kept)
        for item in window:
            if self._keeps_earlier_version(item):
                self._keep_readers(item, events)
        rows = [self._row(item, item.state, events) for item in window]
        self._ledger.put(rows)
        self.rows.update((row.document_id, row) for row in rows)
        self.written.update(item.document_id for item in window)
        self._obey_new([item.document_id for item in window], events)
        for item, row in zip(window, rows, strict=True):
            if item.document_id in self.rows:
                self._account(item, row)
            else:
                self._account_gone(item)

    def follow_events(self) -> None:
        """Take over what events did to documents since the listing: nothing must write their old rows again."""
        self._reread(self._events.since(self.listed_at))

    def set_access(self, document_id: str, acl: tuple[str, ...]) -> None:
        """Other readers for a document whose content stays: its points first, for they are what a search reads."""
        event = self._events.newest_since(self.listed_at, document_id)
        if event is not None:
            return
        self._store.set_access(self._collection, document_id, acl=acl)
        self._ledger.set_acl(document_id, acl)
        if document_id in self.rows:
            self.rows[document_id] = replace(self.rows[document_id], acl=acl)
        self._obey_new([document_id], {})
        self.report.n_permissions += 1

    def remove(self, document_ids: Iterable[str]) -> None:
        """Take documents out: points first, so that no row is missing while something can still be found."""
        doomed = list(document_ids)
        if doomed:
            self._store.delete_documents(self._collection, doomed)
            self._ledger.remove(*doomed)
            for document_id in doomed:
                self.rows.pop(document_id, None)

    def expire(self, rows: Iterable[DocumentRow]) -> None:
        """Take out documents whose date has come; their rows stay and say so."""
        for row in rows:
            self._store.delete_document(self._collection, row.document_id)
            over = expired(row)
            self._ledger.put([over])
            self.rows[row.document_id] = over
            self._obey_new([row.document_id], {})
            self.report.count("expired")
            self.report.problems.append(DocumentProblem(uri=row.uri, state="expired", reason=over.reason))

    def leave_out(self, alike: Sequence[tuple[DocumentRow, str]], listed: Collection[str]) -> None:
        """Take out documents that say the same as others; their rows stay, with the reason.

        Args:
            alike: rows with the reason for each.
            listed: documents that the source named in this sync.
        """
        for row, reason in alike:
            if row.state == "indexed":
                self._store.delete_document(self._collection, row.document_id)
                self.report.count("duplicate")
                self._uncount(row, listed)
                self.report.problems.append(DocumentProblem(uri=row.uri, state="duplicate", reason=reason))
            if (row.state, row.reason) != ("duplicate", reason):
                left = replace(row, state="duplicate", reason=reason, n_chunks=0, updated_at=datetime.now(UTC))
                self._ledger.put([left])
                self.rows[row.document_id] = left
                self._obey_new([row.document_id], {})

    def _uncount(self, row: DocumentRow, listed: Collection[str]) -> None:
        """A document that was counted as searchable in this sync, or was not counted at all, and is left out."""
        if row.document_id in self.written:
            self.report.n_indexed -= 1
        elif row.document_id in listed:
            self.report.n_unchanged -= 1
        else:
            self.report.n_found += 1

    def _watch(self, item: Prepared) -> None:
        """A source that fails for one document after another is away: it must not park all that it has."""
        self.n_away = self.n_away + 1 if item.source_error else 0
        if self.n_away >= _AWAY_AFTER:
            raise SourceError(f"the source of {self.spec.name!r} fails again and again: {item.source_error}")

    def _obey_new(self, document_ids: Sequence[str], before: Mapping[str, SourceEvent]) -> None:
        """Events that arrived while these documents were written."""
        if len(document_ids) == 1:
            newest = self._events.newest_since(self.listed_at, document_ids[0])
            after = {document_ids[0]: newest} if newest is not None else {}
        else:
            after = self._events.since(self.listed_at)
        new = {key: after[key] for key in document_ids if key in after and after[key] != before.get(key)}
        for event in new.values():
            self._events.obey(event, self._collection)
        self._reread(new)

    def _reread(self, document_ids: Collection[str]) -> None:
        found = self._ledger.some([key for key in document_ids if key in self.rows])
        for key in document_ids:
            if key in found:
                self.rows[key] = found[key]
            else:
                self.rows.pop(key, None)

    def _keeps_earlier_version(self, item: Prepared) -> bool:
        """A document that cannot be read any more leaves its last complete version searchable."""
        before = self.rows.get(item.document_id)
        if item.state != "failed" or before is None or before.state not in _HAS_VERSION:
            return False
        return before.expires_at is None or before.expires_at > datetime.now(UTC)

    def _keep_readers(self, item: Prepared, events: dict[str, SourceEvent]) -> None:
        """The version that stays searchable is not readable by whom its source shut out meanwhile."""
        acl = readers(item.item.acl, events.get(item.document_id))
        if self.rows[item.document_id].n_chunks and self.rows[item.document_id].acl != acl:
            self._store.set_access(self._collection, item.document_id, acl=acl)

    def _empties(self, item: Prepared) -> bool:
        """A document that could be found, and of which nothing is left: it goes as a removal goes, or stays."""
        before = self.rows.get(item.document_id)
        if item.state not in ("empty", "skipped") or before is None or not before.n_chunks:
            return False
        self.emptied[item.document_id] = Emptied(
            state=item.state, reason=item.reason, fingerprint=item.fingerprint, listed=item.listed
        )
        self.n_done += 1
        self._tell(item.uri)
        return True

    def settle_emptied(self, *, held: bool) -> None:
        """Take out what has become empty; held, it stays searchable and says so."""
        for key, now in self.emptied.items():
            row = self.rows.get(key)
            if row is None:  # an event removed it meanwhile
                self.report.n_found -= 1
                continue
            reason = f"{now.reason} (its earlier version stays searchable until the removal is accepted)"
            if not held:
                reason = now.reason
                self._store.delete_document(self._collection, key)
                self.rows[key] = now.row(row)
                self._ledger.put([self.rows[key]])
            state: DocumentState = "failed" if held else now.state
            self.report.count(state)
            self.report.problems.append(DocumentProblem(uri=row.uri, state=state, reason=reason))

    def _vectors(self, items: list[Prepared]) -> dict[str, NDArray[np.float32]]:
        """Vectors of all chunks, by id: those that are stored already, and the others encoded."""
        chunks = [chunk for item in items for chunk in item.chunks]
        known = self._known([item for item in items if item.document_id in self.rows], self._collection)
        if self.donor != self._collection:
            known = {**self._known(items, self.donor), **known}
        missing = [chunk for chunk in chunks if chunk.chunk_id not in known]
        encode = self.ahead.embed if self.ahead is not None else self.embedder.embed
        vectors = encode([chunk.embedded_text for chunk in missing], self._embedded)
        dense = {chunk.chunk_id: vector for chunk, vector in zip(missing, vectors, strict=True)}
        self.report.n_reused += len(chunks) - len(missing)
        return {**{key: point.dense for key, point in known.items()}, **dense}

    def _points(
        self, items: list[Prepared], events: dict[str, SourceEvent], vectors: Mapping[str, NDArray[np.float32]]
    ) -> list[Point]:
        """Points of the chunks, for those who may read them now."""
        allowed = {item.document_id: readers(item.item.acl, events.get(item.document_id)) for item in items}
        return [
            Point(
                chunk=chunk.readable_by(allowed[chunk.document_id]),
                dense=vectors[chunk.chunk_id],
                sparse=self._bm25.document(chunk.embedded_text),
            )
            for item in items
            for chunk in item.chunks
        ]

    def _known(self, items: list[Prepared], collection: str) -> dict[str, Point]:
        """Points of these documents' chunks that a collection holds already, with their vectors."""
        ids = [chunk.chunk_id for item in items for chunk in item.chunks]
        return self._store.fetch(collection, ids, where=ANYONE) if ids else {}

    def _embedded(self, n: int) -> None:
        self.report.n_embedded += n  # only here, in the thread that encodes

    def _account_gone(self, item: Prepared) -> None:
        self.gone.add(item.document_id)
        self.n_done += 1
        self.report.n_found -= 1
        self._tell(item.uri)

    def _account(self, item: Prepared, row: DocumentRow) -> None:
        self.n_done += 1
        self.report.count(row.state)
        if row.reason:
            self.report.problems.append(DocumentProblem(uri=row.uri, state=row.state, reason=row.reason))
        self._tell(item.uri)

    def _tell(self, uri: str) -> None:
        self.on_progress(
            Progress(
                stage="index",
                n_documents=self.n_documents,
                n_done=self.n_done,
                n_embedded=self.report.n_embedded,
                uri=uri,
            )
        )

    def _row(self, item: Prepared, state: DocumentState, events: dict[str, SourceEvent]) -> DocumentRow:
        """A document that fails keeps the chunks of its last good version, and its reason says so."""
        before = self.rows.get(item.document_id)
        stays = before if before is not None and before.n_chunks and self._keeps_earlier_version(item) else None
        reason = f"{item.reason} (its earlier version stays searchable)" if stays else item.reason
        attempts = self._attempts(item)
        if state == "failed" and attempts >= self.spec.sync.attempts and item.document_id not in self.away:
            state, reason = (
                "parked",
                f"{reason}; parked after {attempts} failures: `llmops ingest retry` tries again",
            )
        stored = item_json(item.item) if item.item.handle or self.keeps_items else None
        return DocumentRow(
            collection=self._collection,
            document_id=item.document_id,
            uri=item.uri,
            title=item.title,
            state=state,
            reason=reason,
            n_chunks=stays.n_chunks if stays else len(item.chunks),
            n_bytes=item.n_bytes,
            content_hash=item.content_hash,
            fingerprint=item.fingerprint,
            updated_at=datetime.now(UTC),
            listed=item.listed,
            item=stored,
            acl=readers(item.item.acl, events.get(item.document_id)),
            labels=stays.labels if stays else item.labels,
            signature=stays.signature if stays else item.signature,
            attempts=attempts,
            retry_at=retry_at(attempts, self.spec.sync.backoff_s) if state == "failed" else None,
            expires_at=stays.expires_at if stays else item.expires_at,
        )

    def _attempts(self, item: Prepared) -> int:
        before = self.rows.get(item.document_id)
        return attempts_of(item, before, is_away=item.document_id in self.away, planned_at=self.planned_at)
