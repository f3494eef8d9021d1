"""Paired tests: what is plainly better is found, what is noise is not, and trying often is paid for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmops.metrics.paired import adjusted_p_values, paired_p_value


def test_a_difference_everywhere_is_significant() -> None:
    assert paired_p_value([0.1] * 20) < 0.001
    assert paired_p_value([-0.1] * 20) < 0.001


def test_no_difference_is_none() -> None:
    assert paired_p_value([0.0] * 20) == 1.0
    assert adjusted_p_values(np.zeros((20, 3))) == [1.0, 1.0, 1.0]


def test_few_queries_prove_little() -> None:
    assert paired_p_value([0.5]) == pytest.approx(1.0)
    assert paired_p_value([0.5, 0.5, 0.5]) == pytest.approx(0.25, abs=0.03)  # 2 of 8 signs are as extreme


def test_it_agrees_with_counting_all_signs() -> None:
    differences = [0.3, -0.1, 0.2, 0.25, -0.05, 0.15]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    means = np.abs(signs @ differences / 6)
    exact = float((means >= abs(np.mean(differences)) - 1e-12).mean())
    assert paired_p_value(differences, n=20_000) == pytest.approx(exact, abs=0.02)


def test_the_best_of_many_random_systems_is_not_proven_better() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (100, 60))
    alone = min(adjusted_p_values(noise[:, [index]], n=1_000)[0] for index in range(60))
    assert alone < 0.05  # one of sixty looks proven when each is asked alone
    assert min(adjusted_p_values(noise)) > 0.05


def test_one_that_is_better_is_found_among_many() -> None:
    generator = np.random.default_rng(2)
    rows = generator.normal(0, 0.1, (100, 20))
    rows[:, 7] += 0.06
    p_values = adjusted_p_values(rows)
    assert p_values[7] < 0.01
    assert min(p for index, p in enumerate(p_values) if index != 7) > 0.05


def test_likeness_costs_little_and_worse_is_not_better() -> None:
    gain = np.random.default_rng(3).normal(0.03, 0.1, (80, 1))
    [single] = adjusted_p_values(gain)
    copies = adjusted_p_values(np.repeat(gain, 30, axis=1))
    assert copies[0] == pytest.approx(single, abs=1e-9)
    assert adjusted_p_values(-gain)[0] > 0.9


def test_the_same_seed_says_the_same() -> None:
    rows = np.random.default_rng(4).normal(0.01, 0.1, (50, 4))
    assert adjusted_p_values(rows) == adjusted_p_values(rows)
    assert paired_p_value(list(rows[:, 0]), seed=1) == paired_p_value(list(rows[:, 0]), seed=1)


@pytest.mark.parametrize("rows", [np.zeros((0, 1)), np.zeros(3), np.zeros((3, 0))])
def test_nothing_to_compare_is_refused(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    with pytest.raises(ValueError, match="there are no differences: a test needs at least one query"):
        adjusted_p_values(rows)
    with pytest.raises(ValueError, match="there are no differences"):
        paired_p_value([])
    with pytest.raises(ValueError, match="a difference is not finite"):
        paired_p_value([0.1, math.nan])
