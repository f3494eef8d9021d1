"""Any sentence-transformers folder, in torch: the one door to both for vectors."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmops.clients.embeddings.batches import packed, whole_characters
from llmops.clients.embeddings.cache import sha256_of
from llmops.clients.embeddings.model_folder import PACKAGED, find_model
from llmops.clients.embeddings.prefixed import prefixed_digest
from llmops.clients.embeddings.source import Device, TorchSource
from llmops.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH_TOKENS = {"cpu": 2_048, "cuda": 65_536}
_RECENT_QUERIES = 256
_NOT_COMPUTED = {".md", ".onnx"}
"""Files that decide no vector here."""


class TorchEmbedder:
    """Unit vectors of whatever modules the folder lists. Safe to share by threads; one computes at a time.

    Nothing is fetched, and code that a folder brings along is not run.

    Attributes:
        is_symmetric: whether a question and a passage of the same words have the same vector.
    """

    def __init__(self, source: TorchSource, *, cache_dir: Path, threads: int) -> None:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError(error.name or "sentence-transformers", "finetune") from error
        path = find_model(source.model)
        device = _device(source.device, is_available=torch.cuda.is_available())
        if device == "cpu":
            torch.set_num_threads(threads)
        try:
            self._model: Any = SentenceTransformer(str(path), device=device, local_files_only=True)
        except Exception as error:  # it raises whatever its parts do
            problem = f"the model folder {str(path)!r} cannot be read by sentence-transformers"
            raise ConfigurationError(f"{problem} ({error!r}): check that it was saved by it, whole") from error
        prompts: dict[str, str | None] = self._model.prompts or {}
        self._query_prompt = _prompt(source.query_prefix, prompts, "query")
        self._passage_prompt = _prompt(source.passage_prefix, prompts, "document", "passage")
        self.is_symmetric = self._query_prompt == self._passage_prompt
        self.name = PACKAGED if source.model == PACKAGED else path.resolve().name
        self.digest = prefixed_digest(_digest(path, cache_dir), self._passage_prompt)
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self._batch_tokens = _BATCH_TOKENS[device]
        self._computing = threading.Lock()
        self._recent_query = lru_cache(maxsize=_RECENT_QUERIES)(self._query)
        window: int = self._model.max_seq_length or 512
        empty, *prompted = self.count_tokens(["", self._query_prompt, self._passage_prompt])
        self.max_tokens = window - (max(prompted) - empty)
        if self.max_tokens <= empty:
            raise ConfigurationError(
                f"the prefixes leave nothing of the {window} tokens of {self.name!r}: shorten them"
            )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, without truncation or prefix."""
        if not texts:
            return []
        clean = [whole_characters(text) for text in texts]
        with self._computing:
            found = self._model.tokenizer(clean, padding=False, truncation=False, verbose=False)
        return [len(ids) for ids in found["input_ids"]]

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """`(len(texts), dimension)` unit vectors in the order given."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        counts = [min(count, self.max_tokens) for count in self.count_tokens(texts)]
        for rows in packed(counts, max_tokens=self._batch_tokens):
            vectors[rows] = self._encode([texts[row] for row in rows], self._passage_prompt)
            if on_progress is not None:
                on_progress(len(rows))
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """`(dimension,)` unit vector of one question; the latest are remembered."""
        return self._recent_query(text).copy()

    def _query(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._encode([text], self._query_prompt)[0]
        return vector

    def _encode(self, texts: list[str], prompt: str) -> NDArray[np.float32]:
        with self._computing:
            vectors = self._model.encode(
                [whole_characters(text) for text in texts],
                prompt=prompt,
                batch_size=len(texts),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, np.float32)


def _device(device: Device, *, is_available: bool) -> str:
    if device == "cuda" and not is_available:
        raise ConfigurationError(
            "device 'cuda' was asked for, and torch sees no GPU: set device to 'auto' or 'cpu'"
        )
    return "cuda" if device != "cpu" and is_available else "cpu"


def _prompt(asked: str | None, known: dict[str, str | None], *names: str) -> str:
    if asked is not None:
        return asked
    return next((prompt for name in names if (prompt := known.get(name))), "")


def _digest(path: Path, cache_dir: Path) -> str:
    """SHA-256 over every file that may decide a vector, each under its name."""
    total = hashlib.sha256(b"sentence-transformers")
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix not in _NOT_COMPUTED)
    try:
        for file in files:
            total.update(f"\n{file.relative_to(path).as_posix()}\n".encode())
            total.update(sha256_of(file, cache_dir))
    except OSError as error:
        raise ConfigurationError(f"the model folder {str(path)!r} has no readable {file.name}") from error
    return total.hexdigest()
