"""An ingestion run: source → documents → chunks → points, and a ledger row for each document.

Order makes it safe to kill at any moment. A document's row is "pending" before its first point is written;
new points are written before old ones are removed; the row is "indexed" last. A run that was killed is begun
again, finds the pending rows and does just those documents once more, with the same point ids.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llmops.clients.protocols import Embedder, Filter
from llmops.errors import ConfigurationError, DocumentError
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.folder import SourceFile, fetch, list_folder
from llmops.ingestion.prepare import Prepared, document_id, fingerprint, read_ahead
from llmops.ingestion.report import DocumentProblem, IngestReport, Progress
from llmops.ingestion.shape import Indexer, create, discard, shape_to_fill
from llmops.ingestion.spec import IngestionSpec
from llmops.records import DocumentState, Point
from llmops.releases import CollectionShape
from llmops.tokens import Bm25, terms

_WINDOW_CHUNKS = 256
_SAMPLE_CHUNKS = 2_000
_ANYONE = Filter(principals=None)

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to run.

    Attributes:
        rebuild: build a new collection beside the old one; the name points to it when it is complete.
        beside: build or update a candidate beside the one that answers; only a release lets it answer.
        allow_empty: obey a source that has become empty instead of holding the documents it had.
    """

    rebuild: bool = False
    beside: bool = False
    allow_empty: bool = False


def ingest(
    spec: IngestionSpec,
    indexer: Indexer,
    *,
    options: Options | None = None,
    on_progress: OnProgress = lambda _: None,
) -> IngestReport:
    """Bring the collection in line with its source; a second run right after it embeds nothing.

    Raises:
        SpecError: the source folder is missing.
        CollectionShapeError: embedder or chunking changed; rebuild.
        StorageError: the ledger or the vectors cannot be written; what is stored stays.
    """
    options = options or Options()
    started = time.perf_counter()
    root = (Path(spec.file).parent / spec.source.path).resolve()
    listing = list_folder(spec.source, root, spec_file=spec.file)
    embedder = indexer.load_embedder(spec.encoder)
    if spec.chunk.max_tokens > embedder.max_tokens:
        problem = f"chunk.max_tokens {spec.chunk.max_tokens} is more than {embedder.name!r} reads"
        raise ConfigurationError(f"{spec.file}: {problem}; at most {embedder.max_tokens}")
    shape = shape_to_fill(spec, indexer, embedder, rebuild=options.rebuild, beside=options.beside)
    rows = DocumentLedger(indexer.database, shape.collection).rows() if shape else {}
    if shape is not None and not any(row.n_chunks for row in rows.values()):
        discard(shape, indexer)  # made from nothing, so that its mean chunk length is no measure
        shape, rows = None, {}
    report = IngestReport(name=spec.name, collection=shape.collection if shape else "", n_found=len(listing.files))
    report.listing_problems = listing.problems
    n_held = _n_searchable(spec.name, indexer)
    if n_held and not listing.files and not options.allow_empty:
        problem = f"the source of {spec.name!r} is empty but the collection holds {n_held} documents"
        raise ConfigurationError(f"{problem}; nothing was removed: mend source.path, or pass --allow-empty")
    changed = _changed(listing.files, spec, rows, report, on_progress)
    with read_ahead(_mixed(changed), spec, embedder.count_tokens) as ready:
        prepared = ready
        if shape is None:
            prepared, average_terms = _measured(ready)
            shape = create(spec, indexer, embedder, average_terms)
            report.collection = shape.collection
        run = _Run(
            name=spec.name,
            shape=shape,
            indexer=indexer,
            embedder=embedder,
            rows=rows,
            report=report,
            on_progress=on_progress,
            n_documents=len(changed),
            beside=options.beside,
        )
        run.index(prepared)
    run.remove_missing({document_id(spec, file.uri) for file in listing.files}, complete=not listing.problems)
    run.finish(complete=not listing.problems)
    report.duration_s = time.perf_counter() - started
    return report


