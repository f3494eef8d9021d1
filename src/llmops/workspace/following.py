"""A retriever that follows its name from one encoder to another, without a question that fails on the way.

A question is searched in the collection that answered when it was encoded, so that a release between the two finds
it nothing amiss. The encoder is the one that the collection was made with, whatever the pipeline's file says now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from llmops.access import GroupBook
from llmops.clients.protocols import Embedder, MetadataCondition, VectorStore
from llmops.clients.rerankers import Reranker
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Caller
from llmops.releases import ArtifactBook, CollectionBook, CollectionShape
from llmops.retrieval import Found, RetrievalSpec, Retriever
from llmops.retrieval.queries import SearchText
from llmops.retrieval.retriever import QueryVectors

EncoderOf = Callable[[CollectionShape | None], Embedder]
_KEPT = 3  # collections that were searched last: what answers, what answered before, and a candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedFor(QueryVectors):
    """A query, and the physical collection for which it was encoded."""

    collection: str


class FollowingRetriever(Retriever):
    """Searches what its name stands for at this moment, with the encoder of that collection.

    Args:
        encoder_of: the encoder of a collection; of the pipeline where there is none yet.
        pinned: as for `Retriever`.

    Raises:
        ConfigurationError: as `Retriever`; or an encoder cannot be loaded.
    """

    def __init__(
        self,
        *,
        spec: RetrievalSpec,
        store: VectorStore,
        encoder_of: EncoderOf,
        collections: CollectionBook,
        groups: GroupBook | None = None,
        pinned: str | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        shape = collections.get(pinned) if pinned else collections.serving(spec.collection)
        super().__init__(
            spec=spec,
            store=store,
            embedder=encoder_of(shape),
            collections=collections,
            groups=groups,
            pinned=pinned,
            reranker=reranker,
        )
        self._encoder_of = encoder_of
        self._opened: dict[tuple[str, str], Retriever] = {}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of texts as the encoder of what answers now counts them, special tokens included."""
        present = self._present()
        return super().count_tokens(texts) if present is self else present.count_tokens(texts)

    def shape(self) -> CollectionShape:
        """The collection that answers now.

        Raises:
            NotFoundError, CollectionShapeError: as `Retriever.shape`.
        """
        present = self._present()
        return super().shape() if present is self else present.shape()

    def embed(self, query: str, *, forms: Sequence[SearchText] = ()) -> QueryVectors:
        """As `Retriever.embed`, for the collection that answers now."""
        present = self._present()
        if present is self:
            return super().embed(query, forms=forms)
        vectors = present.embed(query, forms=forms)
        return EncodedFor(
            dense=vectors.dense,
            sparse=vectors.sparse,
            text=vectors.text,
            others=vectors.others,
            collection=present.shape().collection,
        )

    def find(
        self,
        vectors: QueryVectors,
        caller: Caller,
        *,
        k: int | None = None,
        metadata: Mapping[str, MetadataCondition] | None = None,
    ) -> Found:
        """As `Retriever.find`, in the collection that the vectors are for."""
        there = self._present()
        if isinstance(vectors, EncodedFor):
            there = self._on(self._collections.get(vectors.collection))
        if there is self:
            return super().find(vectors, caller, k=k, metadata=metadata)
        return there.find(vectors, caller, k=k, metadata=metadata)

    def _present(self) -> Retriever:
        """On what answers now; itself where nothing does, which then says so."""
        name = self.spec.collection
        shape = self._collections.get(self._pinned) if self._pinned else self._collections.serving(name)
        return self if shape is None else self._on(shape)

    def _on(self, shape: CollectionShape) -> Retriever:
        """On one physical collection, opened once; its name may be that of another one later."""
        key = (shape.collection, shape.embedder_digest)
        found = self._opened.get(key)
        if found is None:
            found = Retriever(
                spec=self.spec,
                store=self._store,
                embedder=self._encoder_of(shape),
                collections=self._collections,
                groups=self._groups,
                pinned=shape.collection,
                reranker=self._reranker,
            )
            kept = list(self._opened.items())[1 - _KEPT :]
            self._opened = {**dict(kept), key: found}
        return found


def spec_of(artifacts: ArtifactBook, shape: CollectionShape, now: IngestionSpec) -> IngestionSpec | None:
    """The pipeline as it was when a collection was made; None where the ledger does not hold it.

    Args:
        now: the pipeline today, from whose file folders are found.
    """
    kept = artifacts.get("ingestion", shape.name, shape.spec_hash)
    if kept is None:
        return None
    try:
        return IngestionSpec.model_validate_json(kept.content).located(now.file)
    except ValidationError:  # written by a version that knew other fields
        return None
