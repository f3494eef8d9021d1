"""What the doors promise: the shapes behind which a vendor can be exchanged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from llmops.records import Delta, Message, Point, ScoredId, SparseVector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MetadataValue = str | int | float | bool
MetadataCondition = MetadataValue | Sequence[MetadataValue] | Mapping[str, float]
"""Equals; any of; or a range with `gt`, `gte`, `lt`, `lte`."""

Quantization = Literal["auto", "none", "int8", "turbo8", "turbo4", "binary", "product"]
"""What a search reads first: the vectors themselves, or codes of 8, 8, 4 or 1 bits a number, or product codes."""
IndexKind = Literal["keyword", "number"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which points a search may return. All parts must hold.

    Attributes:
        principals: the caller's; a point must carry at least one of them in `acl`.
            `None` switches permissions and tenants off and is for maintenance only, never for a caller.
        tenant: the caller's; a point of another tenant never passes.
        metadata: field of the document's metadata (or `uri`, `title`, `document_id`) to a condition.
    """

    principals: tuple[str, ...] | None
    metadata: Mapping[str, MetadataCondition] | None = None
    tenant: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreSettings:
    """How a collection is held; fixed when it is made. `None` leaves a choice to the engine.

    Attributes:
        shard_number: parts that may lie on different machines; servers only, as the next two.
        replication_factor: machines that hold each part.
        write_consistency_factor: replicas that must have applied a write before it is acknowledged.
        on_disk_vectors: read vectors from disk when they are asked for, instead of holding them in memory.
        on_disk_payload: likewise texts and metadata.
        on_disk_words: likewise the word index of BM25.
        on_disk_indexes: likewise the indexes of what filters ask for.
        quantization: "auto" is "turbo8" in the embedded engine, which lost nothing that we could measure, and
            "none" on a server. The embedded engine has "turbo8", "turbo4" and "binary": the others need an index.
        quantile: share of the numbers within the range that "int8" codes cover, in [0.5, 1].
        quantized_in_ram: hold the codes in memory also where the vectors lie on disk.
        product_compression: how many times smaller product codes are: 4, 8, 16, 32 or 64.
        hnsw_m: edges a node of the index has; servers only, as the next two. 0 builds no index.
        hnsw_ef_construct: neighbours considered when a node is put in.
        indexing_threshold_kb: vectors of a segment above which its index is built.
        index_fields: metadata fields that filters ask for, each with the kind of its values; booleans are numbers.
    """

    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None
    on_disk_vectors: bool | None = None
    on_disk_payload: bool | None = None
    on_disk_words: bool | None = None
    on_disk_indexes: bool | None = None
    quantization: Quantization = "auto"
    quantile: float = 0.99
    quantized_in_ram: bool = True
    product_compression: int = 16
    hnsw_m: int | None = None
    hnsw_ef_construct: int | None = None
    indexing_threshold_kb: int | None = None
    index_fields: Mapping[str, IndexKind] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How the dense search goes about it.

    Attributes:
        exact: compare with every vector, without index and codes.
        hnsw_ef: neighbours kept while the index is walked; `None` is the engine's choice.
        rescore: compare the best by codes again by their vectors.
        oversampling: how many times more of them than are asked for, at least 1.
    """

    exact: bool = False
    hnsw_ef: int | None = None
    rescore: bool = True
    oversampling: float = 2.0


class Embedder(Protocol):
    """Turns text into unit vectors.

    Attributes:
        name: model name, as recorded in a collection's shape.
        digest: identifies weights, tokenizer and pooling; vectors of different digests do not mix.
        max_tokens: the window in word pieces, special tokens included.
    """

    name: str
    digest: str
    dimension: int
    max_tokens: int

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of each text, special tokens included, without truncation."""
        ...

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """`(len(texts), dimension)` unit vectors in the order given; `on_progress(n)` after each n more."""
        ...

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """`(dimension,)` unit vector of one text, at the lowest latency."""
        ...


class VectorStore(Protocol):
    """Collections of points. Writes are durable against a killed process when the call returns.

    Attributes:
        remote: True when calls go over a network and belong in a thread.
    """

    remote: bool

    def create(
        self,
        collection: str,
        *,
        dimension: int,
        metadata: Mapping[str, Any],
        settings: StoreSettings | None = None,
    ) -> None: ...

    def drop(self, collection: str) -> None: ...

    def collections(self) -> list[str]: ...

    def upsert(self, collection: str, points: Sequence[Point]) -> None: ...

    def set_access(self, collection: str, document_id: str, *, acl: Sequence[str]) -> None:
        """Let these principals read the document, and nobody else; holds for every search after the return."""
        ...

    def delete_document(self, collection: str, document_id: str, *, keep: Collection[str] = ()) -> None:
        """Remove the document's points except the ids in `keep`."""
        ...

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Remove all points of these documents."""
        ...

    def fetch(
        self, collection: str, chunk_ids: Sequence[str], *, where: Filter, vectors: bool = True
    ) -> dict[str, Point]:
        """The points with these ids that `where` lets through; without `vectors` theirs are empty."""
        ...

    def count(self, collection: str, *, where: Filter) -> int: ...

    def document_ids(self, collection: str) -> dict[str, int]:
        """Every document with the number of its points; reads neither vectors nor texts."""
        ...

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
        """The best by cosine and the best by BM25, best first; an empty list where no vector was given."""
        ...

    def scroll(self, collection: str, *, where: Filter, batch: int = 256, vectors: bool = True) -> Iterator[Point]:
        """Every point, in the order of ids; without `vectors` theirs are empty."""
        ...

    def compact(self, collection: str) -> None:
        """Let nothing of what was deleted stay behind, as far as the engine can be told to."""
        ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class ChatModel(Protocol):
    """Answers messages, piece by piece.

    Attributes:
        name: the endpoint's name in `serving/models.yaml`.
        model: what the endpoint calls its model.
    """

    name: str
    model: str

    def stream(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> AsyncGenerator[Delta, None]:
        """Deltas of one answer; the last carries finish reason and usage.

        Raises:
            EndpointError: as the first item or in the middle; never silently short.
        """
        ...

    async def close(self) -> None: ...
