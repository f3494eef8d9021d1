"""Vectors of texts that come again, kept by text so that each is embedded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmops.clients.protocols import Embedder


class VectorCache:
    """The least recently used texts leave first; safe to call from several threads.

    Args:
        capacity: texts kept; one of 384 dimensions takes 1.5 KB and its text.
    """

    def __init__(self, embedder: Embedder, *, capacity: int = 20_000) -> None:
        self._embedder = embedder
        self._capacity = capacity
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`(len(texts), dimension)` unit vectors in the order given."""
        with self._lock:
            known = {text: self._vectors[text] for text in texts if text in self._vectors}
            for text in known:
                self._vectors.move_to_end(text)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, self._embedded(missing), strict=True))
            with self._lock:
                # a copy of each row: a view would keep the whole batch alive
                self._vectors.update((text, known[text].copy()) for text in missing)
                while len(self._vectors) > self._capacity:
                    self._vectors.popitem(last=False)
        return np.stack([known[text] for text in texts]) if texts else self._nothing()

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One text alone is most often the question, which the encoder has just seen.

        An encoder that prefixes questions otherwise than passages gives it another vector: then it is embedded.
        """
        if len(texts) == 1 and getattr(self._embedder, "is_symmetric", True):
            return self._embedder.embed_query(texts[0])[None]
        return self._embedder.embed(texts).astype(np.float32)

    def _nothing(self) -> NDArray[np.float32]:
        return np.zeros((0, self._embedder.dimension), dtype=np.float32)
