"""What int8 loses is measured on labelled questions, written down, and held against what the spec accepts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmops.clients.embeddings import OnnxSource, load_embedder_for
from llmops.clients.protocols import Embedder
from llmops.errors import ConfigurationError, SpecError, StorageError
from llmops.ingestion.precision import (
    LabelledTexts,
    MeasuredLoss,
    MeasuredRange,
    check_accepted,
    labelled_texts,
    loss_file,
    measure_loss,
    read_loss,
    write_loss,
)
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Chunk, Example
from tests.clients.test_embeddings import needs_weights

DIMENSION = 40


class Axes:
    """Text "3" is axis 3; the coarse one lets some axes point elsewhere."""

    max_tokens, dimension = 100, DIMENSION

    def __init__(self, name: str, moved: dict[int, int] | None = None) -> None:
        self.name, self.digest, self._moved = name, f"digest of {name}", moved or {}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 for _ in texts]

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        if on_progress is not None:
            on_progress(len(texts))
        axes = [self._moved.get(int(text), int(text)) for text in texts]
        return np.asarray(np.eye(DIMENSION, dtype=np.float32)[axes])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.asarray(np.eye(DIMENSION, dtype=np.float32)[int(text)])


def labels(n_questions: int = 20) -> LabelledTexts:
    texts = [str(i) for i in range(DIMENSION)]
    questions = {f"q{i}": str(i) for i in range(n_questions)}
    return LabelledTexts(
        questions=questions, texts=texts, owners=texts, relevances={q: {t: 1.0} for q, t in questions.items()}
    )


def test_the_same_vectors_lose_nothing() -> None:
    seen: list[int] = []
    measured = measure_loss(labels(), fp32=Axes("fine"), int8=Axes("coarse"), on_progress=seen.append)
    assert (measured.ndcg_at_10_fp32, measured.ndcg_at_10_int8) == (1.0, 1.0)
    assert measured.loss == MeasuredRange(mean=0, low=0, high=0)
    assert measured.neighbours.mean == 1
    assert (measured.fp32_digest, measured.int8_digest) == ("digest of fine", "digest of coarse")
    assert (measured.n_questions, measured.n_texts, sum(seen)) == (20, DIMENSION, 2 * DIMENSION)


def test_a_loss_is_the_paired_difference_with_its_interval() -> None:
    """Of 20 questions two find each other's answer first, and a third finds none."""
    coarse = Axes("coarse", moved={0: 1, 1: 0, 15: 39})
    measured = measure_loss(labels(), fp32=Axes("fine"), int8=coarse)
    assert measured.ndcg_at_10_fp32 == 1
    assert measured.loss.mean == pytest.approx((2 * (1 - 1 / np.log2(3)) + 1) / 20)
    assert measured.ndcg_at_10_int8 == pytest.approx(1 - measured.loss.mean)
    assert 0 <= measured.loss.low < measured.loss.mean < measured.loss.high
    assert measured.neighbours.mean == pytest.approx(1 - 0.1 / 20)
    better = measure_loss(labels(), fp32=coarse, int8=Axes("fine"))
    assert better.loss.mean == pytest.approx(-measured.loss.mean)


def test_a_document_stands_where_its_best_text_does() -> None:
    """Twelve chunks of one document do not push the next one out of the first ten."""
    texts = ["0"] * 12 + ["1", "0"]
    owners = ["long"] * 12 + ["other", "answer"]
    given = LabelledTexts(questions={"q": "0"}, texts=texts, owners=owners, relevances={"q": {"answer": 1.0}})
    measured = measure_loss(given, fp32=Axes("fine"), int8=Axes("coarse"))
    assert measured.ndcg_at_10_fp32 == pytest.approx(1 / np.log2(3))


def test_the_labels_digest_is_of_all_that_was_asked_and_judged() -> None:
    one = labels()
    others = [
        labels(19),
        replace(one, texts=[*one.texts[:-1], "1"]),
        replace(one, owners=[*one.owners[:-1], "x"]),
        replace(one, relevances={**one.relevances, "q0": {"0": 2.0}}),
    ]
    assert len({found.digest for found in (one, *others)}) == 5
    assert labels().digest == one.digest


def piece(chunk_id: str, uri: str, text: str) -> Chunk:
    return Chunk(
        chunk_id=chunk_id, document_id=uri, uri=uri, title=uri, ordinal=0, text=text, start=0, end=len(text),
        heading_path=("Guide",), locator="", n_tokens=5, acl=("everyone",),
    )  # fmt: skip


def test_examples_are_judged_by_quotes_else_by_sources() -> None:
    chunks = [
        piece("a", "one.md", "Roll back with\n  one command."),
        piece("b", "one.md", "Something else."),
        piece("c", "two.md", "Roll back with one command."),
    ]
    examples = [
        Example(example_id="quoted", question="How?", answers=("so",), evidence=("with one  command",)),
        Example(example_id="sourced", question="Where?", answers=("there",), sources=("one.md",)),
        Example(example_id="unanswerable", question="Why?"),
        Example(example_id="elsewhere", question="Who?", answers=("x",), sources=("three.md",)),
    ]
    found = labelled_texts(examples, chunks)
    assert found.relevances == {"quoted": {"a": 1.0, "c": 1.0}, "sourced": {"a": 1.0, "b": 1.0}}
    assert found.questions == {"quoted": "How?", "sourced": "Where?"}
    assert list(found.texts) == [chunk.embedded_text for chunk in chunks]
    with pytest.raises(ConfigurationError, match="no labelled question is answered by a chunk"):
        labelled_texts(examples[2:], chunks)


