"""Labels: two forms of a line, errors that name the line, and halves that nobody chooses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llmops.datasets import Label, Relevant, label_json, labels_of, load_labels
from llmops.errors import SpecError

LABEL: dict[str, Any] = {"id": "fee", "query": "late fee?", "relevant": [{"uri": "fees.md"}]}


def write(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "labels.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_label_names_documents_quotes_and_gains(tmp_path: Path) -> None:
    relevant = [{"uri": "fees.md", "quote": "fifty cents", "gain": 2}, {"uri": "rules.md"}]
    [label] = load_labels(write(tmp_path, {**LABEL, "relevant": relevant})).labels
    assert (label.label_id, label.query, label.is_of_passages) == ("fee", "late fee?", True)
    assert label.relevant == (
        Relevant(uris=("fees.md",), quotes=("fifty cents",), gain=2.0),
        Relevant(uris=("rules.md",)),
    )


def test_examples_of_a_suite_are_labels_too(tmp_path: Path) -> None:
    example = {"id": "a", "question": "late fee?", "answers": ["fifty cents"], "sources": ["fees.md", "faq.md"]}
    quoting = {**example, "id": "b", "evidence": ["fifty cents a day", "50 cents"]}
    beyond = {"id": "c", "question": "weather?", "answers": []}
    labels = load_labels(write(tmp_path, example, quoting, beyond, LABEL))
    assert labels.n_unanswerable == 1
    by_id = {label.label_id: label for label in labels.labels}
    assert by_id.keys() == {"a", "b", "fee"}
    assert by_id["a"].relevant == (Relevant(uris=("fees.md",)), Relevant(uris=("faq.md",)))
    # quotes are alternatives: one thing is looked for, wherever it is said
    assert by_id["b"].relevant == (Relevant(uris=("fees.md", "faq.md"), quotes=("fifty cents a day", "50 cents")),)


def test_the_handbooks_own_examples_can_be_used() -> None:
    labels = load_labels(Path(__file__).parents[2] / "evals" / "handbook.jsonl")
    assert len(labels.labels) > 50
    assert labels.n_unanswerable > 10
    assert all(label.is_of_passages for label in labels.labels)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "labels.jsonl:2: is not JSON"),
        ("[1]", "labels.jsonl:2: holds a list, not an object"),
        ({"id": "x", "query": "q"}, "labels.jsonl:2: relevant: is required; add it"),
        ({"id": "x", "query": "q", "relevant": []}, "labels.jsonl:2: relevant: "),
        ({"id": "x", "query": " ", "relevant": [{"uri": "a"}]}, "labels.jsonl:2: query: is blank"),
        ({"id": "x", "query": "q", "relevant": [{"url": "a"}]}, "labels.jsonl:2: relevant.0.url: unknown field"),
        ({"id": "x", "query": "q", "relevant": [{"uri": "a", "gain": 0}]}, "labels.jsonl:2: relevant.0.gain: "),
        (
            {"id": "x", "query": "q", "relevant": [{"uri": "a", "quote": ""}]},
            "labels.jsonl:2: relevant.0.quote: is blank",
        ),
        (
            {"id": "x", "query": "q", "source": ["a"], "relevant": [{"uri": "a"}]},
            "labels.jsonl:2: source: unknown field; there is: id, ",
        ),
        (LABEL, "labels.jsonl:2: the id 'fee' is already that of line 1; give it another"),
        (
            {"id": "x", "question": "q", "answers": ["a"]},
            "labels.jsonl:2: sources: the example 'x' names no sources",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_its_line(line: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, LABEL, line)
    with pytest.raises(SpecError, match=re.escape(said)):
        load_labels(path)


@pytest.mark.parametrize("text", ["", "\n \n", '{"id": "c", "question": "weather?", "answers": []}\n'])
def test_a_file_without_labels_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"holds no labels; write one JSON object a line"):
        load_labels(path)
    with pytest.raises(SpecError, match="no such file"):
        load_labels(tmp_path / "nowhere.jsonl")


def test_halves_follow_the_id_alone() -> None:
    labels = labels_of(
        tuple(Label(label_id=f"q{n}", query="?", relevant=(Relevant(uris=("a",)),)) for n in range(400))
    )
    dev, test = labels.part("dev"), labels.part("dev-test")
    assert len(dev) + len(test) == 400
    assert 160 < len(dev) < 240
    again = Label(label_id=dev[0].label_id, query="something else", relevant=(Relevant(uris=("b",)),))
    assert again.part == "dev"


def test_the_digest_is_of_the_content_and_not_of_the_order() -> None:
    one, two = (Label(label_id=key, query=key, relevant=(Relevant(uris=("a",)),)) for key in ("q1", "q2"))
    assert labels_of((one, two)).digest == labels_of((two, one)).digest
    changed = Label(label_id="q2", query="q2", relevant=(Relevant(uris=("a",), gain=2.0),))
    assert labels_of((one, changed)).digest != labels_of((one, two)).digest
    assert label_json(one) == {
        "id": "q1",
        "query": "q1",
        "relevant": [{"uris": ["a"], "quotes": [], "gain": 1.0}],
    }
