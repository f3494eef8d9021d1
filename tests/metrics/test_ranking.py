"""Ranking metrics: values worked out by hand, laws, and what happens at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.metrics import ndcg_at_k, recall_at_k, reciprocal_rank

JUDGED = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0}
METRICS: list[Callable[[dict[str, float], list[str]], float]] = [
    lambda judged, ranked: ndcg_at_k(judged, ranked, 10),
    lambda judged, ranked: recall_at_k(judged, ranked, 10),
    reciprocal_rank,
]
ids = st.sampled_from("abcdefghij")
judgements = st.dictionaries(ids, st.floats(-10, 1e300) | st.integers(0, 4).map(float))
rankings = st.lists(ids, unique=True)
depths = st.integers(1, 12)


def test_ndcg_of_a_ranking_worked_out_by_hand() -> None:
    # gains 2 at rank 1, 0 at 2, 3 at 3, 1 at 4; ideal 3, 2, 1
    gained = 2 / 1 + 0 + 3 / 2 + 1 / math.log2(5)
    ideal = 3 / 1 + 2 / math.log2(3) + 1 / 2
    assert ndcg_at_k(JUDGED, ["b", "x", "a", "c"], 10) == pytest.approx(gained / ideal)


def test_ndcg_cut_at_k_has_an_ideal_cut_at_k() -> None:
    assert ndcg_at_k(JUDGED, ["b", "a"], 1) == pytest.approx(2 / 3)
    assert ndcg_at_k(JUDGED, ["a"], 1) == 1.0


def test_the_ideal_counts_judged_ids_that_were_not_found() -> None:
    assert ndcg_at_k({"a": 1.0, "b": 1.0}, ["a"], 10) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_recall_counts_relevant_ids_only() -> None:
    assert recall_at_k(JUDGED, ["d", "x", "a", "b"], 3) == pytest.approx(1 / 3)
    assert recall_at_k(JUDGED, ["d", "x", "a", "b"], 4) == pytest.approx(2 / 3)


def test_reciprocal_rank_is_that_of_the_first_relevant_id() -> None:
    assert reciprocal_rank(JUDGED, ["d", "x", "b", "a"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_judged_nothing_found_or_nothing_relevant_is_zero(
    metric: Callable[[dict[str, float], list[str]], float],
) -> None:
    assert metric({}, []) == metric({}, ["a"]) == metric(JUDGED, []) == metric({"d": 0.0, "e": -1.0}, ["d"]) == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_a_repeated_id_counts_once(metric: Callable[[dict[str, float], list[str]], float]) -> None:
    assert metric(JUDGED, ["a", "a", "a"]) == metric(JUDGED, ["a"])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("relevance", [math.nan, math.inf])
def test_a_relevance_that_is_no_number_is_refused(
    metric: Callable[[dict[str, float], list[str]], float], relevance: float
) -> None:
    with pytest.raises(ValueError, match="the relevance of 'a' is"):
        metric({"a": relevance}, ["a"])


@pytest.mark.parametrize("metric", [ndcg_at_k, recall_at_k])
def test_a_cut_before_the_first_id_is_refused(
    metric: Callable[[dict[str, float], list[str], int], float],
) -> None:
    with pytest.raises(ValueError, match="k is 0"):
        metric(JUDGED, ["a"], 0)


@given(judgements, st.lists(ids), depths)
def test_every_value_lies_between_0_and_1(judged: dict[str, float], ranked: list[str], k: int) -> None:
    for value in (ndcg_at_k(judged, ranked, k), recall_at_k(judged, ranked, k), reciprocal_rank(judged, ranked)):
        assert 0.0 <= value <= 1.0


@given(judgements, rankings, depths, st.randoms(use_true_random=False))
def test_the_order_below_k_is_irrelevant(
    judged: dict[str, float], ranked: list[str], k: int, random: Random
) -> None:
    below = ranked[k:]
    random.shuffle(below)
    for metric in (ndcg_at_k, recall_at_k):
        assert metric(judged, ranked, k) == metric(judged, ranked[:k] + below, k)


@given(judgements.filter(lambda judged: any(r > 0 for r in judged.values())), depths)
def test_the_perfect_ranking_scores_1(judged: dict[str, float], k: int) -> None:
    perfect = sorted(judged, key=lambda judged_id: -judged[judged_id])
    assert ndcg_at_k(judged, perfect, k) == 1.0
    assert recall_at_k(judged, perfect, len(judged)) == 1.0
    assert reciprocal_rank(judged, perfect) == 1.0


@given(judgements, rankings, st.integers(0, 9), depths)
def test_moving_a_better_id_up_never_lowers_ndcg(
    judged: dict[str, float], ranked: list[str], at: int, k: int
) -> None:
    if at + 1 >= len(ranked) or judged.get(ranked[at + 1], 0) < judged.get(ranked[at], 0):
        return
    swapped = [*ranked[:at], ranked[at + 1], ranked[at], *ranked[at + 2 :]]
    assert ndcg_at_k(judged, swapped, k) >= ndcg_at_k(judged, ranked, k) - 1e-12


@given(judgements, rankings, depths)
def test_recall_never_falls_as_k_grows(judged: dict[str, float], ranked: list[str], k: int) -> None:
    assert recall_at_k(judged, ranked, k + 1) >= recall_at_k(judged, ranked, k)
