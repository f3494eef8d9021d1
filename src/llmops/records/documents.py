"""From a source to a passage: documents, their chunks, and what a search finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EVERYONE = "everyone"
"""The principal that every caller holds."""

Metadata = Mapping[str, str | int | float | bool | Sequence[str]]

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "quote"]
DocumentState = Literal[
    "pending", "indexed", "empty", "failed", "skipped", "parked", "duplicate", "refused", "expired"
]
"""What became of a document: "parked" after repeated failures, "duplicate" of another one that is indexed,
"refused" by the pipeline's policy (secrets, personal data), "expired" by its retention date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A structural piece of a document; `document.text[start:end]` is its text.

    Attributes:
        level: 1 to 6 for headings, 0 otherwise.
        first_line: 1-based line of the source file where the block begins, where the format has lines.
        page: 1-based page, where the format has pages.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    first_line: int | None = None
    last_line: int | None = None
    page: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One source document after parsing and cleaning.

    Attributes:
        document_id: stable for a source and path, so that a new version replaces the old.
        uri: its name within the source (a path relative to the source's root for files).
        content_hash: SHA-256 of the raw bytes, hex.
        acl: principals who may read it; empty means nobody.
        tenant: callers of other tenants never see it.
        url: where a person opens it; "" when the uri says all there is.
    """

    document_id: str
    uri: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    media_type: str
    content_hash: str
    acl: tuple[str, ...]
    metadata: Metadata = field(default_factory=dict)
    tenant: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A passage of a document, small enough for the embedder's window.

    Attributes:
        chunk_id: UUID derived from document, heading path and text: the same text keeps its id.
        text: `document.text[start:end]`.
        heading_path: headings above the passage, outermost first.
        locator: where a person finds it ("lines 12-30", "page 3"), or "".
        n_tokens: word pieces of `embedded_text`, special tokens included.
        context: the larger passage around `text` that a model is handed instead ("" when it is `text` itself):
            `document.text[context_start : context_start + len(context)]`. Search small, hand over large.
        n_context_tokens: word pieces of `context`, special tokens included; 0 without one.
    """

    chunk_id: str
    document_id: str
    uri: str
    title: str
    ordinal: int
    text: str
    start: int
    end: int
    heading_path: tuple[str, ...]
    locator: str
    n_tokens: int
    acl: tuple[str, ...]
    metadata: Metadata = field(default_factory=dict)
    tenant: str = ""
    url: str = ""
    context: str = ""
    context_start: int = 0
    n_context_tokens: int = 0

    @property
    def embedded_text(self) -> str:
        """What is embedded and indexed: the passage under its headings."""
        return embedded_text(self.heading_path, self.text)

    def readable_by(self, acl: tuple[str, ...]) -> Chunk:
        """The same chunk for other readers."""
        return self if self.acl == acl else replace(self, acl=acl)

    @property
    def handed_text(self) -> str:
        """What a model reads and citations quote."""
        return self.context or self.text

    @property
    def handed_span(self) -> tuple[int, int]:
        """Where `handed_text` stands in the document's text."""
        return (
            (self.context_start, self.context_start + len(self.context))
            if self.context
            else (self.start, self.end)
        )

    @property
    def n_handed_tokens(self) -> int:
        """Word pieces of what a model reads."""
        return self.n_context_tokens or self.n_tokens


def embedded_text(heading_path: Sequence[str], text: str) -> str:
    """The passage under its headings, as the encoder and BM25 see it."""
    return f"{' > '.join(heading_path)}\n{text}" if heading_path else text


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseVector:
    """BM25 weights: parallel tuples, indices ascending and unique."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A chunk with its vectors, as stored in a collection. `dense` is `(dimension,)` float32, unit length."""

    chunk: Chunk
    dense: NDArray[np.float32]
    sparse: SparseVector


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredId:
    """A point found by one search; a larger score is better."""

    chunk_id: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A chunk found for a query.

    Attributes:
        rank: 1 for the best.
        score: the fused score; comparable within one result list only.
        dense_score: cosine in [-1, 1], or None when the dense search did not return the chunk.
        sparse_score: BM25, at least 0, or None likewise.
    """

    chunk: Chunk
    rank: int
    score: float
    dense_score: float | None
    sparse_score: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """A stretch of a document, word for word: `document.text[start:end]`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """What was packed into the context under one number; `number` is what a citation `[1]` names.

    Attributes:
        hit: the best hit in it. Its chunk is as it is handed over: text, span, headings and locator are the
            passage's, id and score are the hit's.
        hits: all hits in it as they were found, best first; () when `hit` is alone and unchanged.
        quotes: the stretches of the document that `text` is made of, in reading order; () when it is one.
    """

    number: int
    hit: Hit
    hits: tuple[Hit, ...] = ()
    quotes: tuple[Quote, ...] = ()

    @property
    def text(self) -> str:
        return self.hit.chunk.handed_text

    @property
    def title(self) -> str:
        return " > ".join(self.hit.chunk.heading_path) or self.hit.chunk.title

    @property
    def source(self) -> str:
        return self.hit.chunk.uri

    @property
    def chunk_ids(self) -> tuple[str, ...]:
        """The chunks in it, the best first."""
        return tuple(hit.chunk.chunk_id for hit in self.hits or (self.hit,))
