"""A suite's file: what it may say, and what is refused with file, line and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmops.config import load_spec
from llmops.errors import SpecError
from llmops.evals.spec import SuiteSpec
from llmops.scoring import GateRule

EXAMPLES = '{"id": "a", "question": "Q?", "answers": ["x"]}\n{"id": "b", "question": "R?", "answers": []}\n'
SUITE = """name: library
description: Does it answer?
route: assistant
datasets: [library.jsonl]
metrics: [recall@5, token_f1]
gate:
  - {metric: recall@5, at_least: 0.9}
"""


def load(root: Path, text: str = SUITE) -> SuiteSpec:
    (root / "library.jsonl").write_text(EXAMPLES)
    path = root / "library.yaml"
    path.write_text(text)
    return load_spec(SuiteSpec, path)


def test_a_suite_measures_what_it_lists_and_what_its_gate_needs(tmp_path: Path) -> None:
    gate = """
  - {metric: latency_p95_ms, at_most: 1500, by: interval}
  - {metric: recall@5, at_least: 1, part: held-out, tag: correction}
  - {metric: token_f1, at_least: 0.5, part: dev}
"""
    suite = load(tmp_path, SUITE.replace("\n  - {metric: recall@5, at_least: 0.9}\n", gate) + "held_out: 0.3\n")
    assert suite.rules == (
        GateRule(metric="latency_p95_ms", threshold=1500.0, direction="at most", by="interval"),
        GateRule(metric="recall@5", threshold=1.0, part="held-out", tag="correction"),
        GateRule(metric="token_f1", threshold=0.5, part="dev"),
    )
    assert suite.measured == ("recall@5", "token_f1", "latency_p95_ms")  # each once


def test_its_defaults(tmp_path: Path) -> None:
    suite = load(tmp_path)
    assert (suite.held_out, suite.concurrency) == (0.0, 4)
    assert suite.rules == (GateRule(metric="recall@5", threshold=0.9, direction="at least", by="mean"),)


def test_a_suite_without_a_gate_only_reports(tmp_path: Path) -> None:
    suite = load(tmp_path, SUITE.partition("gate:")[0])
    assert (suite.rules, suite.measured) == ((), ("recall@5", "token_f1"))


def test_a_threshold_of_nothing_is_a_threshold(tmp_path: Path) -> None:
    suite = load(tmp_path, SUITE.replace("at_least: 0.9", "at_most: 0"))
    assert suite.rules == (GateRule(metric="recall@5", threshold=0.0, direction="at most"),)


def test_datasets_stand_beside_the_suite(tmp_path: Path) -> None:
    folder = tmp_path / "evals"
    folder.mkdir()
    suite = load(folder, SUITE.replace("[library.jsonl]", "[library.jsonl, ../more.jsonl]"))
    with pytest.raises(SpecError, match=r"more\.jsonl: no such file; check the path"):
        suite.dataset()
    (tmp_path / "more.jsonl").write_text('{"id": "c", "question": "S?"}')
    assert [example.example_id for example in suite.dataset().examples] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        ("token_f1]", "f1]", ":5: metrics", "there is no metric 'f1'; there is: recall@K, ndcg@K, token_f1, "),
        ("recall@5, t", "recall@0, t", ":5: metrics", "there is no metric 'recall@0'; there is: recall@K"),
        ("metrics: [recall@5, token_f1]", "metrics: []", ":5: metrics", "needs at least 1, and has 0"),
        ("metric: recall@5", "metric: recall5", ":7: gate.0.metric", "there is no metric 'recall5'; there is: "),
        (", at_least: 0.9", "", ":7: gate.0", "needs at_least or at_most, and not both"),
        ("at_least: 0.9", "at_least: 0.9, at_most: 1", ":7: gate.0", "needs at_least or at_most, and not both"),
        ("at_least: 0.9", "at_leest: 0.9", ":7: gate.0.at_leest", "unknown field; did you mean 'at_least'?"),
        ("at_least: 0.9", "at_least: .nan", ":7: gate.0.at_least", "input should be a finite number, not nan"),
        ("at_least: 0.9", "at_most: .inf", ":7: gate.0.at_most", "input should be a finite number, not inf"),
        ("at_least: 0.9", "at_least: high", ":7: gate.0.at_least", "input should be a valid number, not 'high'"),
        ("at_least: 0.9", "at_least: 90%", ":7: gate.0.at_least", "input should be a valid number, not '90%'"),
        ("0.9}", "0.9, by: median}", ":7: gate.0.by", "input should be 'mean' or 'interval', not 'median'"),
        ("0.9}", "0.9, part: test}", ":7: gate.0.part", "input should be 'dev' or 'held-out', not 'test'"),
        (
            "0.9}",
            "0.9, part: held-out}",
            ":6: gate",
            "has a rule on the part 'held-out', and held_out is 0: state",
        ),
        ("gate:", "held_out: 1.0\ngate:", ":6: held_out", "input should be less than 1, not 1.0"),
        ("gate:", "held_out: -0.1\ngate:", ":6: held_out", "input should be greater than or equal to 0, not -0.1"),
        ("gate:", "concurrency: 0\ngate:", ":6: concurrency", "input should be greater than or equal to 1, not 0"),
        ("[library.jsonl]", "[]", ":4: datasets", "needs at least 1, and has 0"),
        ("[library.jsonl]", "library.jsonl", ":4: datasets", "input should be a valid array, not 'library.jsonl'"),
        ("name: library", "name: My Suite", ":1: name", "string should match pattern"),
        ("route: assistant\n", "", ":1: route", "is required; add it"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(
    tmp_path: Path, old: str, new: str, place: str, problem: str
) -> None:
    assert SUITE.count(old) == 1
    with pytest.raises(SpecError, match=re.escape(problem)) as refused:
        load(tmp_path, SUITE.replace(old, new))
    assert str(refused.value).startswith(f"{tmp_path / 'library.yaml'}{place}: {problem}")
    assert "\n" not in str(refused.value)
