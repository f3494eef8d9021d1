"""Models that run in this process with torch: for now, cross-encoders that rerank.

The only module that imports sentence-transformers and torch outside of fine-tuning. Weights are read from a folder
on this machine; nothing is ever downloaded, and no code from a model's folder is run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from llmops.errors import ConfigurationError, MissingExtraError
from llmops.records import Chunk

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_KEPT_MODELS = 4


class CrossEncoderReranker:
    """Reads question and passage together and scores the pair: its raw output, before any activation.

    Weights are loaded at the first question and shared by all rerankers of the same folder.

    Args:
        folder: of a sequence classification model with one label, and its tokenizer.
        max_tokens: word pieces read of a pair; longer ones are cut at the end.
        device: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ConfigurationError: the folder holds no model.
    """

    def __init__(self, *, folder: str, max_tokens: int = 512, batch: int = 16, device: str = "cpu") -> None:
        self.name = f"cross_encoder:{Path(folder).name}"
        self._folder, self._max_tokens, self._batch, self._device = folder, max_tokens, batch, device
        if not (Path(folder) / "config.json").is_file():
            problem = f"no cross-encoder in {folder!r} (no config.json)"
            raise ConfigurationError(f"{problem}; save a model there, or mend rerank.model")

    def score(self, query: str, chunks: Sequence[Chunk]) -> list[float]:
        """The model's score of each pair, in the order given.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ConfigurationError: the folder cannot be read as a cross-encoder.
        """
        pairs = [(query, chunk.embedded_text) for chunk in chunks]
        if not pairs:
            return []
        model = _loaded(self._folder, self._max_tokens, self._device)
        with _computing:  # one batch uses every core that torch was given
            scores = model.predict(pairs, batch_size=self._batch, show_progress_bar=False, convert_to_numpy=True)
        return [float(score) for score in scores]


_computing = threading.Lock()
_loading = threading.Lock()


def _loaded(folder: str, max_tokens: int, device: str) -> CrossEncoder:
    with _loading:
        return _load(folder, max_tokens, device)


@lru_cache(maxsize=_KEPT_MODELS)
def _load(folder: str, max_tokens: int, device: str) -> CrossEncoder:
    try:
        import torch
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError(error.name or "sentence-transformers", "finetune") from error
    try:
        model = CrossEncoder(
            folder,
            max_length=_window(Path(folder), max_tokens),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            activation_fn=torch.nn.Identity(),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(f"{folder!r} cannot be read as a cross-encoder: {reason}") from error
    if model.num_labels != 1:
        problem = f"the model in {folder!r} has {model.num_labels} labels, and a reranker has one"
        raise ConfigurationError(f"{problem}; choose a model trained for reranking")
    return cast("CrossEncoder", model)


def _window(folder: Path, max_tokens: int) -> int:
    """Word pieces that are read: no more than tokenizer and position embeddings were made for."""
    limits = [max_tokens]
    for file, name in (("tokenizer_config.json", "model_max_length"), ("config.json", "max_position_embeddings")):
        value = json.loads((folder / file).read_bytes()).get(name) if (folder / file).is_file() else None
        limits += [value] if isinstance(value, int) and value > 0 else []
    return min(limits)
