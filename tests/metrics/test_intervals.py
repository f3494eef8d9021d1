"""The bootstrap interval: where it must lie, how it narrows, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.metrics import Interval, bootstrap_interval

numbers = st.floats(-1e6, 1e6)


def test_it_agrees_with_the_normal_approximation_on_many_values() -> None:
    values = np.random.default_rng(7).normal(0.5, 0.2, 2_000)
    interval = bootstrap_interval(list(values))
    half = 1.96 * values.std(ddof=1) / math.sqrt(values.size)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_it_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        interval = bootstrap_interval(list(generator.binomial(1, 0.3, 100)), level=0.9, n=200)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.82 <= covered / 200 <= 0.96


def test_a_higher_level_is_wider() -> None:
    values = [0.0, 0.2, 0.5, 0.9, 1.0, 0.4]
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [0.1, 0.7, 0.3, 0.9]
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)


def test_one_value_has_no_width() -> None:
    assert bootstrap_interval([0.25]) == Interval(mean=0.25, low=0.25, high=0.25)


def test_it_prints_as_mean_and_bounds() -> None:
    assert str(Interval(mean=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"


@pytest.mark.parametrize(
    ("values", "options", "problem"),
    [
        ([], {}, "no values"),
        ([0.1, math.nan], {}, "not finite"),
        ([0.1], {"level": 1.0}, "level 1.0 must lie"),
        ([0.1], {"n": 0}, "n 0 must be"),
    ],
)
def test_it_refuses_what_has_no_interval(values: list[float], options: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        bootstrap_interval(values, **options)  # type: ignore[arg-type]  # a table of options


@settings(max_examples=50)
@given(st.lists(numbers, min_size=1, max_size=30))
def test_the_bounds_hold_the_mean_and_lie_within_the_values(values: list[float]) -> None:
    interval = bootstrap_interval(values, n=100)
    assert interval.low <= interval.mean <= interval.high
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= interval.low
    assert interval.high <= max(values) + slack
