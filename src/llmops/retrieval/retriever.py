"""From a question to hits: two searches in one collection, fused, and only what the caller may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from llmops.access import GroupBook
from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.protocols import ChatModel, Embedder, Filter, MetadataCondition, VectorStore
from llmops.clients.rerankers import Reranker
from llmops.errors import CollectionShapeError, EndpointError, NotFoundError, RequestError, TooLargeError
from llmops.records import Caller, Hit, Point, ScoredId, SparseVector
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval.diversity import maximal_marginal_relevance
from llmops.retrieval.fusion import Fused, distribution_based, min_max, reciprocal_rank
from llmops.retrieval.queries import SearchText
from llmops.retrieval.reranking import followed, open_reranker, reranked, scores_of
from llmops.retrieval.spec import EQUAL_WEIGHTS, LexicalRerank, RetrievalSpec
from llmops.tokens import Bm25

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_QUERY_CHARACTERS = 8_000
RERANKED = 20
"""Hits that headings may put into another order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryVectors:
    """One query, encoded both ways; None where the fusion does without. `dense` is `(dimension,)`, unit length.

    Attributes:
        text: what was encoded, for a reranker to read.
        others: its other forms, each searched for itself.
    """

    dense: NDArray[np.float32] | None
    sparse: SparseVector | None
    text: str = ""
    others: tuple[QueryVectors, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a search found, best first, and which of its steps failed and were passed over."""

    hits: list[Hit]
    problems: tuple[str, ...] = ()


class Retriever:
    """Searches the collection that its name stands for at this moment.

    Args:
        spec: the route's retrieval section.
        collections: resolves the name to a collection and its shape.
        groups: whom a caller stands for besides itself; None where there are no groups.
        pinned: search this collection, whatever the name stands for: how a candidate is measured.
        reranker: opened from the spec where none is given; folders are then relative to the working directory.

    Attributes:
        rewriter: the chat model that rewrites questions where the route names another than its own.

    Raises:
        ConfigurationError: the reranker's folder, key or entry point is missing.
    """

    rewriter: ChatModel | None = None

    def __init__(
        self,
        *,
        spec: RetrievalSpec,
        store: VectorStore,
        embedder: Embedder,
        collections: CollectionBook,
        groups: GroupBook | None = None,
        pinned: str | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.spec, self._pinned, self._groups = spec, pinned, groups
        self._reranker = open_reranker(spec.rerank) if reranker is None and spec.rerank is not None else reranker
        self._store, self._embedder, self._collections = store, embedder, collections
        self._headings = VectorCache(embedder)

    @property
    def remote(self) -> bool:
        """True when `search` waits for a network, the encoder or a reranker, and belongs in a thread."""
        return self._store.remote or bool(self.spec.heading_weight) or self._reranker is not None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of texts as the embedder counts them, special tokens included."""
        return self._embedder.count_tokens(texts)

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

    def embed(self, query: str, *, forms: Sequence[SearchText] = ()) -> QueryVectors:
        """Encode a query: CPU work of a few milliseconds a form that belongs in a thread.

        Args:
            forms: what is searched in place of the query as it was written, as `rewrite` gives it.

        Raises:
            RequestError: the query is empty, or (`TooLargeError`) has more than 8,000 characters.
        """
        check_query(query)
        first, *others = [self._encoded(form) for form in forms or (SearchText(text=query),)]
        return replace(first, others=tuple(others))

    def _encoded(self, form: SearchText) -> QueryVectors:
        return QueryVectors(
            dense=None if self.spec.fusion == "sparse" else self._embedder.embed_query(form.text),
            sparse=None if self.spec.fusion == "dense" else Bm25.query(form.words or form.text),
            text=form.text,
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
        return self.find(vectors, caller, k=k, metadata=metadata).hits

    def find(
        self,
        vectors: QueryVectors,
        caller: Caller,
        *,
        k: int | None = None,
        metadata: Mapping[str, MetadataCondition] | None = None,
    ) -> Found:
        """As `search`, with what was passed over.

        The steps are fusion, headings, reranker, and maximal marginal relevance; each is left out where the route
        does not ask for it. The order is that of scores, but for the last step, which keeps each hit's score.

        Raises:
            EndpointError: the reranker failed, and the route says that this fails the request.
        """
        collection = self.shape().collection
        where = self._visible_to(caller, metadata)
        limit = k or self.spec.k
        dense_scores: dict[str, float] = {}
        sparse_scores: dict[str, float] = {}
        fused_of_forms: list[Fused] = []
        for form in (vectors, *vectors.others):
            dense, sparse = self._store.search(
                collection,
                dense=form.dense,
                sparse=form.sparse,
                limit=max(self.spec.candidates, limit),
                where=where,
            )
            fused_of_forms.append(self._fuse(dense, sparse))
            _keep_best(dense_scores, dense)
            _keep_best(sparse_scores, sparse)
        fused = self._of_forms(fused_of_forms)[: self._depth(limit)]
        points = self._store.fetch(
            collection, [chunk_id for chunk_id, _ in fused], where=where, vectors=self.spec.mmr_lambda is not None
        )
        present = [(chunk_id, score) for chunk_id, score in fused if chunk_id in points]
        ordered, problems = self._ordered(present, points, vectors, limit)
        hits = [
            Hit(
                chunk=points[chunk_id].chunk,
                rank=rank,
                score=score,
                dense_score=dense_scores.get(chunk_id),
                sparse_score=sparse_scores.get(chunk_id),
            )
            for rank, (chunk_id, score) in enumerate(ordered, start=1)
        ]
        return Found(hits=hits, problems=problems)

    def _depth(self, limit: int) -> int:
        """How many of the best are looked at for `limit` hits."""
        spec = self.spec
        return max(
            limit,
            RERANKED if spec.heading_weight else 0,
            spec.rerank.top if spec.rerank is not None else 0,
            spec.mmr_top if spec.mmr_lambda is not None else 0,
        )

    def _ordered(
        self, present: Fused, points: Mapping[str, Point], vectors: QueryVectors, limit: int
    ) -> tuple[Fused, tuple[str, ...]]:
        """The best `limit` after every step that the route asks for, and what failed on the way."""
        problems: tuple[str, ...] = ()
        if self.spec.heading_weight and vectors.dense is not None:
            n = max(limit, RERANKED)
            present = followed(self._by_headings(present[:n], points, vectors.dense), present[n:])
        if self._reranker is not None:
            present, problems = self._by_reranker(self._reranker, present, points, vectors.text)
        if self.spec.mmr_lambda is not None:
            present = self._by_difference(present, points, limit, self.spec.mmr_lambda)
        return present[:limit], problems

    def _by_reranker(
        self, reranker: Reranker, present: Fused, points: Mapping[str, Point], query: str
    ) -> tuple[Fused, tuple[str, ...]]:
        spec = self.spec.rerank
        top = spec.top if spec is not None else len(present)
        weight = spec.weight if isinstance(spec, LexicalRerank) else 1.0
        chunks = [points[chunk_id].chunk for chunk_id, _ in present[:top]]
        try:
            return reranked(present, scores_of(reranker, query, chunks), weight=weight), ()
        except EndpointError as error:
            if getattr(spec, "on_error", "fail") == "fail":
                raise
            return present, (f"not reranked: {error}",)

    def _by_difference(
        self, present: Fused, points: Mapping[str, Point], limit: int, relevance_share: float
    ) -> Fused:
        import numpy as np

        pool = present[: max(limit, self.spec.mmr_top)]
        if not pool:
            return pool
        vectors = np.stack([points[chunk_id].dense for chunk_id, _ in pool])
        scores = [score for _, score in pool]
        chosen = maximal_marginal_relevance(scores, vectors, k=limit, relevance_share=relevance_share)
        return [pool[index] for index in chosen]

    def _visible_to(self, caller: Caller, metadata: Mapping[str, MetadataCondition] | None) -> Filter:
        """What this caller may see at this moment: groups are expanded now, not when documents were stored."""
        principals = self._groups.expand(caller.principals) if self._groups is not None else caller.principals
        return Filter(principals=principals, tenant=caller.tenant, metadata=self._conditions(metadata))

    def _of_forms(self, rankings: Sequence[Fused]) -> Fused:
        """One ranking of the forms of a question: by reciprocal rank, for each form has scores of its own."""
        if len(rankings) == 1:
            return rankings[0]
        lists = [[ScoredId(chunk_id=chunk_id, score=score) for chunk_id, score in one] for one in rankings]
        return reciprocal_rank(lists, k=self.spec.rrf_k)

    def _fuse(self, dense: list[ScoredId], sparse: list[ScoredId]) -> Fused:
        share = self.spec.dense_weight
        doubled = None if share == EQUAL_WEIGHTS else (2 * share, 2 * (1 - share))
        match self.spec.fusion:
            case "dbsf":
                return distribution_based([dense, sparse], weights=doubled)
            case "rrf":
                return reciprocal_rank([dense, sparse], k=self.spec.rrf_k, weights=doubled)
            case "minmax":
                return min_max([dense, sparse], weights=(share, 1 - share))
            case "dense" | "sparse":
                return [(found.chunk_id, found.score) for found in dense or sparse]
            case _:
                assert_never(self.spec.fusion)

    def _by_headings(self, fused: Fused, points: Mapping[str, Point], question: NDArray[np.float32]) -> Fused:
        """The best hits in a new order: their scores scaled to [0, 1], plus the weighted cosine of their headings.

        A passage's vector mixes its heading with its text; the heading alone often says the question.
        """
        if not fused:
            return fused
        chunks = [points[chunk_id].chunk for chunk_id, _ in fused]
        headings = [chunk.heading_path[-1] if chunk.heading_path else chunk.title for chunk in chunks]
        cosines = self._headings.embed(headings) @ question
        scores = [score for _, score in fused]
        low, width = min(scores), (max(scores) - min(scores)) or 1.0
        weighed = [
            (chunk_id, (score - low) / width + self.spec.heading_weight * float(cosine))
            for (chunk_id, score), cosine in zip(fused, cosines, strict=True)
        ]
        return sorted(weighed, key=lambda item: (-item[1], item[0]))

    def _conditions(self, asked: Mapping[str, MetadataCondition] | None) -> dict[str, MetadataCondition]:
        """The route's own filter always holds; a caller can narrow it, not replace it."""
        fixed: dict[str, MetadataCondition] = dict(self.spec.filter)  # type: ignore[arg-type]  # checked by the store
        clash = sorted(set(fixed) & set(asked or {}))
        if clash:
            raise RequestError(f"the route already fixes {clash[0]!r}; leave it out of your filter")
        return {**fixed, **(asked or {})}


def check_query(query: str) -> None:
    """Refuse what cannot be searched.

    Raises:
        RequestError: the query is empty.
        TooLargeError: it has more than 8,000 characters.
    """
    if not query.strip():
        raise RequestError("the query is empty; write what you are looking for")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise TooLargeError(f"the query has {len(query)} characters; at most {MAX_QUERY_CHARACTERS} are searched")


def _keep_best(scores: dict[str, float], found: Sequence[ScoredId]) -> None:
    for one in found:
        scores[one.chunk_id] = max(one.score, scores.get(one.chunk_id, one.score))
