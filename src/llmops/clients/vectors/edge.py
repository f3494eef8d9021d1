"""Qdrant's own engine in this process, as a `VectorStore`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qdrant_edge as edge

from llmops.clients.protocols import Filter, SearchSettings, StoreSettings
from llmops.clients.vectors.clauses import Clause, clauses, of_documents, of_tenant
from llmops.clients.vectors.edge_errors import ROOM_TO_OPEN, ROOM_TO_WRITE, check_room
from llmops.clients.vectors.edge_forms import (
    edge_filter,
    edge_point,
    edge_queries,
    scored,
    scroll_request,
    tenant_corpus,
)
from llmops.clients.vectors.edge_shards import EdgeShards
from llmops.clients.vectors.names import ACL, DENSE, DOCUMENT, SLICE, SPARSE, TENANT, is_point_id
from llmops.clients.vectors.payload import access_keys, our_point
from llmops.clients.vectors.ranking import Query, asked, ranked
from llmops.records import Point, ScoredId, SparseVector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_LOOKED_THROUGH = 300
"""Best of all points among which a caller who may see most of them will find enough."""
_MOST = 0.6


class EdgeStore:
    """Collections in a folder that this process owns until `close`; safe for use by several threads.

    Searches are exact: no index is ever built here, for that would stop all threads for seconds.

    Raises:
        WorkspaceBusyError: another process owns `directory`.
        StorageError: `directory` cannot be written.
    """

    remote = False

    def __init__(self, directory: Path) -> None:
        self._shards = EdgeShards(directory)

    def create(
        self,
        collection: str,
        *,
        dimension: int,
        metadata: Mapping[str, Any],
        settings: StoreSettings | None = None,
    ) -> None:
        """Make an empty collection; `metadata` is laid beside its points for people to read.

        Raises:
            ConfigurationError: it exists, its name is not one, or a setting asks for what only a server has.
        """
        settings = settings or StoreSettings()
        self._shards.create(collection, dimension=dimension, metadata=metadata, settings=settings)

    def drop(self, collection: str) -> None:
        """Remove a collection, damaged or not; one that is not there is no error."""
        self._shards.drop(collection)

    def collections(self) -> list[str]:
        """Names, in order."""
        return self._shards.names()

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Store points, replacing those of the same id."""
        self._shards.get(collection)
        for start in range(0, len(points), SLICE):
            made = [edge_point(point) for point in points[start : start + SLICE]]
            with self._shards.writing, self._shards.calling(collection):
                check_room(self._shards.directory, ROOM_TO_WRITE)
                self._shards.update(collection, edge.UpdateOperation.upsert_points(made))

    def set_access(self, collection: str, document_id: str, *, acl: Sequence[str]) -> None:
        """Let these principals read the document, and nobody else; no vector is touched."""
        its_points = of_documents(document_id)
        with (
            self._shards.writing
        ):  # from the first look to the last write: the shard must not be exchanged between
            shard = self._shards.get(collection)
            only = edge_filter([its_points])
            records = self._records(collection, shard, only, 1024, payload=[TENANT], vectors=False)
            for tenant in {(record.payload or {}).get(TENANT, "") for record in records}:
                only, payload = edge_filter([its_points, of_tenant(tenant)]), {ACL: access_keys(tenant, acl)}
                with self._shards.calling(collection):
                    check_room(self._shards.directory, ROOM_TO_OPEN)
                    self._shards.update(collection, edge.UpdateOperation.set_payload_by_filter(only, payload))

    def delete_document(self, collection: str, document_id: str, *, keep: Collection[str] = ()) -> None:
        """Remove the document's points except the ids in `keep`."""
        self._delete(collection, edge_filter([of_documents(document_id)], but=[i for i in keep if is_point_id(i)]))

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Remove all points of these documents."""
        self._shards.get(collection)
        for start in range(0, len(document_ids), SLICE):
            self._delete(collection, edge_filter([of_documents(*document_ids[start : start + SLICE])]))

    def _delete(self, collection: str, doomed: edge.Filter) -> None:
        with self._shards.writing, self._shards.calling(collection):
            check_room(self._shards.directory, ROOM_TO_OPEN)
            self._shards.update(collection, edge.UpdateOperation.delete_points_by_filter(doomed))

    def compact(self, collection: str) -> None:
        """Write the collection anew, without what was deleted: its bytes, and its words in the counts of BM25."""

        def copy(old: edge.EdgeShard, fresh: edge.EdgeShard) -> None:
            offset: Any = None
            while True:
                page, offset = old.scroll(scroll_request(edge_filter(()), limit=SLICE, offset=offset))
                if page:
                    points = [edge_point(our_point(record)) for record in page]
                    fresh.update(edge.UpdateOperation.upsert_points(points))
                if offset is None:
                    return

        self._shards.rewrite(collection, copy)

    def fetch(
        self, collection: str, chunk_ids: Sequence[str], *, where: Filter, vectors: bool = True
    ) -> dict[str, Point]:
        """The points with these ids that `where` lets through, in the order asked."""
        shard, must = self._shards.get(collection), clauses(where)
        if must is None:
            return {}
        found: dict[str, Point] = {}
        wanted = [i for i in dict.fromkeys(chunk_ids) if is_point_id(i)]
        for start in range(0, len(wanted), SLICE):
            ids = wanted[start : start + SLICE]
            request = scroll_request(edge_filter(must, ids=ids), limit=len(ids), vectors=vectors)
            with self._shards.calling(collection):
                page, _ = shard.scroll(request)
            found.update((str(record.id), our_point(record)) for record in page)
        return {i: found[i] for i in wanted if i in found}

    def count(self, collection: str, *, where: Filter) -> int:
        """How many points `where` lets through."""
        shard, must = self._shards.get(collection), clauses(where)
        if must is None:
            return 0
        with self._shards.calling(collection):
            return shard.count(edge.CountRequest(exact=True, filter=edge_filter(must)))

    def search(
        self,
        collection: str,
        *,
        dense: NDArray[np.float32] | None,
        sparse: SparseVector | None,
        limit: int,
        where: Filter,
        settings: SearchSettings | None = None,
    ) -> tuple[list[ScoredId], list[ScoredId]]:
        """The best by cosine and the best by BM25; equal scores in the order of ids."""
        shard, must = self._shards.get(collection), clauses(where)
        is_old = not where.tenant and not self._shards.knows_tenants(collection)
        corpus = edge.Filter() if where.principals is None or is_old else tenant_corpus(where.tenant)

        def run(queries: Mapping[str, Query], n: int, only: Sequence[Clause]) -> dict[str, list[ScoredId]]:
            request = edge_queries(queries, n, only, corpus=corpus, settings=settings or SearchSettings())
            batch = shard.query_batch(request)
            return {name: scored(points) for name, points in zip(queries, batch, strict=True)}

        def ask(queries: Mapping[str, Query], n: int) -> dict[str, list[ScoredId]]:
            with self._shards.calling(collection):
                found: dict[str, list[ScoredId]] = {}
                if must and DENSE in queries and n <= _LOOKED_THROUGH and _is_most(shard, must):
                    all_best = run({DENSE: queries[DENSE]}, _LOOKED_THROUGH, ())[DENSE]
                    best = _visible(shard, must, all_best)[:n]
                    if len(best) == n:
                        found[DENSE] = best
                rest = {name: query for name, query in queries.items() if name not in found}
                return found | (run(rest, n, must or ()) if rest else {})

        best = ranked(asked(dense, sparse) if must is not None else {}, limit, ask)
        return best.get(DENSE, []), best.get(SPARSE, [])

    def document_ids(self, collection: str) -> dict[str, int]:
        """Every document with the number of its points; reads neither vectors nor texts."""
        shard, everything = self._shards.get(collection), edge_filter(())
        pages = self._records(collection, shard, everything, 1024, payload=[DOCUMENT], vectors=False)
        return dict(Counter((record.payload or {}).get(DOCUMENT, "") for record in pages))

    def scroll(self, collection: str, *, where: Filter, batch: int = 256, vectors: bool = True) -> Iterator[Point]:
        """Every point that `where` lets through, in the order of ids; `batch` are read at a time."""
        shard, must = self._shards.get(collection), clauses(where)
        if must is None:
            return iter(())
        return map(our_point, self._records(collection, shard, edge_filter(must), batch, vectors=vectors))

    def _records(
        self,
        collection: str,
        shard: edge.EdgeShard,
        only: edge.Filter,
        batch: int,
        *,
        payload: bool | list[str] = True,
        vectors: bool,
    ) -> Iterator[edge.Record]:
        offset: Any = None
        while True:
            request = scroll_request(only, limit=batch, offset=offset, payload=payload, vectors=vectors)
            with self._shards.calling(collection):
                page, offset = shard.scroll(request)
            yield from page
            if offset is None:
                return

    def flush(self) -> None:
        """Make all writes durable against power loss, not only against a killed process."""
        self._shards.flush()

    def close(self) -> None:
        """Flush, and give the folder back; a second call does nothing."""
        self._shards.close()


def _is_most(shard: edge.EdgeShard, must: Sequence[Clause]) -> bool:
    """Whether most points pass, as the engine estimates: to walk these costs more than to walk all of them."""
    passing = shard.count(edge.CountRequest(exact=False, filter=edge_filter(must)))
    return passing >= _MOST * shard.count(edge.CountRequest(exact=False))


def _visible(shard: edge.EdgeShard, must: Sequence[Clause], found: Sequence[ScoredId]) -> list[ScoredId]:
    """Those that pass, in their order; the engine says which."""
    only = edge_filter(must, ids=[hit.chunk_id for hit in found])
    page, _ = shard.scroll(scroll_request(only, limit=len(found), payload=False, vectors=False))
    passing = {str(record.id) for record in page}
    return [hit for hit in found if hit.chunk_id in passing]
