"""ONNX Runtime opened on an encoder's graph: which processor, which precision, where the graph is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, RuntimeException

from llmops.clients.embeddings.cache import is_whole, write_sealed
from llmops.clients.embeddings.model_folder import ModelFolder
from llmops.clients.embeddings.source import Device, Precision
from llmops.errors import ConfigurationError, MissingExtraError

_GRAPH_VERSION = 2
"""Part of the cached graph's name: a change in graph.py raises it, and the graph is built anew."""
_INT8_RECIPE = "int8 dynamic, matmul, per column, 7 bits, 1"
"""Part of the digest: a change in int8.py raises its number, for it makes other vectors."""
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# Without TF32 the GPU's products are exact to 1e-5, and its vectors may stand beside the processor's.
_CUDA_OPTIONS = {"use_tf32": "0"}


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSession:
    """A session that has run once.

    Attributes:
        is_cuda: whether it computes on a GPU.
    """

    session: Any
    is_cuda: bool


def open_session(folder: ModelFolder, *, precision: Precision, device: Device, cache_dir: Path) -> OpenSession:
    """Open the graph of this precision on this device.

    Raises:
        ConfigurationError: a GPU was asked for and there is none, or the weights do not fit their configuration.
        MissingExtraError: the graph has to be built, and onnx is not installed.
    """
    providers: list[Any] = [_CPU]
    if _wants_cuda(precision, device):
        providers.insert(0, (_CUDA, _CUDA_OPTIONS))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # every batch has another shape; a plan for each only takes memory
    options.log_severity_level = 4  # an error is raised; it need not be printed as well
    try:
        session = onnxruntime.InferenceSession(_graph(folder, precision, cache_dir), options, providers=providers)
        # Weights of another shape than config.json says are noticed only by a run.
        probe = np.ones((1, 2), np.int64)
        session.run(None, {"input_ids": probe, "attention_mask": probe})
    except (Fail, InvalidArgument, InvalidGraph, RuntimeException) as error:
        raise ConfigurationError(
            f"the weights in {str(folder.path)!r} do not fit its config.json ({error}); export the model anew"
        ) from error
    is_cuda = _CUDA in session.get_providers()
    if device == "cuda" and not is_cuda:  # ONNX Runtime takes the processor and says nothing
        raise ConfigurationError("device 'cuda' cannot be opened: check the GPU's driver, CUDA and cuDNN")
    return OpenSession(session=session, is_cuda=is_cuda)


def digest_of(folder: ModelFolder, precision: Precision) -> str:
    """What identifies the vectors: int8's are not those of fp32."""
    if precision == "fp32":
        return folder.digest
    return hashlib.sha256(f"{_INT8_RECIPE}\n{folder.digest}".encode()).hexdigest()


def _wants_cuda(precision: Precision, device: Device) -> bool:
    known = onnxruntime.get_available_providers()
    if device == "cuda" and _CUDA not in known:
        problem = f"device 'cuda' was asked for, and this ONNX Runtime has {', '.join(known)} only"
        raise ConfigurationError(f"{problem}: install onnxruntime-gpu in its place, or set device to 'auto'")
    if device == "cuda" and precision == "int8":
        raise ConfigurationError("precision 'int8' is for the processor: set device to 'auto', or take fp32")
    return device != "cpu" and precision == "fp32" and _CUDA in known


def _graph(folder: ModelFolder, precision: Precision, cache_dir: Path) -> str | bytes:
    """Path of the cached graph, built where the cache has none that is whole; the graph where it takes none."""
    name = digest_of(folder, precision)[:32]
    cached = cache_dir / f"{name}-v{_GRAPH_VERSION}{'' if precision == 'fp32' else f'-{precision}'}.onnx"
    if is_whole(cached):
        return str(cached)
    try:
        from llmops.clients.embeddings.graph import build_graph
        from llmops.clients.embeddings.int8 import quantized
    except ImportError as error:
        raise MissingExtraError(error.name or "onnx", "ingest") from error
    graph = build_graph(folder)
    if precision == "int8":
        graph = quantized(graph)
    return str(cached) if write_sealed(cached, graph) else graph
