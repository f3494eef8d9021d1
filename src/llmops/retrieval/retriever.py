"""From a question to hits: two searches in one collection, fused, and only what the caller may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.protocols import Embedder, Filter, MetadataCondition, VectorStore
from llmops.errors import CollectionShapeError, NotFoundError, RequestError, TooLargeError
from llmops.records import Caller, Hit, Point, ScoredId, SparseVector
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval.fusion import Fused, distribution_based, reciprocal_rank
from llmops.retrieval.spec import RetrievalSpec
from llmops.tokens import Bm25

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_QUERY_CHARACTERS = 8_000
RERANKED = 20
"""Hits that headings may put into another order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryVectors:
    """One query, encoded both ways; None where the fusion does without. `dense` is `(dimension,)`, unit length."""

    dense: NDArray[np.float32] | None
    sparse: SparseVector | None


class Retriever:
    """Searches the collection that its name stands for at this moment.

    Args:
        spec: the route's retrieval section.
        collections: resolves the name to a collection and its shape.
        pinned: search this collection, whatever the name stands for: how a candidate is measured.
    """

    def __init__(
        self,
        *,
        spec: RetrievalSpec,
        store: VectorStore,
        embedder: Embedder,
        collections: CollectionBook,
        pinned: str | None = None,
    ) -> None:
        self.spec, self._pinned = spec, pinned
        self._store, self._embedder, self._collections = store, embedder, collections
        self._headings = VectorCache(embedder)

    @property
    def remote(self) -> bool:
        """True when `search` waits for a network, or for the encoder, and belongs in a thread."""
        return self._store.remote or bool(self.spec.heading_weight)

    def shape(self) -> CollectionShape:
        """The collection that answers now.

        Raises:
            NotFoundError: nothing has been ingested under this name.
            CollectionShapeError: it was embedded by another model than the one loaded.
        """
        name = self.spec.collection
        shape = self._collections.get(self._pinned) if self._pinned else self._collections.serving(name)
        if shape is None:
            known = ", ".join(self._collections.names()) or "none yet"
            raise NotFoundError(f"no collection {name!r} (there is: {known}); run `llmops ingest run {name}`")
        if shape.embedder_digest != self._embedder.digest:
            problem = (
                f"collection {shape.collection!r} was embedded by {shape.embedder!r}, not by the model loaded now"
            )
            raise CollectionShapeError(f"{problem}; run `llmops ingest run {shape.name} --rebuild`")
        return shape

    def embed(self, query: str) -> QueryVectors:
        """Encode a query: CPU work of a few milliseconds that belongs in a thread.

        Raises:
            RequestError: the query is empty.
            TooLargeError: it has more than 8,000 characters.
        """
        if not query.strip():
            raise RequestError("the query is empty; write what you are looking for")
        if len(query) > MAX_QUERY_CHARACTERS:
            raise TooLargeError(
                f"the query has {len(query)} characters; at most {MAX_QUERY_CHARACTERS} are searched"
            )
        return QueryVectors(
            dense=None if self.spec.fusion == "sparse" else self._embedder.embed_query(query),
            sparse=None if self.spec.fusion == "dense" else Bm25.query(query),
        )

    def search(
        self,
        vectors: QueryVectors,
        caller: Caller,
        *,
        k: int | None = None,
        metadata: Mapping[str, MetadataCondition] | None = None,
    ) -> list[Hit]:
        """The best `k` chunks that the caller may read, best first."""
        collection = self.shape().collection
        where = Filter(principals=caller.principals, metadata=self._conditions(metadata))
        limit = k or self.spec.k
        dense, sparse = self._store.search(
            collection,
            dense=vectors.dense,
            sparse=vectors.sparse,
            limit=max(self.spec.candidates, limit),
            where=where,
        )
        fused = self._fuse(dense, sparse)[: max(limit, RERANKED) if self.spec.heading_weight else limit]
        points = self._store.fetch(collection, [chunk_id for chunk_id, _ in fused], where=where)
        if self.spec.heading_weight and vectors.dense is not None:
            fused = self._by_headings(fused, points, vectors.dense)[:limit]
        dense_scores = {found.chunk_id: found.score for found in dense}
        sparse_scores = {found.chunk_id: found.score for found in sparse}
        present = [(chunk_id, score) for chunk_id, score in fused if chunk_id in points]
        return [
            Hit(
                chunk=points[chunk_id].chunk,
                rank=rank,
                score=score,
                dense_score=dense_scores.get(chunk_id),
                sparse_score=sparse_scores.get(chunk_id),
            )
            for rank, (chunk_id, score) in enumerate(present, start=1)
        ]

    def _fuse(self, dense: list[ScoredId], sparse: list[ScoredId]) -> Fused:
        match self.spec.fusion:
            case "dbsf":
                return distribution_based([dense, sparse])
            case "rrf":
                return reciprocal_rank([dense, sparse], k=self.spec.rrf_k)
            case "dense" | "sparse":
                return [(found.chunk_id, found.score) for found in dense or sparse]
            case _:
                assert_never(self.spec.fusion)

    def _by_headings(self, fused: Fused, points: Mapping[str, Point], question: NDArray[np.float32]) -> Fused:
        """The best hits in a new order: their scores scaled to [0, 1], plus the weighted cosine of their headings.

        A passage's vector mixes its heading with its text; the heading alone often says the question.
        """
        present = [(chunk_id, score) for chunk_id, score in fused if chunk_id in points]
        if not present:
            return present
        chunks = [points[chunk_id].chunk for chunk_id, _ in present]
        headings = [chunk.heading_path[-1] if chunk.heading_path else chunk.title for chunk in chunks]
        cosines = self._headings.embed(headings) @ question
        scores = [score for _, score in present]
        low, width = min(scores), (max(scores) - min(scores)) or 1.0
        weighed = [
            (chunk_id, (score - low) / width + self.spec.heading_weight * float(cosine))
            for (chunk_id, score), cosine in zip(present, cosines, strict=True)
        ]
        return sorted(weighed, key=lambda item: (-item[1], item[0]))

    def _conditions(self, asked: Mapping[str, MetadataCondition] | None) -> dict[str, MetadataCondition]:
        """The route's own filter always holds; a caller can narrow it, not replace it."""
        fixed: dict[str, MetadataCondition] = dict(self.spec.filter)  # type: ignore[arg-type]  # checked by the store
        clash = sorted(set(fixed) & set(asked or {}))
        if clash:
            raise RequestError(f"the route already fixes {clash[0]!r}; leave it out of your filter")
        return {**fixed, **(asked or {})}
