"""A suite's report as JSON, and two of them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.evals.report import Change, Comparison, ExampleResult, Slice, SuiteReport, compare
from llmops.metrics import Interval
from llmops.records import Example, GateCheck
from llmops.releases.verdicts import gate_check
from llmops.scoring import GateRule, judge, measure, metric_named

STARTED = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
CONTENTS = {"route:assistant": "r1", "prompt:answer": "p1", "collection:docs": "c1"}


def result(example_id: str, text: str = "x", **readings: float | tuple[float, ...] | None) -> ExampleResult:
    rows = {
        name.replace("_at_", "@"): value if isinstance(value, tuple) else (value,)
        for name, value in readings.items()
        if value is not None
    }
    example = Example(example_id=example_id, question=f"What is {example_id}?", answers=("it",), tags=("t",))
    return ExampleResult(example=example, part="dev", text=text, readings=rows, latency_ms=12.5)


def report(
    *results: ExampleResult, contents: Mapping[str, str] | None = None, report_id: str = "ver_1"
) -> SuiteReport:
    metrics = dict.fromkeys(name for found in results for name in found.readings)
    measured = [
        measure(metric_named(name), [found.readings[name] for found in results if name in found.readings])
        for name in metrics
    ]
    whole = Slice(part=None, tag=None, n=len(results), values=tuple(value for value in measured if value))
    checks = tuple(judge(GateRule(metric=value.metric, threshold=0.5), value) for value in whole.values)
    return SuiteReport(
        report_id=report_id,
        suite="library",
        suite_digest="d",
        route="assistant",
        contents=CONTENTS if contents is None else contents,
        started_at=STARTED,
        duration_s=1.5,
        results=results,
        slices=(whole,),
        checks=checks,
        outcome="pass",
    )


def stored(made: SuiteReport) -> dict[str, Any]:
    """As the ledger gives it back."""
    value: dict[str, Any] = orjson.loads(orjson.dumps(made.as_json()))
    return value


def compared(before: SuiteReport, after: SuiteReport) -> Comparison:
    return compare(stored(before), stored(after))


def change(comparison: Comparison, metric: str) -> Change:
    return next(found for found in comparison.changes if found.metric == metric)


# One report


def test_a_report_survives_its_json() -> None:
    made = report(
        result("ä", "Nine \U0001f600\n[1].", recall_at_5=1.0, abstention_f1=(0.0, 1.0)),
        replace(result("b"), error="ValueError: broken", cited=("a.md",), retrieved=("a.md", "b.md")),
        replace(result("c"), errors={"token_f1": "KeyError: 'x'"}),
    )
    value = made.as_json()
    assert stored(made) == value
    assert datetime.fromisoformat(value["started_at"]) == STARTED
    assert tuple(gate_check(check) for check in value["checks"]) == made.checks
    assert (value["report_id"], value["contents"], value["outcome"]) == ("ver_1", CONTENTS, "pass")
    first = value["results"][0]
    assert (first["id"], first["text"]) == ("ä", "Nine \U0001f600\n[1].")
    assert first["readings"] == {"recall@5": [1.0], "abstention_f1": [0.0, 1.0]}
    assert first["example"] == {
        "question": "What is ä?",
        "answers": ["it"],
        "sources": [],
        "evidence": [],
        "tags": ["t"],
        "origin": "",
    }
    assert value["results"][1]["retrieved"] == ["a.md", "b.md"]
    assert [(found["error"], found["errors"]) for found in value["results"]] == [
        ("", {}),
        ("ValueError: broken", {}),
        ("", {"token_f1": "KeyError: 'x'"}),
    ]
    assert value["n_errors"] == made.n_errors == 2


def test_an_open_check_survives_its_json() -> None:
    nothing = GateCheck(rule="r", outcome="inconclusive", measured=None, reason="why")
    made = replace(report(result("a")), checks=(nothing,), outcome="inconclusive")
    assert tuple(gate_check(check) for check in stored(made)["checks"]) == (nothing,)


def test_a_slice_has_a_name_and_its_values() -> None:
    whole = report(result("a", token_f1=0.5)).slices[0]
    assert whole.name == "all"
    assert (replace(whole, part="dev").name, replace(whole, part="dev", tag="hours").name) == ("dev", "dev hours")
    value = whole.value("token_f1")
    assert value is not None
    assert value.value == 0.5
    assert whole.value("recall@5") is None


# Two reports


def test_a_run_compared_with_itself_shows_no_change() -> None:
    made = report(result("a", token_f1=0.5), result("b", token_f1=1.0))
    comparison = compared(made, made)
    assert comparison == Comparison(
        before_id="ver_1",
        contents_changed=(),
        changes=(
            Change(
                metric="token_f1", before=0.75, after=0.75, difference=Interval(mean=0.0, low=0.0, high=0.0), n=2
            ),
        ),
        changed=(),
    )


def test_the_difference_is_paired() -> None:
    """Every answer is 0.1 better: that is certain, however much the examples differ among themselves."""
    scores = [0.0, 0.9, 0.3, 0.6, 0.1, 0.8]
    before = report(*(result(f"e{n}", token_f1=score) for n, score in enumerate(scores)))
    after = report(*(result(f"e{n}", token_f1=score + 0.1) for n, score in enumerate(scores)))
    found = change(compared(before, after), "token_f1")
    assert found.difference is not None
    assert found.n == 6
    assert found.difference.mean == pytest.approx(0.1)
    assert found.difference.low == pytest.approx(0.1)
    assert found.difference.high == pytest.approx(0.1)
    assert [found.before, found.after] == pytest.approx([0.45, 0.55])


def test_what_one_run_could_not_read_is_in_no_pair() -> None:
    before = report(result("a", token_f1=0.0), result("b", token_f1=0.5), result("c", token_f1=None))
    after = report(result("c", token_f1=1.0), result("b", token_f1=1.0), result("a", token_f1=None))
    found = change(compared(before, after), "token_f1")
    assert found.n == 1
    assert found.difference == Interval(mean=0.5, low=0.5, high=0.5)
    assert (found.before, found.after) == (0.25, 1.0)  # each run's own value, on all of its examples


def test_only_means_of_examples_have_a_difference_for_each() -> None:
    before = report(result("a", token_f1=0.0, abstention_f1=(1.0, 1.0), latency_p95_ms=100.0))
    after = report(result("a", token_f1=0.0, abstention_f1=(0.0, 1.0), latency_p95_ms=250.0))
    comparison = compared(before, after)
    assert [(found.metric, found.difference is None, found.n) for found in comparison.changes] == [
        ("token_f1", False, 1),
        ("abstention_f1", True, 0),
        ("latency_p95_ms", True, 0),
    ]
    assert (change(comparison, "abstention_f1").before, change(comparison, "abstention_f1").after) == (1.0, 0.0)
    assert (change(comparison, "latency_p95_ms").before, change(comparison, "latency_p95_ms").after) == (100, 250)


def test_a_metric_of_one_run_only_is_not_compared() -> None:
    comparison = compared(report(result("a", token_f1=1.0)), report(result("a", token_recall=1.0)))
    assert comparison.changes == ()


def test_answers_in_other_words_are_shown() -> None:
    before = report(result("a", "Nine."), result("b", "Ten."), result("gone", "So."))
    after = report(result("new", "Yes."), result("b", "Ten!"), result("a", "Nine."))
    assert compared(before, after).changed == (("b", "What is b?", "Ten.", "Ten!"),)


def test_an_answer_that_failed_is_a_changed_one() -> None:
    failed = replace(result("a", ""), error="silent")
    assert compared(report(result("a", "Nine.")), report(failed)).changed == (("a", "What is a?", "Nine.", ""),)


@pytest.mark.parametrize("field", ["question", "answers", "sources", "evidence"])
def test_an_example_that_was_rewritten_is_another_one(field: str) -> None:
    one, other = result("a", "Nine.", token_f1=0.0), result("a", "Ten.", token_f1=1.0)
    changes: dict[str, Any] = {field: "Why?" if field == "question" else ("other",)}
    comparison = compared(report(one), report(replace(other, example=replace(other.example, **changes))))
    assert comparison.changed == ()
    assert (change(comparison, "token_f1").difference, change(comparison, "token_f1").n) == (None, 0)


def test_another_tag_makes_no_other_example() -> None:
    one = result("a", "Nine.", token_f1=0.0)
    tagged = replace(one, example=replace(one.example, tags=("new",)), part="held-out")
    assert change(compared(report(one), report(tagged)), "token_f1").n == 1


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (CONTENTS, ()),
        ({**CONTENTS, "prompt:answer": "p2"}, ("prompt:answer",)),
        ({**CONTENTS, "prompt:answer": "p2", "collection:docs": "c2"}, ("collection:docs", "prompt:answer")),
        ({**CONTENTS, "guardrails:default": "g1"}, ("guardrails:default",)),
        ({"route:assistant": "r1"}, ("collection:docs", "prompt:answer")),
    ],
)
def test_what_was_measured_differently_is_named(contents: dict[str, str], expected: tuple[str, ...]) -> None:
    assert compared(report(result("a")), report(result("a"), contents=contents)).contents_changed == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_the_comparison_seen_from_the_other_side_is_its_negative(pairs: Sequence[tuple[float, float]]) -> None:
    before = report(*(result(f"e{n}", token_f1=one) for n, (one, _) in enumerate(pairs)))
    after = report(*(result(f"e{n}", token_f1=other) for n, (_, other) in enumerate(pairs)))
    forth, back = (change(c, "token_f1") for c in (compared(before, after), compared(after, before)))
    assert forth.difference is not None
    assert back.difference is not None
    assert forth.difference.mean == pytest.approx(-back.difference.mean, abs=1e-12)
    assert forth.difference.mean == pytest.approx(forth.after - forth.before, abs=1e-9)
    assert -1 <= forth.difference.low <= forth.difference.mean <= forth.difference.high <= 1
