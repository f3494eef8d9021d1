"""What a suite found: values with intervals, rules with outcomes, and every single answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson

from llmops.metrics import Interval, bootstrap_interval
from llmops.records import Example, GateCheck, MetricValue, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleResult:
    """One question: what was answered, and what each metric read of it.

    Attributes:
        cited: uris of the cited documents, in order.
        retrieved: uris of the passages, best first.
        readings: metric to the row it read; a metric that does not apply is not there.
        errors: metric to why it failed.
        error: why there is no answer at all, or "".
    """

    example: Example
    part: str
    text: str = ""
    abstains: bool = False
    cited: tuple[str, ...] = ()
    retrieved: tuple[str, ...] = ()
    latency_ms: float = 0.0
    readings: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Some of the examples with their values; `part` and `tag` None means all."""

    part: str | None
    tag: str | None
    n: int
    values: tuple[MetricValue, ...]

    @property
    def name(self) -> str:
        return " ".join(name for name in (self.part, self.tag) if name) or "all"

    def value(self, metric: str) -> MetricValue | None:
        return next((value for value in self.values if value.metric == metric), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteReport:
    """A run of a suite; its id is the verdict's."""

    report_id: str
    suite: str
    suite_digest: str
    route: str
    contents: Mapping[str, str]
    started_at: datetime
    duration_s: float
    results: tuple[ExampleResult, ...]
    slices: tuple[Slice, ...]
    checks: tuple[GateCheck, ...]
    outcome: Outcome

    @property
    def n_errors(self) -> int:
        """Examples on which the route or a metric failed."""
        return sum(bool(result.error or result.errors) for result in self.results)

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it and the ledger keeps it."""
        value: dict[str, Any] = orjson.loads(orjson.dumps(asdict(self)))
        value["n_errors"] = self.n_errors
        for result in value["results"]:
            result["id"] = result["example"].pop("example_id")
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One metric before and after; the difference is paired: on the examples both runs have.

    Attributes:
        difference: after minus before, with its 95 % interval; None for metrics that are no mean of examples.
    """

    metric: str
    before: float
    after: float
    difference: Interval | None
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        changed: ids of the examples that were answered in other words.
    """

    before_id: str
    contents_changed: tuple[str, ...]
    changes: tuple[Change, ...]
    changed: tuple[tuple[str, str, str, str], ...]
    """Example id, question, answer before, answer after."""

    held_out: tuple[str, ...] = ()
    """Those of them that are held out: to be counted, and not to be read."""


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """Two reports, as `as_json` gives them; an example that was rewritten in between is another one."""
    earlier = {(result["id"], *_known(result)): result for result in before["results"]}
    keys = [((result["id"], *_known(result)), result) for result in after["results"]]
    pairs = [(earlier[key], result) for key, result in keys if key in earlier]
    whole_before, whole_after = (_values(report) for report in (before, after))
    changes = []
    for metric, value in whole_after.items():
        if metric not in whole_before:
            continue
        differences = _differences(metric, pairs)
        changes.append(
            Change(
                metric=metric,
                before=whole_before[metric],
                after=value,
                difference=bootstrap_interval(differences) if differences else None,
                n=len(differences),
            )
        )
    contents = set(before["contents"].items()) ^ set(after["contents"].items())
    return Comparison(
        before_id=before["report_id"],
        contents_changed=tuple(sorted({name for name, _ in contents})),
        changes=tuple(changes),
        changed=tuple(
            (b["id"], b["example"]["question"], b["text"], a["text"]) for b, a in pairs if a["text"] != b["text"]
        ),
        held_out=tuple(a["id"] for b, a in pairs if a["text"] != b["text"] and a["part"] == "held-out"),
    )


def _known(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides how an answer is scored."""
    example = result["example"]
    return (example["question"], *(tuple(example[name]) for name in ("answers", "sources", "evidence")))


def _values(report: Mapping[str, Any]) -> dict[str, float]:
    return {value["metric"]: value["value"] for value in report["slices"][0]["values"]}


def _differences(metric: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[float]:
    rows = [
        (b["readings"][metric], a["readings"][metric])
        for b, a in pairs
        if metric in b["readings"] and metric in a["readings"]
    ]
    return [a[0] - b[0] for b, a in rows if len(a) == 1] if not metric.startswith("latency") else []
