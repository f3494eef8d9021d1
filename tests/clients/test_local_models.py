"""A cross-encoder from a folder: a tiny one with random weights, made here, whose own scores decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from llmops.clients.local_models import CrossEncoderReranker
from llmops.errors import ConfigurationError
from tests.clients.test_rerankers import chunk

transformers = pytest.importorskip("transformers", reason="needs the extra finetune")
torch = pytest.importorskip("torch", reason="needs the extra finetune")
pytest.importorskip("sentence_transformers", reason="needs the extra finetune")
tokenizers = pytest.importorskip("tokenizers", reason="needs the extra ingest")

WORDS = "lunch is at noon badge cost five euro a lost the of who finds it desk keeps every found thing".split()
TEXTS = [
    "lunch is at noon",
    "a badge cost five euro",
    "the desk keeps every found thing",
    "who finds a lost badge",
]
QUERY = "who keeps a lost badge"


def save_model(folder: Path, *, n_labels: int = 1) -> Path:
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(WORDS)])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **special,
    ).save_pretrained(folder)
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
        num_labels=n_labels,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def own_scores(folder: Path, query: str, texts: Sequence[str]) -> list[float]:
    """What the model says when it is asked without our code and without sentence-transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = tokenizer([query] * len(texts), list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return [float(score) for score in model(**encoded).logits[:, 0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("reranker"))


def test_scores_are_the_models_own(folder: Path) -> None:
    scores = CrossEncoderReranker(folder=str(folder)).score(QUERY, [chunk(text) for text in TEXTS])
    own = own_scores(folder, QUERY, TEXTS)
    assert scores == pytest.approx(own, abs=1e-5)
    order = sorted(range(len(TEXTS)), key=lambda i: -scores[i])
    assert order == sorted(range(len(TEXTS)), key=lambda i: -own[i])
    assert len(set(scores)) == len(TEXTS)


def test_batches_do_not_change_scores(folder: Path) -> None:
    chunks = [chunk(text) for text in TEXTS]
    alone = CrossEncoderReranker(folder=str(folder), batch=1).score(QUERY, chunks)
    assert CrossEncoderReranker(folder=str(folder), batch=3).score(QUERY, chunks) == pytest.approx(alone, abs=1e-5)


def test_headings_are_read_with_the_passage(folder: Path) -> None:
    reranker = CrossEncoderReranker(folder=str(folder))
    (score,) = reranker.score(QUERY, [chunk("the desk keeps it", "lost thing")])
    assert score == pytest.approx(own_scores(folder, QUERY, ["lost thing\nthe desk keeps it"])[0], abs=1e-5)


def test_long_passages_are_cut(folder: Path) -> None:
    reranker = CrossEncoderReranker(folder=str(folder), max_tokens=16)
    short, long = reranker.score("badge", [chunk("lunch " * 30), chunk("lunch " * 300)])
    assert short == pytest.approx(long, abs=1e-5)


def test_no_more_is_read_than_the_model_was_made_for(folder: Path) -> None:
    reranker = CrossEncoderReranker(folder=str(folder), max_tokens=4096)
    (score,) = reranker.score("badge", [chunk("lunch " * 300)])
    assert score == pytest.approx(own_scores(folder, "badge", ["lunch " * 300])[0], abs=1e-5)


def test_nothing_to_rank_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert CrossEncoderReranker(folder=str(tmp_path)).score(QUERY, []) == []


def test_a_folder_without_a_model_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no cross-encoder in '.*' \(no config.json\); save a model there"
    ):
        CrossEncoderReranker(folder=str(tmp_path / "nothing"))


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="cannot be read as a cross-encoder: "):
        CrossEncoderReranker(folder=str(tmp_path)).score(QUERY, [chunk("lunch")])


def test_a_classifier_of_several_labels_is_no_reranker(tmp_path: Path) -> None:
    reranker = CrossEncoderReranker(folder=str(save_model(tmp_path, n_labels=3)))
    with pytest.raises(ConfigurationError, match="has 3 labels, and a reranker has one"):
        reranker.score(QUERY, [chunk("lunch")])