def _n_searchable(name: str, indexer: Indexer) -> int:
    """Documents that answer under this name now."""
    serving = indexer.collections.serving(name)
    rows = DocumentLedger(indexer.database, serving.collection).rows().values() if serving else ()
    return sum(row.n_chunks > 0 for row in rows)


def _changed(
    files: list[SourceFile],
    spec: IngestionSpec,
    rows: dict[str, DocumentRow],
    report: IngestReport,
    on_progress: OnProgress,
) -> list[SourceFile]:
    """Files whose fingerprint is not the ledger's; the others are counted, with what was wrong with them."""
    changed = []
    for n_done, file in enumerate(files, start=1):
        row = rows.get(document_id(spec, file.uri))
        if row is None or row.state == "pending" or not _is_same(file, spec, row):
            changed.append(file)
        elif row.state == "indexed":
            report.n_unchanged += 1
        else:
            report.count(row.state)
            report.problems.append(DocumentProblem(uri=row.uri, state=row.state, reason=row.reason))
        on_progress(Progress(stage="scan", n_documents=len(files), n_done=n_done, n_embedded=0, uri=file.uri))
    return changed


def _is_same(file: SourceFile, spec: IngestionSpec, row: DocumentRow) -> bool:
    try:
        _, content_hash = fetch(file, max_bytes=spec.source.max_file_bytes)
    except DocumentError:
        return False
    return row.fingerprint == fingerprint(spec, content_hash)


def _mixed(files: list[SourceFile]) -> list[SourceFile]:
    """An order that mixes the folders, the same in every run: the first chunks are a fair sample of all."""
    return sorted(files, key=lambda file: hashlib.blake2b(file.uri.encode("utf-8", "replace")).digest())


def _measured(prepared: Iterator[Prepared]) -> tuple[Iterator[Prepared], float]:
    """Mean number of BM25 terms in the first 2,000 chunks, and the documents as if they had not been looked at."""
    sample: list[Prepared] = []
    lengths: list[int] = []
    for item in prepared:
        sample.append(item)
        lengths.extend(len(terms(chunk.embedded_text)) for chunk in item.chunks)
        if len(lengths) >= _SAMPLE_CHUNKS:
            break
    return itertools.chain(sample, prepared), max(sum(lengths) / len(lengths), 1.0) if lengths else 1.0