def spec(folder: Path, **embed: Any) -> IngestionSpec:
    value = {
        "name": "docs",
        "description": "Documentation.",
        "source": {"type": "folder", "path": ".", "acl": ["everyone"]},
        "embed": embed,
    }
    return IngestionSpec.model_validate_json(json.dumps(value)).located(str(folder / "docs.yaml"))


def measurement(*, mean: float = 0.001, low: float = -0.004, high: float = 0.006, **fields: Any) -> MeasuredLoss:
    given = {
        "encoder": "all-MiniLM-L6-v2",
        "fp32_digest": "fine",
        "int8_digest": "coarse",
        "labels_digest": "labels",
        "n_questions": 300,
        "n_texts": 5_000,
        "ndcg_at_10_fp32": 0.65,
        "ndcg_at_10_int8": 0.65 - mean,
        "loss": MeasuredRange(mean=mean, low=low, high=high),
        "neighbours": MeasuredRange(mean=0.95, low=0.94, high=0.96),
        "measured_at": datetime(2026, 11, 21, tzinfo=UTC),
        **fields,
    }
    return MeasuredLoss(**given)


INT8: dict[str, Any] = {"precision": "int8", "accepts_loss_of": 0.01}


def test_a_measured_loss_within_what_is_accepted_lets_int8_begin(tmp_path: Path) -> None:
    given = spec(tmp_path, **INT8)
    write_loss(loss_file(given), measurement())
    assert loss_file(given).name == "docs.int8.json"
    assert read_loss(loss_file(given)) == measurement()
    check_accepted(given, "coarse")


def test_other_encoders_need_no_measurement(tmp_path: Path) -> None:
    check_accepted(spec(tmp_path), "anything")
    check_accepted(spec(tmp_path, accepts_loss_of=0.01), "anything")
    remote = {"type": "openai", "base_url": "http://127.0.0.1/v1", "model": "m", "dimension": 3}
    check_accepted(spec(tmp_path, **remote), "anything")


@pytest.mark.parametrize(
    ("measured", "digest", "problem"),
    [
        (None, "coarse", r"never measured: there is no .*docs\.int8\.json'; measure it"),
        (measurement(), "retrained", "measured with other weights, prefix or quantisation"),
        (measurement(mean=0.02, high=0.03), "coarse", r"loses more than the 0\.01 .*loss \+0\.0200"),
        (measurement(high=0.019), "coarse", "is open: .*about 1200 questions would decide"),
        (measurement(mean=0.01, high=0.012), "coarse", "is open: .*accept more, or use fp32"),
    ],
)
def test_int8_does_not_begin_on_less(
    tmp_path: Path, measured: MeasuredLoss | None, digest: str, problem: str
) -> None:
    given = spec(tmp_path, **INT8)
    if measured is not None:
        write_loss(loss_file(given), measured)
    with pytest.raises(ConfigurationError, match=problem):
        check_accepted(given, digest)


@pytest.mark.parametrize("content", ["", "[]", '{"encoder": "x"}', "{", '{"n_questions": 0}'])
def test_a_file_that_is_no_measurement_is_named(tmp_path: Path, content: str) -> None:
    given = spec(tmp_path, **INT8)
    loss_file(given).write_text(content, "utf-8")
    with pytest.raises(SpecError, match=r"docs\.int8\.json.*is no measurement of int8"):
        check_accepted(given, "coarse")


def test_a_folder_that_takes_no_files_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        write_loss(tmp_path / "file" / "docs.int8.json", measurement())


@needs_weights
def test_real_int8_is_measured_and_accepted_end_to_end(embedder: Embedder, tmp_path: Path) -> None:
    topics = [
        "releases",
        "traces",
        "drift",
        "limits",
        "tenants",
        "prompts",
        "judges",
        "budgets",
        "adapters",
        "queues",
    ]
    texts = [f"This page explains {topic}: what {topic} are for and how {topic} are set up." for topic in topics]
    given = LabelledTexts(
        questions={topic: f"How do I set up {topic}?" for topic in topics},
        texts=texts,
        owners=topics,
        relevances={topic: {topic: 1.0} for topic in topics},
    )
    int8 = load_embedder_for(
        OnnxSource(model="all-MiniLM-L6-v2", precision="int8"), cache_dir=tmp_path / "models", threads=2
    )
    measured = measure_loss(given, fp32=embedder, int8=int8)
    assert measured.ndcg_at_10_fp32 > 0.9
    write_loss(loss_file(spec(tmp_path, **INT8)), measured)
    check_accepted(spec(tmp_path, precision="int8", accepts_loss_of=0.5), int8.digest)
    with pytest.raises(ConfigurationError, match="measured with other weights"):
        check_accepted(spec(tmp_path, **INT8), embedder.digest)
    int8.close()  # type: ignore[attr-defined]  # lanes are this embedder's own matter
