"""The encoder's door: ONNX Runtime on the CPU, no torch."""

from __future__ import annotations

from pathlib import Path

from llmops.clients.protocols import Embedder
from llmops.errors import MissingExtraError


def load_embedder(model: str, *, cache_dir: Path, threads: int) -> Embedder:
    """An encoder by name or folder.

    Args:
        model: "all-MiniLM-L6-v2", whose weights come as a package, or a folder in the layout of
            sentence-transformers that holds a BERT model with mean pooling.
        cache_dir: where the ONNX graph is kept; a folder that cannot be written only costs half a second a start.
        threads: lanes of the encoder, one processor core each.

    Raises:
        ConfigurationError: there is no such model, or it is of a kind that this encoder does not read.
        MissingExtraError: ONNX Runtime or tokenizers are not installed.
    """
    for package in ("onnxruntime", "tokenizers"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "ingest") from error
    from llmops.clients.embeddings.model_folder import open_model_folder
    from llmops.clients.embeddings.onnx_embedder import OnnxEmbedder

    return OnnxEmbedder(open_model_folder(model, cache_dir=cache_dir), cache_dir=cache_dir, threads=threads)
