"""Encoders of other kinds than fp32 by name: int8, prefixes, devices, and sentence-transformers itself."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmops.clients.embeddings import OnnxSource, TorchSource, load_embedder, load_embedder_for
from llmops.clients.embeddings.prefixed import PrefixedEmbedder
from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.protocols import Embedder
from llmops.errors import ConfigurationError, MissingExtraError
from tests.clients.test_embeddings import VARIED, change, make_folder, needs_weights, write_json

MODEL = "all-MiniLM-L6-v2"
PASSAGES = [
    "A release is rolled back with one command, and the route answers from the version before.",
    "The ledger keeps traces, feedback, releases and audit events.",
    "Vectors are written before the row that says the document is indexed.",
    "Rate limits are counted over all workers of a gateway.",
    "A drift report compares two windows of requests.",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "mine")


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    embedder = load_embedder_for(
        OnnxSource(model=MODEL, precision="int8"), cache_dir=tmp_path_factory.mktemp("int8"), threads=2
    )
    yield embedder
    embedder.close()  # type: ignore[attr-defined]  # lanes are this embedder's own matter


@needs_weights
def test_int8_is_near_fp32_and_says_that_it_is_another_encoder(int8: Embedder, embedder: Embedder) -> None:
    cosines = (int8.embed(PASSAGES) * embedder.embed(PASSAGES)).sum(axis=1)
    assert cosines.min() > 0.97
    assert cosines.max() < 0.9999
    assert int8.name == "all-MiniLM-L6-v2-int8"
    assert int8.digest != embedder.digest
    assert (int8.dimension, int8.max_tokens) == (embedder.dimension, embedder.max_tokens)
    np.testing.assert_allclose(np.linalg.norm(int8.embed(PASSAGES), axis=1), 1, atol=1e-5)


@needs_weights
def test_int8_finds_what_fp32_finds(int8: Embedder) -> None:
    vectors = int8.embed(PASSAGES)
    for question, place in (("How do I undo a release?", 0), ("What does the drift report compare?", 4)):
        assert int((vectors @ int8.embed_query(question)).argmax()) == place


def test_int8_is_made_once_and_kept_beside_fp32(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    source = OnnxSource(model=str(folder), precision="int8")
    first = load_embedder_for(source, cache_dir=cache, threads=1)
    [made] = cache.glob("*-int8.onnx")
    written = made.stat().st_ino
    exact = load_embedder(str(folder), cache_dir=cache, threads=1)
    again = load_embedder_for(source, cache_dir=cache, threads=1)
    assert made.stat().st_ino == written
    assert len(list(cache.glob("*.onnx"))) == 2
    assert first.digest == again.digest != exact.digest
    np.testing.assert_array_equal(first.embed_query("gate key"), again.embed_query("gate key"))
    assert not np.array_equal(first.embed_query("gate key"), exact.embed_query("gate key"))


def test_a_damaged_int8_graph_is_made_anew(folder: Path, tmp_path: Path) -> None:
    cache, source = tmp_path / "cache", OnnxSource(model=str(folder), precision="int8")
    expected = load_embedder_for(source, cache_dir=cache, threads=1).embed_query("gate")
    [made] = cache.glob("*-int8.onnx")
    made.write_bytes(made.read_bytes()[:-100])
    np.testing.assert_array_equal(
        load_embedder_for(source, cache_dir=cache, threads=1).embed_query("gate"), expected
    )


def test_quantising_says_nothing_to_the_user(folder: Path, tmp_path: Path) -> None:
    code = (
        "import logging; from pathlib import Path; logging.basicConfig(level=logging.INFO)\n"
        "from llmops.clients.embeddings import OnnxSource, load_embedder_for\n"
        f"source = OnnxSource(model={str(folder)!r}, precision='int8')\n"
        f"load_embedder_for(source, cache_dir=Path({str(tmp_path / 'cache')!r}), threads=1).embed_query('gate')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"device": "cuda"}, "'cuda' was asked for, and this ONNX Runtime has .*CPUExecutionProvider.* only"),
        ({"device": "cuda", "precision": "int8"}, "'cuda' was asked for|precision 'int8' is for the processor"),
    ],
)
def test_a_gpu_that_is_not_there_is_an_error(
    folder: Path, tmp_path: Path, fields: dict[str, Any], problem: str
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has a GPU")
    with pytest.raises(ConfigurationError, match=problem):
        load_embedder_for(OnnxSource(model=str(folder), **fields), cache_dir=tmp_path, threads=1)


def test_prefixes_are_put_before_questions_and_passages(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    plain = load_embedder(str(folder), cache_dir=cache, threads=1)
    source = OnnxSource(model=str(folder), query_prefix="key: ", passage_prefix="gate route: ")
    prefixed = load_embedder_for(source, cache_dir=cache, threads=1)
    np.testing.assert_allclose(prefixed.embed_query("ledger"), plain.embed_query("key: ledger"), atol=1e-6)
    seen: list[int] = []
    np.testing.assert_allclose(
        prefixed.embed(["ledger"] * 3, seen.append), plain.embed(["gate route: ledger"] * 3), atol=1e-6
    )
    assert sum(seen) == 3
    assert prefixed.count_tokens(["ledger"]) == plain.count_tokens(["ledger"])
    prefix_tokens = plain.count_tokens(["gate route: "])[0] - plain.count_tokens([""])[0]
    assert prefixed.max_tokens == plain.max_tokens - prefix_tokens
    assert prefixed.name == plain.name


def test_a_passage_prefix_makes_other_vectors_and_a_query_prefix_does_not(folder: Path, tmp_path: Path) -> None:
    def digest(**prefixes: str) -> str:
        return load_embedder_for(OnnxSource(model=str(folder), **prefixes), cache_dir=tmp_path, threads=1).digest  # type: ignore[arg-type]  # two fields of text

    assert digest() == digest(query_prefix="key: ")
    assert len({digest(), digest(passage_prefix="key: "), digest(passage_prefix="gate: ")}) == 3


def test_a_prefix_that_fills_the_window_is_refused(folder: Path, tmp_path: Path) -> None:
    source = OnnxSource(model=str(folder), passage_prefix="gate " * 14)
    with pytest.raises(ConfigurationError, match="leaves nothing of the 16 tokens"):
        load_embedder_for(source, cache_dir=tmp_path, threads=1)


class Words:
    """An encoder of one axis a word, to see what it was given."""

    name, digest, dimension, max_tokens = "words", "words", 4, 100
    axes = ("query:", "passage:", "gate", "key")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def embed(self, texts: Sequence[str], _: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        found = np.array([[float(axis in text.split()) for axis in self.axes] for text in texts], np.float32)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.asarray(self.embed([text])[0])


def test_a_kept_vector_is_always_a_passages_where_questions_differ() -> None:
    prefixed = PrefixedEmbedder(Words(), query_prefix="query: ", passage_prefix="passage: ")
    alone, together = VectorCache(prefixed), VectorCache(prefixed)
    np.testing.assert_array_equal(alone.embed(["gate"])[0], together.embed(["gate", "key"])[0])
    assert alone.embed(["gate"])[0] @ prefixed.embed_query("gate") < 0.9


torch_is_there = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("sentence_transformers") is None,
    reason="torch and sentence-transformers are not installed: nothing runs in them",
)


@pytest.fixture(scope="module")
def torch_packaged(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return load_embedder_for(TorchSource(model=MODEL), cache_dir=tmp_path_factory.mktemp("torch"), threads=2)


@needs_weights
@torch_is_there
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_and_onnx_make_the_same_vectors(torch_packaged: Embedder, embedder: Embedder) -> None:
    seen: list[int] = []
    np.testing.assert_allclose(torch_packaged.embed(VARIED, seen.append), embedder.embed(VARIED), atol=1e-5)
    assert sum(seen) == len(VARIED)
    for text in VARIED[:3]:
        np.testing.assert_allclose(torch_packaged.embed_query(text), embedder.embed_query(text), atol=1e-5)
    assert torch_packaged.count_tokens(VARIED) == embedder.count_tokens(VARIED)
    assert torch_packaged.embed([]).shape == (0, 384)
    assert (torch_packaged.name, torch_packaged.max_tokens) == (embedder.name, embedder.max_tokens)
    assert torch_packaged.dimension == embedder.dimension
    assert torch_packaged.digest != embedder.digest


@torch_is_there
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_folders_own_prompts_are_used_unless_the_spec_has_others(folder: Path, tmp_path: Path) -> None:
    write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    )
    change(folder / "config.json", model_type="bert", vocab_size=18, type_vocab_size=2, pad_token_id=0)
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "key: ", "document": "gate: "}, "similarity_fn_name": "cosine"},
    )
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "type": f"sentence_transformers.models.{kind}", "path": path}
            for i, (kind, path) in enumerate(kinds.items())
        ],
    )
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    )
    plain = load_embedder(str(folder), cache_dir=tmp_path, threads=1)
    own = load_embedder_for(TorchSource(model=str(folder)), cache_dir=tmp_path, threads=1)
    np.testing.assert_allclose(own.embed_query("ledger"), plain.embed_query("key: ledger"), atol=1e-5)
    np.testing.assert_allclose(own.embed(["ledger"]), plain.embed(["gate: ledger"]), atol=1e-5)
    assert own.max_tokens < plain.max_tokens
    none = TorchSource(model=str(folder), query_prefix="", passage_prefix="")
    without = load_embedder_for(none, cache_dir=tmp_path, threads=1)
    np.testing.assert_allclose(without.embed_query("ledger"), plain.embed_query("ledger"), atol=1e-5)
    assert without.digest != own.digest


@torch_is_there
def test_a_folder_that_torch_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "modules.json").write_text(json.dumps([{"type": "no.such.Module", "path": ""}]), "utf-8")
    with pytest.raises(ConfigurationError, match=r"'.*empty' cannot be read by sentence-transformers"):
        load_embedder_for(TorchSource(model=str(tmp_path / "empty")), cache_dir=tmp_path, threads=1)
    with pytest.raises(ConfigurationError, match="no embedding model 'no-such'"):
        load_embedder_for(TorchSource(model="no-such"), cache_dir=tmp_path, threads=1)


@torch_is_there
def test_torch_without_a_gpu_says_so(folder: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch has a GPU here")
    with pytest.raises(ConfigurationError, match="'cuda' was asked for, and torch sees no GPU"):
        load_embedder_for(TorchSource(model=str(folder), device="cuda"), cache_dir=tmp_path, threads=1)


def test_without_torch_its_extra_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"'torch' is not installed: run pip install 'llmops\[finetune\]'"):
        load_embedder_for(TorchSource(model=str(folder)), cache_dir=tmp_path, threads=1)
