"""The nouns of the line: one frozen record for each station.

    source → Document → Chunk → Point → Hit → Passage → RenderedPrompt → Completion → Answer
           → Trace → Feedback

Text offsets count Python characters and are half-open `[start, end)`. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EVERYONE = "everyone"
"""The principal that every caller holds."""

Metadata = Mapping[str, str | int | float | bool | Sequence[str]]

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "quote"]
Role = Literal["system", "user", "assistant", "tool"]
DocumentState = Literal["pending", "indexed", "empty", "failed", "skipped"]


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
        uri: where a person finds it (a path relative to the source's root for files).
        content_hash: SHA-256 of the raw bytes, hex.
        acl: principals who may read it; empty means nobody.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A passage of a document, small enough for the embedder's window.

    Attributes:
        chunk_id: UUID derived from document, heading path and text: the same text keeps its id.
        text: `document.text[start:end]`.
        heading_path: headings above the passage, outermost first.
        locator: where a person finds it ("lines 12-30", "page 3"), or "".
        n_tokens: word pieces of `embedded_text`, special tokens included.
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

    @property
    def embedded_text(self) -> str:
        """What is embedded and indexed: the passage under its headings."""
        return embedded_text(self.heading_path, self.text)


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
class Passage:
    """A hit as it was packed into the context: `number` is what a citation `[1]` names."""

    number: int
    hit: Hit

    @property
    def text(self) -> str:
        return self.hit.chunk.text

    @property
    def title(self) -> str:
        return " > ".join(self.hit.chunk.heading_path) or self.hit.chunk.title

    @property
    def source(self) -> str:
        return self.hit.chunk.uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedPrompt:
    """Messages ready for a model.

    Attributes:
        digest: SHA-256 of the prompt file's content that made them.
        parameters: model parameters (temperature, max_tokens, …), the caller's laid over the prompt's.
    """

    prompt: str
    digest: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """A piece of a streamed completion; the last one carries `finish_reason` and `usage`."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a model answered.

    Attributes:
        ttft_ms: milliseconds from the request to the first text.
        cost_usd: by the endpoint's price list; 0 where none is stated.
    """

    text: str
    model: str
    finish_reason: str
    usage: Usage
    ttft_ms: float
    duration_ms: float
    cost_usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Citation:
    """A marker `[number]` in an answer, resolved to the passage it names."""

    number: int
    chunk_id: str
    document_id: str
    uri: str
    title: str
    locator: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the caller gets, and the inference it can give feedback on."""

    inference_id: str
    route: str
    text: str
    citations: tuple[Citation, ...]
    completion: Completion
    passages: tuple[Passage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks. `principals` always contains `everyone`."""

    name: str = "anonymous"
    role: str = "app"
    principals: tuple[str, ...] = (EVERYONE,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One station of one inference: its name, its time and what went in and came out."""

    station: str
    start_ms: float
    duration_ms: float
    input: Any = None
    output: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Everything about one inference that the ledger keeps.

    Attributes:
        status: "ok", or "error" with `error` set, or "cancelled" when the caller left.
        spec_hashes: file kind and name to the hash of every spec that shaped the answer.
        content_policy: how `spans` contents are stored: scrubbed, encrypted or none.
    """

    inference_id: str
    route: str
    started_at: datetime
    status: Literal["ok", "error", "cancelled"]
    caller: str
    model: str
    prompt_digest: str
    spec_hashes: Mapping[str, str]
    usage: Usage
    cost_usd: float
    ttft_ms: float
    duration_ms: float
    content_policy: Literal["scrubbed", "encrypted", "none"]
    spans: tuple[Span, ...]
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """What a person or a system says about one inference.

    Attributes:
        name: what is judged: "thumb", or a business outcome such as "resolved".
        value: True/False, a number, or a text.
        correction: the answer that would have been right, or "".
    """

    inference_id: str
    name: str
    value: bool | float | str
    comment: str = ""
    correction: str = ""
    caller: str = "anonymous"
