"""The encoder's door: ONNX Runtime in process, sentence-transformers, or an endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from llmops.clients.embeddings.source import EncoderSource, EndpointSource, OnnxSource, TorchSource
from llmops.clients.protocols import Embedder
from llmops.errors import ConfigurationError, MissingExtraError

__all__ = ["EncoderSource", "EndpointSource", "OnnxSource", "TorchSource", "load_embedder", "load_embedder_for"]


def load_embedder(model: str, *, cache_dir: Path, threads: int) -> Embedder:
    """An encoder by name or folder, through ONNX Runtime in fp32.

    Args:
        model: "all-MiniLM-L6-v2", whose weights come as a package, or a folder in the layout of
            sentence-transformers that holds a BERT model with mean pooling.
        cache_dir: where the ONNX graph is kept; a folder that cannot be written only costs half a second a start.
        threads: lanes of the encoder, one processor core each.

    Raises:
        ConfigurationError: there is no such model, or it is of a kind that this encoder does not read.
        MissingExtraError: ONNX Runtime or tokenizers are not installed.
    """
    return load_embedder_for(OnnxSource(model=model), cache_dir=cache_dir, threads=threads)


def load_embedder_for(
    source: EncoderSource, *, cache_dir: Path, threads: int, environment: Mapping[str, str] = os.environ
) -> Embedder:
    """An encoder from wherever it comes. It may have `close()`, which ends its threads and connections.

    Args:
        source: also the key under which an opened encoder may be kept.
        cache_dir: where graphs and hashes are kept between starts.
        threads: lanes of an encoder in this process, one processor core each.
        environment: where the key of an endpoint is looked for.

    Raises:
        ConfigurationError: there is no such model, device or key, or it is of a kind that cannot be read.
        MissingExtraError: what it runs on is not installed.
    """
    match source:
        case OnnxSource():
            return _prefixed(_onnx(source, cache_dir, threads), source.query_prefix, source.passage_prefix)
        case TorchSource():
            from llmops.clients.local_embedder import TorchEmbedder

            return TorchEmbedder(source, cache_dir=cache_dir, threads=threads)
        case EndpointSource():
            from llmops.clients.embeddings.endpoint import EndpointEmbedder

            key = environment.get(source.api_key_env, "").strip() if source.api_key_env else ""
            if source.api_key_env and not key:
                problem = f"embed.api_key_env names {source.api_key_env!r}, and no such variable is set"
                raise ConfigurationError(f"{problem}: set it to the endpoint's key, or leave the field out")
            embedder = EndpointEmbedder(source, api_key=key, cache_dir=cache_dir)
            return _prefixed(embedder, source.query_prefix, source.passage_prefix)
        case _:
            assert_never(source)


def _onnx(source: OnnxSource, cache_dir: Path, threads: int) -> Embedder:
    for package in ("onnxruntime", "tokenizers"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "ingest") from error
    from llmops.clients.embeddings.model_folder import open_model_folder
    from llmops.clients.embeddings.onnx_embedder import OnnxEmbedder

    folder = open_model_folder(source.model, cache_dir=cache_dir)
    return OnnxEmbedder(
        folder, cache_dir=cache_dir, threads=threads, precision=source.precision, device=source.device
    )


def _prefixed(embedder: Embedder, query_prefix: str, passage_prefix: str) -> Embedder:
    if not query_prefix and not passage_prefix:
        return embedder
    from llmops.clients.embeddings.prefixed import PrefixedEmbedder

    return PrefixedEmbedder(embedder, query_prefix=query_prefix, passage_prefix=passage_prefix)
