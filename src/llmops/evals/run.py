"""Running a suite: every question is asked of the route as users ask it, and every answer is scored."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import anyio
from anyio import to_thread

from llmops.config import digest
from llmops.datasets import Dataset, part_of
from llmops.errors import LlmopsError
from llmops.evals.report import ExampleResult, Slice, SuiteReport
from llmops.evals.spec import SuiteSpec
from llmops.records import EVERYONE, Caller, Example, GateCheck, MetricValue, Trace
from llmops.scoring import GateRule, Metric, Observed, decide, judge, measure, metric_named
from llmops.serving.answer import Question, answer
from llmops.serving.conversation import Conversation
from llmops.serving.route import Route

OnProgress = Callable[[int, int], None]
_CALLER = Caller(name="eval", role="admin", principals=(EVERYONE,))


def suite_digest(suite: SuiteSpec, dataset: Dataset) -> str:
    """SHA-256 (hex) of everything that decides what the suite asks and what passes."""
    return digest([suite.spec_hash, dataset.digest])


async def run_suite(
    suite: SuiteSpec,
    dataset: Dataset,
    route: Route,
    *,
    contents: Mapping[str, str],
    on_progress: OnProgress = lambda _done, _of: None,
) -> SuiteReport:
    """Ask, score and judge.

    Args:
        route: with the prompt, the collection and the policy that are to be measured.
        contents: what the route is made of, for the verdict.

    Returns:
        A report even when answers or metrics failed: they are counted, and a gate never passes on them.
    """
    metrics = [metric_named(name) for name in suite.measured]
    results: dict[str, ExampleResult] = {}
    started_at, began = datetime.now(UTC), time.perf_counter()
    limiter = anyio.CapacityLimiter(suite.concurrency)

    async def ask(example: Example) -> None:
        async with limiter:
            results[example.example_id] = await _result(example, suite, route, metrics)
        on_progress(len(results), len(dataset.examples))

    async with anyio.create_task_group() as group:
        for example in dataset.examples:
            group.start_soon(ask, example)
    in_order = tuple(results[example.example_id] for example in dataset.examples)
    # In a thread: thousands of resamples take a second, and a gateway answers others on this event loop.
    slices = await to_thread.run_sync(_slices, suite, metrics, in_order)
    checks = tuple(_check(rule, slices, in_order) for rule in suite.rules)
    return SuiteReport(
        report_id=f"ver_{uuid.uuid4().hex}",
        suite=suite.name,
        suite_digest=suite_digest(suite, dataset),
        route=route.name,
        contents=dict(contents),
        started_at=started_at,
        duration_s=time.perf_counter() - began,
        results=in_order,
        slices=slices,
        checks=checks,
        outcome=decide(checks) if checks else "pass",  # a suite without a gate only reports
    )


async def _result(example: Example, suite: SuiteSpec, route: Route, metrics: Sequence[Metric]) -> ExampleResult:
    asked = Question(
        conversation=Conversation(question=example.question, history=()), caller=_CALLER, parameters={}
    )
    part = part_of(example.example_id, suite.held_out)
    began = time.perf_counter()
    try:
        found = await answer(route, asked, _forget)
    except LlmopsError as error:
        return ExampleResult(example=example, part=part, error=str(error))
    except Exception as error:  # noqa: BLE001 (one question must not cost the report on all others)
        return ExampleResult(example=example, part=part, error=f"{type(error).__name__}: {error}")
    observed = Observed(
        text=found.text,
        citations=found.citations,
        passages=found.passages,
        abstains=found.abstains,
        groundedness=found.groundedness,
        latency_ms=(time.perf_counter() - began) * 1000,
    )
    readings: dict[str, tuple[float, ...]] = {}
    errors: dict[str, str] = {}
    for metric in metrics:
        try:
            row = metric.read(example, observed)
        except Exception as error:  # noqa: BLE001 (a metric that fails is counted with its cause; the others go on)
            errors[metric.name] = f"{type(error).__name__}: {error}"
            continue
        if row is not None and not all(map(math.isfinite, row)):
            errors[metric.name] = f"read {row!r}, which is not finite"
        elif row is not None:
            readings[metric.name] = row
    return ExampleResult(
        example=example,
        part=part,
        text=observed.text,
        abstains=observed.abstains,
        cited=tuple(citation.uri for citation in observed.citations),
        retrieved=tuple(passage.source for passage in observed.passages),
        latency_ms=observed.latency_ms,
        readings=readings,
        errors=errors,
    )


def _forget(_: Trace) -> None:
    """Questions of a suite are no traffic: they are in its report, not among the traces."""


def _slices(suite: SuiteSpec, metrics: Sequence[Metric], results: Sequence[ExampleResult]) -> tuple[Slice, ...]:
    """All examples, each part, and every further slice that a rule names."""
    slices: list[tuple[str | None, str | None]] = [(None, None)]
    if suite.held_out:
        slices += [("dev", None), ("held-out", None)]
    slices += [(rule.part, rule.tag) for rule in suite.rules]
    found = []
    for part, tag in dict.fromkeys(slices):
        values = [_value(metric, _within(results, part, tag)) for metric in metrics]
        n = len(_within(results, part, tag))
        found.append(Slice(part=part, tag=tag, n=n, values=tuple(value for value in values if value is not None)))
    return tuple(found)


def _check(rule: GateRule, slices: Sequence[Slice], results: Sequence[ExampleResult]) -> GateCheck:
    judged = next(found for found in slices if (found.part, found.tag) == (rule.part, rule.tag))
    return judge(
        rule,
        judged.value(rule.metric),
        n_errors=_n_errors(rule.metric, _within(results, rule.part, rule.tag)),
    )


def _value(metric: Metric, results: Sequence[ExampleResult]) -> MetricValue | None:
    rows = [result.readings[metric.name] for result in results if metric.name in result.readings]
    return measure(metric, rows, n_errors=_n_errors(metric.name, results))


def _n_errors(metric: str, results: Sequence[ExampleResult]) -> int:
    return sum(bool(result.error) or metric in result.errors for result in results)


def _within(results: Sequence[ExampleResult], part: str | None, tag: str | None) -> list[ExampleResult]:
    return [
        result for result in results if part in (None, result.part) and (tag is None or tag in result.example.tags)
    ]
