"""The encoder at work: sorted, packed batches on parallel lanes, one core each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from llmops.clients.embeddings.batches import gathered, packed, whole_characters
from llmops.clients.embeddings.model_folder import ModelFolder
from llmops.clients.embeddings.session import digest_of, open_session
from llmops.clients.embeddings.source import Device, Precision
from llmops.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH_TOKENS = 512
"""Padded tokens of a batch: more leave the core's cache and are slower."""
_GPU_BATCH_TOKENS = 32_768
_RECENT_QUERIES = 256
_SLAB = 256
"""Texts tokenized at once: an encoding takes about 40 KB until its ids are taken out."""


class OnnxEmbedder:
    """Mean-pooled unit vectors of a BERT. Safe to share by threads.

    In fp32 they equal those of sentence-transformers to 1e-5.

    One session serves all lanes: ONNX Runtime runs it on the calling thread, so n lanes keep n cores busy
    while the weights are in memory once. Queries run on the caller's thread and wait for no lane.
    """

    def __init__(
        self,
        folder: ModelFolder,
        *,
        cache_dir: Path,
        threads: int,
        precision: Precision = "fp32",
        device: Device = "auto",
    ) -> None:
        if threads < 1:
            raise ConfigurationError(f"the encoder needs at least 1 thread, not {threads}")
        self.name = folder.name if precision == "fp32" else f"{folder.name}-{precision}"
        self.digest, self.max_tokens = digest_of(folder, precision), folder.max_tokens
        self.dimension: int = folder.config["hidden_size"]
        self._threads = threads
        self._tokenizer = _open_tokenizer(folder.path / "tokenizer.json")
        opened = open_session(folder, precision=precision, device=device, cache_dir=cache_dir)
        self._session = opened.session
        self._batch_tokens = _GPU_BATCH_TOKENS if opened.is_cuda else _BATCH_TOKENS
        self._lanes: ThreadPoolExecutor | None = None
        self._lanes_lock = threading.Lock()
        self._recent_query = lru_cache(maxsize=_RECENT_QUERIES)(self._query)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of each text, special tokens included, without truncation."""
        return [len(ids) for ids in self._tokenized(texts)]

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """`(len(texts), dimension)` unit vectors in the order given.

        Args:
            on_progress: called on the caller's thread with the size of each finished batch.
        """
        pieces = [self._window(ids) for ids in self._tokenized(texts)]
        return gathered(
            packed([len(ids) for ids in pieces], max_tokens=self._batch_tokens),
            lambda rows: self._submit([pieces[row] for row in rows]),
            shape=(len(texts), self.dimension),
            n_waiting=2 * self._threads,
            on_progress=on_progress,
        )

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """`(dimension,)` unit vector of one text, computed on the caller's thread.

        The latest queries are remembered: a question is searched for and then read by the extractive model.
        """
        return self._recent_query(text).copy()

    def _query(self, text: str) -> NDArray[np.float32]:
        ids = np.array(self._tokenizer.encode(whole_characters(text)).ids, np.int64)
        vector: NDArray[np.float32] = self._run([self._window(ids)])[0]
        return vector

    def close(self) -> None:
        """End the lanes after the batches they are at; a later `embed` starts new ones."""
        with self._lanes_lock:
            lanes, self._lanes = self._lanes, None
        if lanes is not None:
            lanes.shutdown(wait=True)

    def _tokenized(self, texts: Sequence[str]) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(texts), _SLAB):
            slab = [whole_characters(text) for text in texts[start : start + _SLAB]]
            for encoding in self._tokenizer.encode_batch_fast(slab):
                yield np.array(encoding.ids, np.int64)

    def _window(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The tokenizer's own truncation is a switch on a shared object; this keeps what it would keep."""
        return ids if len(ids) <= self.max_tokens else np.append(ids[: self.max_tokens - 1], ids[-1])

    def _submit(self, batch: list[NDArray[np.int64]]) -> Future[NDArray[np.float32]]:
        with self._lanes_lock:
            if self._lanes is None:
                self._lanes = ThreadPoolExecutor(self._threads, thread_name_prefix="encoder")
            return self._lanes.submit(self._run, batch)

    def _run(self, batch: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        width = max(len(ids) for ids in batch)
        input_ids = np.zeros((len(batch), width), np.int64)
        attention_mask = np.zeros((len(batch), width), np.int64)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        (vectors,) = self._session.run(None, {"input_ids": input_ids, "attention_mask": attention_mask})
        result: NDArray[np.float32] = vectors
        return result


def _open_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises no other for an unreadable file
        raise ConfigurationError(f"the tokenizer {str(path)!r} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    empty, some = tokenizer.encode("").ids, tokenizer.encode("a").ids
    if len(empty) != 2 or [some[0], some[-1]] != empty:
        raise ConfigurationError(
            f"the tokenizer {str(path)!r} does not put one special token before a text and one behind it, "
            "as BERT's does: use the tokenizer.json that belongs to the weights"
        )
    return tokenizer
