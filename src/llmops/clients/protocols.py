"""What the doors promise: the shapes behind which a vendor can be exchanged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from llmops.records import Delta, Message, Point, ScoredId, SparseVector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MetadataValue = str | int | float | bool
MetadataCondition = MetadataValue | Sequence[MetadataValue] | Mapping[str, float]
"""Equals; any of; or a range with `gt`, `gte`, `lt`, `lte`."""


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

    def create(self, collection: str, *, dimension: int, metadata: Mapping[str, Any]) -> None: ...

    def drop(self, collection: str) -> None: ...

    def collections(self) -> list[str]: ...

    def upsert(self, collection: str, points: Sequence[Point]) -> None: ...

    def delete_document(self, collection: str, document_id: str, *, keep: Collection[str] = ()) -> None:
        """Remove the document's points except the ids in `keep`."""
        ...

    def fetch(self, collection: str, chunk_ids: Sequence[str], *, where: Filter) -> dict[str, Point]:
        """The points with these ids that `where` lets through; vectors included."""
        ...

    def count(self, collection: str, *, where: Filter) -> int: ...

    def search(
        self,
        collection: str,
        *,
        dense: NDArray[np.float32] | None,
        sparse: SparseVector | None,
        limit: int,
        where: Filter,
    ) -> tuple[list[ScoredId], list[ScoredId]]:
        """The best by cosine and the best by BM25, best first; an empty list where no vector was given."""
        ...

    def scroll(self, collection: str, *, where: Filter, batch: int = 256) -> Iterator[Point]:
        """Every point, in the order of ids."""
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
