"""The gate: what passes, what fails, what stays open, and how many examples would decide it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmops.metrics import bootstrap_interval
from llmops.records import GateCheck, MetricValue, Outcome
from llmops.scoring import GateRule, decide, judge

Direction = Literal["at least", "at most"]
shares = st.floats(0, 1)


def value(mean: float, low: float, high: float, n: int = 20, n_errors: int = 0) -> MetricValue:
    return MetricValue(metric="recall@5", value=mean, low=low, high=high, n=n, n_errors=n_errors)


def rule(
    threshold: float, direction: Direction = "at least", by: Literal["mean", "interval"] = "mean"
) -> GateRule:
    return GateRule(metric="recall@5", threshold=threshold, direction=direction, by=by)


# By the value itself


@pytest.mark.parametrize(
    ("mean", "threshold", "direction", "expected"),
    [
        (0.91, 0.9, "at least", "pass"),
        (0.9, 0.9, "at least", "pass"),
        (0.89, 0.9, "at least", "fail"),
        (0.0, 0.0, "at least", "pass"),
        (0.09, 0.1, "at most", "pass"),
        (0.1, 0.1, "at most", "pass"),
        (0.11, 0.1, "at most", "fail"),
        (450.0, 500.0, "at most", "pass"),
        (550.0, 500.0, "at most", "fail"),
    ],
)
def test_by_mean_the_value_decides_whatever_its_interval(
    mean: float, threshold: float, direction: Direction, expected: Outcome
) -> None:
    check = judge(rule(threshold, direction), value(mean, mean - 0.5, mean + 0.5))
    assert (check.outcome, check.n_needed) == (expected, None)
    assert check.reason == f"{mean:.3f} [{mean - 0.5:.3f}, {mean + 0.5:.3f}] on 20"


@given(st.floats(0.001, 0.999), st.integers(1, 40))
def test_a_threshold_that_only_rounding_misses_is_reached(share: float, n: int) -> None:
    """Three times 0.7 have a mean of 0.6999999999999998."""
    mean = float(np.mean([share] * n))
    for direction in ("at least", "at most"):
        assert judge(rule(share, direction), value(mean, mean, mean, n)).outcome == "pass"


# By the interval


@pytest.mark.parametrize(
    ("low", "high", "threshold", "direction", "expected"),
    [
        (0.91, 0.97, 0.9, "at least", "pass"),
        (0.90, 0.97, 0.9, "at least", "pass"),
        (0.85, 0.97, 0.9, "at least", "inconclusive"),
        (0.83, 0.90, 0.9, "at least", "inconclusive"),
        (0.83, 0.89, 0.9, "at least", "fail"),
        (0.03, 0.09, 0.1, "at most", "pass"),
        (0.03, 0.10, 0.1, "at most", "pass"),
        (0.03, 0.15, 0.1, "at most", "inconclusive"),
        (0.10, 0.15, 0.1, "at most", "inconclusive"),
        (0.11, 0.15, 0.1, "at most", "fail"),
        (510.0, 600.0, 500.0, "at most", "fail"),
    ],
)
def test_by_interval_the_whole_interval_must_lie_on_one_side(
    low: float, high: float, threshold: float, direction: Direction, expected: Outcome
) -> None:
    check = judge(rule(threshold, direction, "interval"), value((low + high) / 2, low, high))
    assert check.outcome == expected
    assert (check.n_needed is not None) == (expected == "inconclusive")


def test_an_open_rule_says_how_many_examples_would_decide_it() -> None:
    check = judge(rule(0.9, by="interval"), value(0.94, 0.86, 1.0, n=50))
    assert check.n_needed == 200  # half the width is twice the margin: four times the examples
    assert check.reason == "0.940 [0.860, 1.000] on 50; about 200 examples would decide it"


def test_what_would_only_touch_the_threshold_passes_but_does_not_fail() -> None:
    """Half the width is twice the margin: 40 examples are just on the threshold."""

    def check(side: int, n: int) -> GateCheck:
        mean, half = 0.5 + 0.125 * side, 0.25 * math.sqrt(10 / n)
        return judge(rule(0.5, by="interval"), value(mean, mean - half, mean + half, n))

    assert (check(1, 10).n_needed, check(-1, 10).n_needed) == (40, 41)
    assert [check(1, n).outcome for n in (39, 40)] == ["inconclusive", "pass"]
    assert [check(-1, n).outcome for n in (40, 41)] == ["inconclusive", "fail"]


@given(
    threshold=st.floats(0.01, 0.99),
    margin=st.floats(0.01, 0.3),
    side=st.sampled_from([-1, 1]),
    widths=st.tuples(st.floats(1.05, 10), st.floats(1.05, 10)),
    n=st.integers(2, 500),
    direction=st.sampled_from(["at least", "at most"]),
)
def test_with_the_examples_needed_the_interval_just_excludes_the_threshold(
    threshold: float, margin: float, side: int, widths: tuple[float, float], n: int, direction: Direction
) -> None:
    asked = rule(threshold, direction, "interval")
    mean = threshold + side * margin

    def with_n(count: int) -> GateCheck:
        below, above = (width * margin * math.sqrt(n / count) for width in widths)
        return judge(asked, value(mean, mean - below, mean + above, count))

    needed = with_n(n).n_needed
    assert needed is not None
    assert needed > n
    outcome = "pass" if (side > 0) == (direction == "at least") else "fail"
    assert with_n(needed + 1).outcome == outcome
    if needed - 1 > n:
        assert with_n(needed - 2 if needed - 2 > n else n).outcome == "inconclusive"


def test_what_lies_on_the_threshold_no_number_of_examples_decides() -> None:
    check = judge(rule(0.9, by="interval"), value(0.9, 0.85, 0.95))
    assert (check.outcome, check.n_needed) == ("inconclusive", None)
    assert check.reason == "0.900 [0.850, 0.950] on 20; it lies on the threshold"


@given(mean=shares, below=shares, above=shares, threshold=st.floats(-0.5, 1.5), n=st.integers(1, 100))
def test_at_most_is_at_least_seen_in_a_mirror(
    mean: float, below: float, above: float, threshold: float, n: int
) -> None:
    measured = value(mean, mean - below, mean + above, n)
    mirrored = value(1 - mean, 1 - mean - above, 1 - mean + below, n)
    assume(abs(mean - threshold) > 1e-6)
    assume(all(abs(bound - threshold) > 1e-6 for bound in (measured.low, measured.high)))
    assume((measured.low < measured.high) == (mirrored.low < mirrored.high))
    one = judge(rule(threshold, "at least", "interval"), measured)
    other = judge(rule(1 - threshold, "at most", "interval"), mirrored)
    assert one.outcome == other.outcome


@given(mean=shares, width=st.floats(0.001, 0.5), threshold=shares, n=st.integers(1, 100))
def test_what_passes_or_fails_by_interval_does_so_by_mean(
    mean: float, width: float, threshold: float, n: int
) -> None:
    measured = value(mean, mean - width, mean + width, n)
    for direction in ("at least", "at most"):
        strict = judge(rule(threshold, direction, "interval"), measured)
        plain = judge(rule(threshold, direction), measured)
        assert strict.outcome in (plain.outcome, "inconclusive")


# Examples that are all alike: resampling them shows no spread, be they one or a thousand


@pytest.mark.parametrize(
    ("threshold", "n_needed"), [(0.9, 36), (0.95, 72), (0.5, 6)]
)  # ln 0.025 / ln threshold, as exact binomial bounds have it
def test_a_few_right_answers_do_not_pass_by_interval(threshold: float, n_needed: int) -> None:
    def alike(n: int) -> GateCheck:
        return judge(rule(threshold, by="interval"), value(1.0, 1.0, 1.0, n))

    assert (alike(1).outcome, alike(1).n_needed) == ("inconclusive", n_needed)
    assert "on 1, which show no spread; about" in alike(1).reason
    assert alike(n_needed - 1).outcome == "inconclusive"
    assert alike(n_needed).outcome == "pass"
    assert judge(rule(threshold), value(1.0, 1.0, 1.0, 1)).outcome == "pass"  # by mean


def test_a_few_wrong_answers_fail_as_soon_as_they_rule_the_threshold_out() -> None:
    def alike(n: int) -> Outcome:
        return judge(rule(0.9, by="interval"), value(0.0, 0.0, 0.0, n)).outcome

    assert (alike(1), alike(2)) == ("inconclusive", "fail")  # 1 - 0.025^(1/2) = 0.84


@given(mean=shares, threshold=st.floats(0.01, 0.99), direction=st.sampled_from(["at least", "at most"]))
def test_with_the_alike_examples_needed_the_rule_is_decided(
    mean: float, threshold: float, direction: Direction
) -> None:
    assume(abs(mean - threshold) > 1e-3)
    asked = rule(threshold, direction, "interval")
    first = judge(asked, value(mean, mean, mean, 1))
    if first.n_needed is not None:
        assert judge(asked, value(mean, mean, mean, first.n_needed + 1)).outcome != "inconclusive"


def test_the_exact_bounds_are_those_of_the_binomial() -> None:
    """Clopper and Pearson's interval for n of n, from the beta distribution."""
    stats = pytest.importorskip("scipy.stats")
    for n in (1, 3, 20, 100):
        low = float(stats.beta.ppf(0.025, n, 1))
        measured = value(1.0, 1.0, 1.0, n)
        assert judge(rule(low - 1e-6, by="interval"), measured).outcome == "pass"
        assert judge(rule(low + 1e-6, by="interval"), measured).outcome == "inconclusive"