@dataclass(kw_only=True)
class _Run:
    """One run over one collection."""

    name: str
    shape: CollectionShape
    indexer: Indexer
    embedder: Embedder
    rows: dict[str, DocumentRow]
    report: IngestReport
    on_progress: OnProgress
    n_documents: int
    beside: bool
    n_done: int = 0

    def __post_init__(self) -> None:
        serving = self.indexer.collections.serving(self.name)
        is_alike = serving is not None and serving.embedder_digest == self.shape.embedder_digest
        # A candidate takes over the vectors of unchanged text; a rebuild makes them anew, for they may be damaged.
        may_take = serving is not None and is_alike and self.beside
        self._donor = serving.collection if serving is not None and may_take else self.shape.collection
        self._store, self._collection = self.indexer.store, self.shape.collection
        self._ledger = DocumentLedger(self.indexer.database, self.shape.collection)
        self._bm25 = Bm25(average_terms=self.shape.average_terms)

    def index(self, prepared: Iterable[Prepared]) -> None:
        window: list[Prepared] = []
        for item in prepared:
            window.append(item)
            if sum(len(p.chunks) for p in window) >= _WINDOW_CHUNKS:
                self._write(window)
                window = []
        self._write(window)

    def remove_missing(self, present: set[str], *, complete: bool) -> None:
        """Remove documents that the source no longer lists, when the listing is known to be complete."""
        if not complete:
            return
        for row in [row for key, row in self.rows.items() if key not in present]:
            self._store.delete_document(self._collection, row.document_id)
            self._ledger.remove(row.document_id)
            self.report.n_removed += 1

    def finish(self, *, complete: bool) -> None:
        """Let the name answer from this collection, unless that would lose what could not be listed."""
        self._store.flush()
        book = self.indexer.collections
        serving = book.serving(self.name)
        is_beside = serving is not None and serving.collection != self._collection
        is_new = serving is None or is_beside or serving.state == "building"
        if self.beside and complete:
            book.complete(self._collection)
        elif not self.beside and is_new and (complete or not is_beside):
            before = serving.collection if serving is not None else ""
            book.point(self.name, self._collection)
            candidate = book.candidate(self.name)
            self._discard_all_but({self._collection, before, candidate.collection if candidate else ""})
        self.report.n_chunks = self._store.count(self._collection, where=_ANYONE)
        self.report.is_candidate = self.beside and complete

    def _discard_all_but(self, kept: set[str]) -> None:
        """Keep what answers now, what a rollback would go back to, and a candidate that waits for its release."""
        for old in self.indexer.collections.all():
            if old.name == self.name and old.collection not in kept:
                discard(old, self.indexer)

    def _write(self, window: list[Prepared]) -> None:
        """Make a window of documents searchable, in the order that survives a kill."""
        writable = [item for item in window if not self._keeps_earlier_version(item)]
        self._ledger.put([self._row(item, "pending") for item in writable])
        self._store.upsert(self._collection, self._points(writable))
        for item in writable:
            if item.document_id in self.rows:  # a document without a row has no earlier points
                kept = [chunk.chunk_id for chunk in item.chunks]
                self._store.delete_document(self._collection, item.document_id, keep=kept)
        self._ledger.put([self._row(item, item.state) for item in window])
        for item in window:
            self._account(item)

    def _keeps_earlier_version(self, item: Prepared) -> bool:
        """A file that cannot be read any more leaves its last complete version searchable."""
        before = self.rows.get(item.document_id)
        return item.state == "failed" and before is not None and before.state in ("indexed", "failed")

    def _points(self, items: list[Prepared]) -> list[Point]:
        chunks = [chunk for item in items for chunk in item.chunks]
        known = self._known([item for item in items if item.document_id in self.rows], self._collection)
        if self._donor != self._collection:
            known = {**self._known(items, self._donor), **known}
        missing = [chunk for chunk in chunks if chunk.chunk_id not in known]
        vectors = self.embedder.embed([chunk.embedded_text for chunk in missing], self._embedded)
        dense = {chunk.chunk_id: vector for chunk, vector in zip(missing, vectors, strict=True)}
        self.report.n_reused += len(chunks) - len(missing)
        return [
            Point(
                chunk=chunk,
                dense=dense[chunk.chunk_id] if chunk.chunk_id in dense else known[chunk.chunk_id].dense,
                sparse=self._bm25.document(chunk.embedded_text),
            )
            for chunk in chunks
        ]

    def _known(self, items: list[Prepared], collection: str) -> dict[str, Point]:
        """Points of these documents' chunks that a collection holds already, with their vectors."""
        ids = [chunk.chunk_id for item in items for chunk in item.chunks]
        return self._store.fetch(collection, ids, where=_ANYONE) if ids else {}

    def _embedded(self, n: int) -> None:
        self.report.n_embedded += n
        self._tell("")

    def _account(self, item: Prepared) -> None:
        self.n_done += 1
        self.report.count(item.state)
        if item.state != "indexed":
            self.report.problems.append(DocumentProblem(uri=item.uri, state=item.state, reason=item.reason))
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

    def _row(self, item: Prepared, state: DocumentState) -> DocumentRow:
        """A document that fails keeps the chunks of its last good version, and its reason says so."""
        kept = self.rows[item.document_id].n_chunks if self._keeps_earlier_version(item) else 0
        reason = f"{item.reason} (its earlier version stays searchable)" if kept else item.reason
        return DocumentRow(
            collection=self._collection,
            document_id=item.document_id,
            uri=item.uri,
            title=item.title,
            state=state,
            reason=reason,
            n_chunks=kept or len(item.chunks),
            n_bytes=item.n_bytes,
            content_hash=item.content_hash,
            fingerprint=item.fingerprint,
            updated_at=datetime.now(UTC),
        )
