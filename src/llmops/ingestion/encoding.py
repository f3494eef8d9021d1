"""Encoding before anybody asks for it: while a new collection is measured, the encoder need not wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from llmops.clients.protocols import Embedder

_TEXTS = 128


class EncodedAhead:
    """Vectors of texts that will be asked for, made by a thread of its own until `close`."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encode-sample")
        self._vectors: dict[str, tuple[Future[NDArray[np.float32]], int]] = {}
        self._next: dict[str, None] = {}

    def add(self, texts: Sequence[str]) -> None:
        """These will be asked for."""
        self._next.update(dict.fromkeys(text for text in texts if text not in self._vectors))
        if len(self._next) >= _TEXTS:
            self.begin()

    def begin(self) -> None:
        """Encode what was added."""
        if self._next:
            batch = list(self._next)
            made = self._thread.submit(self._embedder.embed, batch)
            self._vectors.update((text, (made, n)) for n, text in enumerate(batch))
            self._next.clear()

    def embed(self, texts: Sequence[str], on_done: Callable[[int], None]) -> NDArray[np.float32]:
        """`(n, dimension)`: what is there already, or on its way, and the others encoded now."""
        others = [text for text in texts if text not in self._vectors]
        encoded = dict(zip(others, self._embedder.embed(others, on_done), strict=True)) if others else {}
        rows: list[NDArray[np.float32]] = []
        for text in texts:
            if text in encoded:
                rows.append(encoded[text])
            else:
                made, n = self._vectors[text]
                rows.append(made.result()[n])
                on_done(1)
        return np.stack(rows) if rows else np.empty((0, self._embedder.dimension), np.float32)

    def close(self) -> None:
        """Encode nothing more."""
        self._thread.shutdown(cancel_futures=True)
