"""The encoder at work: sorted, packed batches on parallel lanes, one core each."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, RuntimeException
from tokenizers import Tokenizer

from llmops.clients.embeddings.cache import is_whole, write_sealed
from llmops.clients.embeddings.model_folder import ModelFolder
from llmops.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH_TOKENS = 512
"""Padded tokens of a batch: more leave the core's cache and are slower."""
_RECENT_QUERIES = 256
_SLAB = 256
"""Texts tokenized at once: an encoding takes about 40 KB until its ids are taken out."""
_GRAPH_VERSION = 2
"""Part of the cached graph's name: a change in graph.py raises it, and the graph is built anew."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class OnnxEmbedder:
    """Mean-pooled unit vectors of a BERT; equal to sentence-transformers to 1e-5. Safe to share by threads.

    One session serves all lanes: ONNX Runtime runs it on the calling thread, so n lanes keep n cores busy
    while the weights are in memory once. Queries run on the caller's thread and wait for no lane.
    """

    def __init__(self, folder: ModelFolder, *, cache_dir: Path, threads: int) -> None:
        if threads < 1:
            raise ConfigurationError(f"the encoder needs at least 1 thread, not {threads}")
        self.name, self.digest, self.max_tokens = folder.name, folder.digest, folder.max_tokens
        self.dimension: int = folder.config["hidden_size"]
        self._threads = threads
        self._tokenizer = _open_tokenizer(folder.path / "tokenizer.json")
        self._session = _open_session(folder, cache_dir)
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
        vectors = np.empty((len(texts), self.dimension), np.float32)
        batches = _packed([len(ids) for ids in pieces])
        running: dict[Future[NDArray[np.float32]], list[int]] = {}
        try:
            while True:
                # A short queue, so that a long list does not make other callers wait for all of it.
                while len(running) < 2 * self._threads and (rows := next(batches, None)) is not None:
                    running[self._submit([pieces[row] for row in rows])] = rows
                if not running:
                    return vectors
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    rows = running.pop(future)
                    vectors[rows] = future.result()
                    if on_progress is not None:
                        on_progress(len(rows))
        finally:
            for future in running:
                future.cancel()

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """`(dimension,)` unit vector of one text, computed on the caller's thread.

        The latest queries are remembered: a question is searched for and then read by the extractive model.
        """
        return self._recent_query(text).copy()

    def _query(self, text: str) -> NDArray[np.float32]:
        ids = np.array(self._tokenizer.encode(_clean(text)).ids, np.int64)
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
            slab = [_clean(text) for text in texts[start : start + _SLAB]]
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


def _packed(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of texts of like length, longest first, at most `_BATCH_TOKENS` padded tokens a batch."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _clean(text: str) -> str:
    """Half a surrogate pair is not text and the tokenizer refuses it; a split pair is put together."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


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


def _open_session(folder: ModelFolder, cache_dir: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # every batch has another shape; a plan for each only takes memory
    options.log_severity_level = 4  # an error is raised; it need not be printed as well
    try:
        session = onnxruntime.InferenceSession(
            _graph(folder, cache_dir), options, providers=["CPUExecutionProvider"]
        )
        # Weights of another shape than config.json says are noticed only by a run.
        probe = np.ones((1, 2), np.int64)
        session.run(None, {"input_ids": probe, "attention_mask": probe})
    except (Fail, InvalidArgument, InvalidGraph, RuntimeException) as error:
        raise ConfigurationError(
            f"the weights in {str(folder.path)!r} do not fit its config.json ({error}); export the model anew"
        ) from error
    return session


def _graph(folder: ModelFolder, cache_dir: Path) -> str | bytes:
    """Path of the cached graph, built where the cache has none that is whole; the graph where it takes none."""
    cached = cache_dir / f"{folder.digest[:32]}-v{_GRAPH_VERSION}.onnx"
    if is_whole(cached):
        return str(cached)
    try:
        from llmops.clients.embeddings.graph import build_graph
    except ImportError as error:
        raise MissingExtraError(error.name or "onnx", "ingest") from error
    graph = build_graph(folder)
    return str(cached) if write_sealed(cached, graph) else graph
