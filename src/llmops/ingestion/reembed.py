"""A candidate with another encoder, made from stored chunks: no source is asked and no document is parsed.

What answers keeps its documents cut as they are; a new encoder reads the same passages. Each document goes over
whole, with its row, so that the sync that follows finds it unchanged; what does not fit is left to that sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from llmops.clients.protocols import Embedder, Filter
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.erasure import forgotten_documents
from llmops.ingestion.shape import Indexer, making
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Chunk, Point
from llmops.releases import CollectionShape
from llmops.tokens import Bm25

_WINDOW_CHUNKS = 256
_MAX_DOCUMENTS = 500  # in one question to the store

OnTaken = Callable[[int, int, int], None]
"""Told of documents done, documents in all, and chunks embedded since the last time."""


def donor_for(spec: IngestionSpec, indexer: Indexer, embedder: Embedder) -> CollectionShape | None:
    """The collection that answers, where only its encoder differs from what the spec says now."""
    serving = indexer.collections.serving(spec.name)
    if serving is None or serving.embedder_digest == embedder.digest or dict(serving.chunker) != making(spec):
        return None
    return serving


def take_over(
    spec: IngestionSpec,
    indexer: Indexer,
    embedder: Embedder,
    shape: CollectionShape,
    rows: dict[str, DocumentRow],
    *,
    on_taken: OnTaken = lambda _done, _of, _n: None,
) -> None:
    """Fill a candidate from what answers; begun again after a kill, it goes on where it stopped.

    A document with a chunk that the new encoder would cut off is not taken over.

    Args:
        rows: of the candidate; what is taken over is added.
    """
    donor = donor_for(spec, indexer, embedder)
    if donor is None or donor.collection == shape.collection:
        return
    _Taking(spec=spec, indexer=indexer, embedder=embedder, donor=donor, shape=shape, rows=rows).run(on_taken)


@dataclass(kw_only=True)
class _Taking:
    spec: IngestionSpec
    indexer: Indexer
    embedder: Embedder
    donor: CollectionShape
    shape: CollectionShape
    rows: dict[str, DocumentRow]
    n_embedded: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._old = DocumentLedger(self.indexer.database, self.donor.collection)
        self._new = DocumentLedger(self.indexer.database, self.shape.collection)
        self._bm25 = Bm25(average_terms=self.shape.average_terms)

    def run(self, on_taken: OnTaken) -> None:
        forgotten = forgotten_documents(self.indexer.database, self.spec.name)
        wanted = [
            row
            for key, row in sorted(self._old.rows().items())
            if key not in forgotten and row.state != "pending" and self._is_missing(key)
        ]
        n_done = 0
        for window in _windows(wanted):
            self._take(window)
            n_done += len(window)
            on_taken(n_done, len(wanted), self.n_embedded)
            self.n_embedded = 0

    def _is_missing(self, key: str) -> bool:
        """Not there, or not whole: a run was killed while it was written."""
        return key not in self.rows or self.rows[key].state == "pending"

    def _take(self, window: Sequence[DocumentRow]) -> None:
        chunks = self._fitting(window)
        taken = [row for row in window if not row.n_chunks or row.document_id in chunks]
        mine = [replace(row, collection=self.shape.collection, updated_at=datetime.now(UTC)) for row in taken]
        self._new.put([replace(row, state="pending") for row in mine if row.n_chunks])
        passages = [chunk for row in mine for chunk in chunks.get(row.document_id, ())]
        if passages:
            self.indexer.store.upsert(self.shape.collection, self._points(passages))
        self._new.put(mine)
        self.rows.update((row.document_id, row) for row in mine)
        self._follow(mine)

    def _fitting(self, window: Sequence[DocumentRow]) -> Mapping[str, list[Chunk]]:
        """Chunks of the documents that are whole and whose every chunk the encoder reads to its end."""
        keys = [row.document_id for row in window if row.n_chunks]
        found: dict[str, list[Chunk]] = {key: [] for key in keys}
        if keys:
            here = Filter(principals=None, metadata={"document_id": keys})
            for point in self.indexer.store.scroll(self.donor.collection, where=here, vectors=False):
                found[point.chunk.document_id].append(point.chunk)
        n_chunks = {row.document_id: row.n_chunks for row in window}
        fitting = {}
        for key, chunks in found.items():
            counted = self._counted(chunks)
            if len(chunks) == n_chunks[key] and all(c.n_tokens <= self.embedder.max_tokens for c in counted):
                fitting[key] = counted
        return fitting

    def _counted(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The same chunks, in word pieces of the new encoder."""
        ordered = sorted(chunks, key=lambda chunk: chunk.ordinal)
        n_tokens = self.embedder.count_tokens([chunk.embedded_text for chunk in ordered])
        n_context = self.embedder.count_tokens([chunk.context for chunk in ordered])
        return [
            replace(chunk, n_tokens=n, n_context_tokens=context if chunk.context else 0)
            for chunk, n, context in zip(ordered, n_tokens, n_context, strict=True)
        ]

    def _points(self, chunks: Sequence[Chunk]) -> list[Point]:
        vectors = self.embedder.embed([chunk.embedded_text for chunk in chunks])
        self.n_embedded += len(chunks)
        return [
            Point(chunk=chunk, dense=vector, sparse=self._bm25.document(chunk.embedded_text))
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]

    def _follow(self, mine: Sequence[DocumentRow]) -> None:
        """Readers and removals that reached what answers after it was read, and before it was written here."""
        now = self._old.some([row.document_id for row in mine])
        forgotten = forgotten_documents(self.indexer.database, self.spec.name)
        store, collection = self.indexer.store, self.shape.collection
        for row in mine:
            key = row.document_id
            if key not in now or key in forgotten:
                store.delete_document(collection, key)
                self._new.remove(key)
                self.rows.pop(key, None)
            elif now[key].acl != row.acl:
                acl = now[key].acl or ()
                store.set_access(collection, key, acl=acl)
                self._new.set_acl(key, acl)
                self.rows[key] = replace(row, acl=acl)


def _windows(rows: Sequence[DocumentRow]) -> Iterator[list[DocumentRow]]:
    """Documents together, with about 256 chunks; one that has more stands alone."""
    window: list[DocumentRow] = []
    for row in rows:
        is_full = sum(one.n_chunks for one in window) + row.n_chunks > _WINDOW_CHUNKS
        if window and (is_full or len(window) >= _MAX_DOCUMENTS):
            yield window
            window = []
        window.append(row)
    if window:
        yield window