@pytest.mark.parametrize(("mean", "expected"), [(1.0, "pass"), (0.99, "fail")])
def test_at_the_end_of_a_range_no_interval_lies_beyond_and_the_value_decides(
    mean: float, expected: Outcome
) -> None:
    assert judge(rule(1.0, by="interval"), value(mean, mean, mean, 3)).outcome == expected
    assert judge(rule(0.0, "at most", "interval"), value(1 - mean, 1 - mean, 1 - mean, 3)).outcome == expected
    assert judge(rule(1.0, by="interval"), value(mean, mean - 0.02, 1.0, 3)).outcome == expected


def test_one_latency_says_nothing_about_the_next() -> None:
    check = judge(rule(500.0, "at most", "interval"), value(400.0, 400.0, 400.0, 1))
    assert (check.outcome, check.n_needed) == ("inconclusive", None)
    assert check.reason.endswith("on 1, which show no spread; it takes more examples")


def test_the_interval_of_real_readings_narrows_as_the_gate_foresees() -> None:
    """19 of 20 against 0.85: the number of examples is right to about a tenth for real resamples too."""
    some = [1.0] * 38 + [0.0] * 2
    interval = bootstrap_interval(some)
    check = judge(rule(0.9, by="interval"), value(interval.mean, interval.low, interval.high, len(some)))
    assert check.outcome == "inconclusive"
    assert check.n_needed is not None
    more = bootstrap_interval(some * round(1.2 * check.n_needed / len(some)))
    many = value(more.mean, more.low, more.high, check.n_needed)
    assert judge(rule(0.9, by="interval"), many).outcome == "pass"


