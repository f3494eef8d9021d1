"""Encoders that are told what a text is: "query: " before a question, "passage: " before the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llmops.clients.protocols import Embedder
from llmops.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PrefixedEmbedder:
    """An encoder that puts these words before every text.

    Its window is what they leave of the encoder's. A query prefix changes no stored vector, and so no digest.

    Attributes:
        is_symmetric: False: a question and a passage of the same words have different vectors.
    """

    is_symmetric = False

    def __init__(self, embedder: Embedder, *, query_prefix: str, passage_prefix: str) -> None:
        empty, *counts = embedder.count_tokens(["", query_prefix, passage_prefix])
        self._embedder, self._query_prefix, self._passage_prefix = embedder, query_prefix, passage_prefix
        self.name, self.dimension = embedder.name, embedder.dimension
        self.digest = prefixed_digest(embedder.digest, passage_prefix)
        self.max_tokens = embedder.max_tokens - (max(counts) - empty)
        if self.max_tokens <= empty:
            longest = max(query_prefix, passage_prefix, key=len)
            problem = f"the prefix {longest!r} leaves nothing of the {embedder.max_tokens} tokens of {self.name!r}"
            raise ConfigurationError(f"{problem}: shorten it")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without its prefix, to be held against `max_tokens`."""
        return self._embedder.count_tokens(texts)

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """`(len(texts), dimension)` unit vectors of passages."""
        return self._embedder.embed([self._passage_prefix + text for text in texts], on_progress)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """`(dimension,)` unit vector of a question."""
        return self._embedder.embed_query(self._query_prefix + text)

    def close(self) -> None:
        """Close the encoder behind it, where it can be closed."""
        if (close := getattr(self._embedder, "close", None)) is not None:
            close()


def prefixed_digest(digest: str, passage_prefix: str) -> str:
    """`digest` of vectors whose texts had this prefix."""
    return hashlib.sha256(f"{digest}\n{passage_prefix}".encode()).hexdigest() if passage_prefix else digest
