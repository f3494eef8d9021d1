"""The bootstrap of any statistic: whole rows are drawn, and the value itself is that of all rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmops.metrics import Interval, bootstrap_interval, bootstrap_statistic

Rows = NDArray[np.float64]


def ratio(rows: Rows) -> float:
    """Of sums, as abstention precision is one: no mean of its rows."""
    total = float(rows[:, 1].sum())
    return float(rows[:, 0].sum()) / total if total else 1.0


def median(rows: Rows) -> float:
    return float(np.median(rows))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_it_holds_the_statistic_of_all_rows(pairs: list[tuple[bool, bool]]) -> None:
    rows = np.array([(a and b, b) for a, b in pairs], dtype=np.float64)
    interval = bootstrap_statistic(rows, ratio, n=50)
    assert interval.mean == ratio(rows)
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1


def test_rows_stay_together() -> None:
    """Numerator and denominator of a row are drawn as one: columns drawn apart would not always give 1/2."""
    rows = np.array([[1.0, 2.0], [5.0, 10.0], [3.0, 6.0]])
    assert bootstrap_statistic(rows, ratio) == Interval(mean=0.5, low=0.5, high=0.5)


def test_the_mean_of_one_column_is_what_bootstrap_interval_says() -> None:
    values = [0.1, 0.7, 0.3, 0.9, 0.2]
    of_rows = bootstrap_statistic(np.array(values), lambda rows: float(np.mean(rows)), seed=3)
    assert of_rows == bootstrap_interval(values, seed=3)


def test_a_percentile_has_an_interval_that_holds_most_of_its_resamples() -> None:
    values = np.random.default_rng(5).exponential(100, 400)
    interval = bootstrap_statistic(values, median)
    exact = sorted(values)  # order statistics around the median: ranks 200 ± 1.96 * sqrt(400) / 2
    assert interval.low == pytest.approx(exact[180], rel=0.05)
    assert interval.high == pytest.approx(exact[220], rel=0.05)


def test_the_bounds_hold_the_value_also_where_no_resample_reaches_it() -> None:
    """Ten different values are never all drawn when ten are drawn with replacement, but once in 2,755 times."""
    rows = np.arange(10.0)

    def n_different(drawn: Rows) -> float:
        return float(len(np.unique(drawn)))

    many = bootstrap_statistic(rows, n_different, n=200)
    few = bootstrap_statistic(rows, lambda drawn: -n_different(drawn), n=200)
    assert many.low < many.mean == many.high == 10
    assert few.low == few.mean == -10 < few.high


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (np.zeros((0,)), "no values"),
        (np.zeros((3, 0)), "no values"),
        (np.zeros((2, 2, 2)), "no values"),
        (np.array([[0.1, np.inf]]), "not finite"),
    ],
)
def test_it_refuses_what_has_no_interval(rows: Rows, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        bootstrap_statistic(rows, median)
