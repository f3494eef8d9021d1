"""A Qdrant server or cluster, as a `VectorStore`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from qdrant_client import QdrantClient, models

from llmops.clients.protocols import Filter, SearchSettings, StoreSettings
from llmops.clients.vectors.clauses import AnyText, Clause, clauses, of_documents, of_tenant
from llmops.clients.vectors.names import (
    ACL,
    DENSE,
    DOCUMENT,
    SLICE,
    SPARSE,
    TENANT,
    check_collection,
    is_point_id,
)
from llmops.clients.vectors.payload import access_keys, our_point
from llmops.clients.vectors.ranking import Query, asked, ranked
from llmops.clients.vectors.server_errors import Server
from llmops.clients.vectors.server_forms import (
    scored,
    server_filter,
    server_point,
    server_queries,
)
from llmops.clients.vectors.server_settings import (
    collection_arguments,
    dense_params,
    payload_indexes,
    sparse_params,
)
from llmops.errors import ConfigurationError, StorageError
from llmops.records import Point, ScoredId, SparseVector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STATE, _MAKING, _MADE = "llmops", "making", "made"


class ServerStore:
    """Collections on a server; safe for use by several threads.

    Args:
        client: used instead of one made for `url`; `url` then only names it in errors.

    Raises:
        ConfigurationError: `url` is not an address.
    """

    remote = True

    def __init__(
        self, url: str, api_key: str = "", timeout_s: float = 10, client: QdrantClient | None = None
    ) -> None:
        self._server = Server(url, timeout_s, self.collections)
        self._closed = False
        self._client = client or _client(url, self._server.shown, api_key, timeout_s)

    def create(
        self,
        collection: str,
        *,
        dimension: int,
        metadata: Mapping[str, Any],
        settings: StoreSettings | None = None,
    ) -> None:
        """Make an empty collection with its indexes; what a killed `create` left is made anew.

        Raises:
            ConfigurationError: it exists, its name is not one, or a setting is none that a server knows.
        """
        settings = settings or StoreSettings()
        arguments, indexes = collection_arguments(dimension, settings), payload_indexes(settings)
        with self._calling(collection):
            if self._client.collection_exists(collection):
                if not self._is_half_made(collection):
                    raise ConfigurationError(f"collection {collection!r} exists already: drop it first")
                self._client.delete_collection(collection)
            self._client.create_collection(collection, metadata={_STATE: _MAKING}, **arguments)
            for field, schema in indexes.items():
                self._client.create_payload_index(collection, field, field_schema=schema, wait=True)
            self._client.update_collection(collection, metadata={**metadata, _STATE: _MADE})

    def _is_half_made(self, collection: str) -> bool:
        metadata = self._client.get_collection(collection).config.metadata or {}
        return metadata.get(_STATE) == _MAKING

    def drop(self, collection: str) -> None:
        """Remove a collection; one that is not there is no error."""
        with self._calling(collection):
            self._client.delete_collection(collection)

    def collections(self) -> list[str]:
        """Names, in order; also of collections that others made."""
        self._check_open()
        with self._server.calling():
            return sorted(c.name for c in self._client.get_collections().collections)

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Store points, replacing those of the same id; returns when the server has applied them."""
        for start in range(0, len(points), SLICE):
            made = [server_point(point) for point in points[start : start + SLICE]]
            with self._calling(collection):
                self._client.upsert(collection, made, wait=True)

    def set_access(self, collection: str, document_id: str, *, acl: Sequence[str]) -> None:
        """Let these principals read the document, and nobody else; no vector is touched."""
        its_points = of_documents(document_id)
        records = self._records(collection, server_filter([its_points]), 1024, payload=[TENANT], vectors=False)
        for tenant in {(record.payload or {}).get(TENANT, "") for record in records}:
            only, payload = server_filter([its_points, of_tenant(tenant)]), {ACL: access_keys(tenant, acl)}
            with self._calling(collection):
                self._client.set_payload(collection, payload, only, wait=True)

    def delete_document(self, collection: str, document_id: str, *, keep: Collection[str] = ()) -> None:
        """Remove the document's points except the ids in `keep`."""
        doomed = server_filter([of_documents(document_id)], but=[i for i in keep if is_point_id(i)])
        with self._calling(collection):
            self._client.delete(collection, models.FilterSelector(filter=doomed), wait=True)

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Remove all points of these documents."""
        for start in range(0, len(document_ids), SLICE):
            doomed = server_filter([of_documents(*document_ids[start : start + SLICE])])
            with self._calling(collection):
                self._client.delete(collection, models.FilterSelector(filter=doomed), wait=True)

    def fetch(
        self, collection: str, chunk_ids: Sequence[str], *, where: Filter, vectors: bool = True
    ) -> dict[str, Point]:
        """The points with these ids that `where` lets through, in the order asked."""
        must = self._must(collection, where)
        if must is None:
            return {}
        wanted = [i for i in dict.fromkeys(chunk_ids) if is_point_id(i)]
        found: dict[str, Point] = {}
        for start in range(0, len(wanted), SLICE):
            ids = wanted[start : start + SLICE]
            page, _ = self._page(collection, server_filter(must, ids=ids), len(ids), vectors=vectors)
            found.update((str(record.id), our_point(record)) for record in page)
        return {i: found[i] for i in wanted if i in found}

    def count(self, collection: str, *, where: Filter) -> int:
        """How many points `where` lets through."""
        must = self._must(collection, where)
        if must is None:
            return 0
        with self._calling(collection):
            return self._client.count(collection, count_filter=server_filter(must), exact=True).count

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
        """The best by cosine and the best by BM25 in one round trip; equal scores in the order of ids."""
        must = self._must(collection, where)
        only = server_filter(must or ())
        tenant = where.tenant if where.principals is not None else ""
        params = {DENSE: dense_params(settings or SearchSettings()), SPARSE: sparse_params(tenant)}

        def ask(queries: Mapping[str, Query], n: int) -> dict[str, list[ScoredId]]:
            requests = server_queries(queries, n, only, params)
            with self._calling(collection):
                batch = self._client.query_batch_points(collection, requests)
            return {name: scored(response) for name, response in zip(queries, batch, strict=True)}

        best = ranked(asked(dense, sparse) if must is not None else {}, limit, ask)
        return best.get(DENSE, []), best.get(SPARSE, [])

    def document_ids(self, collection: str) -> dict[str, int]:
        """Every document with the number of its points; reads neither vectors nor texts."""
        pages = self._records(collection, server_filter(()), 1024, payload=[DOCUMENT], vectors=False)
        return dict(Counter((record.payload or {}).get(DOCUMENT, "") for record in pages))

    def scroll(self, collection: str, *, where: Filter, batch: int = 256, vectors: bool = True) -> Iterator[Point]:
        """Every point that `where` lets through, in the order of ids; `batch` are read at a time."""
        must = self._must(collection, where)
        if must is None:
            return iter(())
        return map(our_point, self._records(collection, server_filter(must), batch, vectors=vectors))

    def _records(
        self,
        collection: str,
        only: models.Filter,
        batch: int,
        *,
        payload: bool | list[str] = True,
        vectors: bool,
    ) -> Iterator[models.Record]:
        """Pages one after the other; the first is read now, so that what is wrong is said now."""

        def ask(offset: Any) -> tuple[list[models.Record], Any]:
            return self._page(collection, only, batch, offset, payload=payload, vectors=vectors)

        def following(page: list[models.Record], offset: Any) -> Iterator[models.Record]:
            yield from page
            while offset is not None:
                page, offset = ask(offset)
                yield from page

        return following(*ask(None))

    def _must(self, collection: str, where: Filter) -> list[Clause] | None:
        """What must hold, or `None` when nothing can match, which is then not left to the server."""
        must = clauses(where)
        if must is None:
            with self._calling(collection):
                self._client.get_collection(collection)
        elif where.principals is not None and where.tenant:
            # a principal as it is stored says its tenant too: this leads to the tenant's part of the index
            must.append((AnyText(key=TENANT, values=(where.tenant,)),))
        return must

    def _page(
        self,
        collection: str,
        only: models.Filter,
        limit: int,
        offset: Any = None,
        *,
        payload: bool | list[str] = True,
        vectors: bool = True,
    ) -> tuple[list[models.Record], Any]:
        with self._calling(collection):
            return self._client.scroll(
                collection, only, limit, offset=offset, with_payload=payload, with_vectors=vectors
            )

    def compact(self, collection: str) -> None:
        """Nothing to do: a server's optimizer removes what was deleted in its own time."""
        self._check_open()
        check_collection(collection)

    def flush(self) -> None:
        """Nothing to do: a server answers a write when it is in its write-ahead log."""
        self._check_open()

    def close(self) -> None:
        """Give the connections back; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"the vector store at {self._server.shown!r} is closed: open it again")

    def _calling(self, collection: str) -> AbstractContextManager[None]:
        self._check_open()
        check_collection(collection)
        return self._server.calling(collection)


def _client(url: str, shown: str, api_key: str, timeout_s: float) -> QdrantClient:
    try:
        # the check of versions would be one more request, and a warning where it fails
        return QdrantClient(
            url=url, api_key=api_key or None, timeout=max(1, round(timeout_s)), check_compatibility=False
        )
    except ValueError as exc:
        raise ConfigurationError(
            f"LLMOPS_QDRANT_URL is {shown!r}, which is no address ({exc}): write it like http://HOST:6333"
        ) from exc
