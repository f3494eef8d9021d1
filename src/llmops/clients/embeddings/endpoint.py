"""An encoder behind an endpoint: batched, bounded in flight, and held to what its spec says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from llmops.clients.embeddings.batches import gathered, packed, whole_characters
from llmops.clients.embeddings.cache import read_vector, write_vector
from llmops.clients.embeddings.endpoint_answers import largest_answer, vectors_of
from llmops.clients.embeddings.sending import Patience, Sender
from llmops.clients.embeddings.source import EndpointSource
from llmops.clients.embeddings.token_counts import token_counts
from llmops.errors import ConfigurationError, EndpointRejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RECENT_QUERIES = 256
_CANARY = "The quick brown fox jumps over the lazy dog. 0123456789"
_SAME_MODEL = 0.99
"""Least cosine of the canary's vectors: batches and number formats move it by less than 0.005."""
_TOO_MUCH = frozenset((400, 413, 422))
"""What servers say of a batch that is too large, or of one text in it: halves tell which."""


class EndpointEmbedder:
    """Unit vectors from a server that speaks the OpenAI embeddings API. Safe to share by threads.

    Nobody sees the weights behind an endpoint. `digest` is the SHA-256 of model name, dimension and the spec's
    `revision`; and before the first texts of a process one known text is embedded and compared with the vector it
    had before on this machine: another model under the same name is refused.

    Attributes:
        remote: calls go over a network and belong in a thread.
    """

    remote = True

    def __init__(self, source: EndpointSource, *, api_key: str, cache_dir: Path) -> None:
        self.name, self.dimension, self.max_tokens = source.model, source.dimension, source.max_tokens
        named = orjson.dumps(["openai", source.model, source.dimension, source.revision])
        self.digest = hashlib.sha256(named).hexdigest()
        self._source = source
        self._tokens = token_counts(source.tokenizer)
        url = f"{source.base_url.rstrip('/')}/embeddings"
        self._sender = Sender(url, endpoint=source.model, api_key=api_key, n_connections=source.n_concurrent)
        self._batch_size = source.batch_size
        self._canary = cache_dir / f"{self.digest[:32]}.canary"
        self._is_known = False
        self._recent_query = lru_cache(maxsize=_RECENT_QUERIES)(self._query)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by the tokenizer of the spec, or estimated on the safe side."""
        return self._tokens.count(texts)

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """`(len(texts), dimension)` unit vectors in the order given.

        Raises:
            EndpointError: it cannot be reached, is too slow, refuses, or answers nonsense, after all attempts.
            ConfigurationError: its vectors have another dimension, or are another model's than before.
        """
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        self._greet(is_query=False)
        counts = [min(count, self.max_tokens) for count in self._tokens.count(texts)]
        return gathered(
            packed(counts, max_tokens=self._source.batch_tokens, max_texts=self._batch_size),
            lambda rows: self._begin([texts[row] for row in rows]),
            shape=(len(texts), self.dimension),
            n_waiting=self._source.n_concurrent,
            on_progress=on_progress,
        )

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """`(dimension,)` unit vector of one text; it overtakes the lists. The latest are remembered.

        Raises:
            EndpointError, ConfigurationError: as `embed`; within `query_timeout_s`.
        """
        return self._recent_query(text).copy()

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()

    def _query(self, text: str) -> NDArray[np.float32]:
        self._greet(is_query=True)
        vector: NDArray[np.float32] = self._begin([text], is_query=True).result()[0]
        return vector

    def _greet(self, *, is_query: bool) -> None:
        """Whether this is the model whose vectors were stored; asked once a process."""
        if self._is_known:
            return
        vector = self._begin([_CANARY], is_query=is_query).result()[0]
        before = read_vector(self._canary, self.dimension)
        if before is None:
            write_vector(self._canary, vector)
        elif (cosine := float(before @ vector)) < _SAME_MODEL:
            raise ConfigurationError(
                f"{self._sender.said} answers with other vectors than before (cosine {cosine:.3f}): "
                "another model has its name; set embed.revision to a new word and build the collection anew"
            )
        self._is_known = True

    def _begin(self, texts: list[str], *, is_query: bool = False) -> Future[NDArray[np.float32]]:
        return self._sender.submit(self._vectors([self._sendable(text) for text in texts], is_query=is_query))

    def _sendable(self, text: str) -> str:
        """Cut at the window; vendors refuse an empty text."""
        return self._tokens.cut(whole_characters(text), self.max_tokens).replace("\0", " ") or " "

    async def _vectors(self, texts: list[str], *, is_query: bool) -> NDArray[np.float32]:
        source = self._source
        patience = Patience(
            n_attempts=source.n_attempts,
            timeout_s=source.timeout_s,
            total_s=source.query_timeout_s if is_query else None,
        )
        most = largest_answer(len(texts), self.dimension)
        try:
            body = await self._sender.post(
                self._body(texts), most_bytes=most, patience=patience, is_query=is_query
            )
        except EndpointRejectedError as error:
            if error.status not in _TOO_MUCH or len(texts) == 1:
                raise
            return await self._in_halves(texts, is_smaller=error.status != 400)
        said = self._sender.said
        return vectors_of(body, n_texts=len(texts), dimension=self.dimension, endpoint=self.name, said=said)

    async def _in_halves(self, texts: list[str], *, is_smaller: bool) -> NDArray[np.float32]:
        middle = (len(texts) + 1) // 2
        if is_smaller:
            self._batch_size = min(self._batch_size, middle)  # later lists are packed as the server wants them
        halves = [await self._vectors(half, is_query=False) for half in (texts[:middle], texts[middle:])]
        return np.concatenate(halves)

    def _body(self, texts: list[str]) -> bytes:
        body: dict[str, Any] = {
            "model": self._source.model,
            "input": texts,
            "encoding_format": self._source.vector_form,
        }
        if self._source.shortened:
            body["dimensions"] = self.dimension
        return orjson.dumps(body)