# What could not be measured


@pytest.mark.parametrize("by", ["mean", "interval"])
@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_a_failure_to_measure_passes_and_fails_nothing(by: Literal["mean", "interval"], mean: float) -> None:
    measured = value(mean, mean, mean, n=99, n_errors=1)
    check = judge(rule(0.5, by=by), measured)
    assert (check.outcome, check.n_needed, check.measured) == ("inconclusive", None, measured)
    assert check.reason == "1 of 100 examples could not be measured"


def test_without_an_example_a_rule_is_open_and_says_which_of_two_reasons_it_has() -> None:
    nothing = judge(rule(0.5), None)
    assert (nothing.outcome, nothing.measured) == ("inconclusive", None)
    assert nothing.reason == "no example of this slice has what the metric needs"
    failed = judge(rule(0.5), None, n_errors=3)
    assert (failed.outcome, failed.reason) == ("inconclusive", "3 of 3 examples could not be measured")


# Rules in words, and a whole gate


def test_a_rule_reads_as_a_sentence() -> None:
    assert str(rule(0.9)) == "recall@5 at least 0.9 (by mean)"
    slow = GateRule(metric="latency_p95_ms", threshold=1500.0, direction="at most", by="interval", part="held-out")
    assert str(slow) == "latency_p95_ms on held-out at most 1500 (by interval)"
    both = replace(rule(0.5), part="dev", tag="correction")
    assert str(both) == "recall@5 on dev on correction at least 0.5 (by mean)"
    assert judge(both, None).rule == str(both)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["pass"], "pass"),
        (["pass", "pass"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["inconclusive", "fail", "pass"], "fail"),
        (["fail"], "fail"),
        ([], "inconclusive"),
    ],
)
def test_one_failure_fails_a_gate_and_one_open_rule_leaves_it_open(
    outcomes: list[Outcome], expected: Outcome
) -> None:
    checks = [GateCheck(rule="r", outcome=outcome, measured=None) for outcome in outcomes]
    assert decide(checks) == expected
    assert decide(checks[::-1]) == expected
