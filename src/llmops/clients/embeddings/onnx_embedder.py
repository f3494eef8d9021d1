"""The encoder: batches of similar length, bounded by tokens, on lanes of one core each.

Measured on two cores: two lanes of one thread beat one session with two threads, and batches of at most 512
padded tokens stay in the cache. Embedding sorts by length, so little of a batch is padding.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmops.clients.embeddings.model_folder import ModelFolder
from llmops.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

_BATCH_TOKENS = 512
_TOKENIZE_AT_ONCE = 1_024


class OnnxEmbedder:
    """An `Embedder` (see `llmops.clients.protocols`); safe to call from many threads."""

    def __init__(self, folder: ModelFolder, *, cache_dir: Path, threads: int) -> None:
        self.name, self.digest, self.max_tokens = folder.name, folder.digest, folder.max_tokens
        self.dimension: int = folder.config["hidden_size"]
        self._threads = max(1, threads)
        self._tokenizer = _tokenizer(folder)
        self._session = _session(folder, cache_dir)
        self._lanes: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of each text, special tokens included, without truncation."""
        return [len(encoding) for encoding in self._encode(texts)]

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """`(len(texts), dimension)` unit vectors; texts over the window are cut at its end."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        ids = [self._window(encoding) for encoding in self._encode(texts)]
        work = {self._pool().submit(self._run, [ids[i] for i in batch]): batch for batch in _batches(ids)}
        try:
            for done in as_completed(work):
                batch = work[done]
                vectors[batch] = done.result()
                if on_progress is not None:
                    on_progress(len(batch))
        finally:
            for waiting in work:
                waiting.cancel()
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """`(dimension,)` unit vector, computed in the calling thread."""
        vector: NDArray[np.float32] = self._run([self._window(self._encode([text])[0])])[0]
        return vector

    def close(self) -> None:
        """Let the lanes end; the embedder can still be used and starts new ones."""
        with self._starting:
            lanes, self._lanes = self._lanes, None
        if lanes is not None:
            lanes.shutdown(wait=True, cancel_futures=True)

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates are no text
        encodings: list[Encoding] = []
        for start in range(0, len(clean), _TOKENIZE_AT_ONCE):
            encodings += self._tokenizer.encode_batch(clean[start : start + _TOKENIZE_AT_ONCE])
        return encodings

    def _window(self, encoding: Encoding) -> list[int]:
        """What the model reads: the first pieces, with its closing special token."""
        ids = encoding.ids
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]

    def _run(self, rows: Sequence[list[int]]) -> NDArray[np.float32]:
        width = max(map(len, rows))
        input_ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        outputs: list[Any] = self._session.run(None, {"input_ids": input_ids, "attention_mask": mask})
        vectors: NDArray[np.float32] = outputs[0]
        return vectors

    def _pool(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._lanes is None:
                self._lanes = ThreadPoolExecutor(self._threads, thread_name_prefix="encoder")
            return self._lanes


def _batches(ids: Sequence[list[int]]) -> Iterator[list[int]]:
    """Indices of texts of similar length, longest first, at most 512 padded tokens together."""
    batch: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: -len(ids[i])):
        if batch and (len(batch) + 1) * len(ids[batch[0]]) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _tokenizer(folder: ModelFolder) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("tokenizers", "ingest") from error
    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _session(folder: ModelFolder, cache_dir: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "ingest") from error
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile

    from llmops.clients.embeddings.graph import VERSION, build_graph

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    cached = cache_dir / f"{folder.digest[:16]}-v{VERSION}.onnx"
    if cached.is_file():
        with contextlib.suppress(Fail, InvalidGraph, InvalidProtobuf, NoSuchFile):
            return onnxruntime.InferenceSession(str(cached), options, providers=["CPUExecutionProvider"])
    model = build_graph(folder)
    _keep(model, cached)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _keep(model: bytes, cached: Path) -> None:
    """Cache the graph whole or not at all; a folder that cannot be written is no error."""
    with contextlib.suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=cached.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(model)
            Path(name).replace(cached)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
