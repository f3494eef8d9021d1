"""Maximal marginal relevance: by hand, against a plain reading of its formula, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmops.retrieval.diversity import maximal_marginal_relevance
from llmops.retrieval.fusion import scaled_to_unit

NORTH, NEAR_NORTH, EAST = [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]


def unit(rows: list[list[float]]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def test_what_was_said_already_comes_later() -> None:
    vectors = unit([NORTH, NORTH, EAST])
    assert maximal_marginal_relevance([3.0, 2.0, 1.0], vectors, k=3, relevance_share=0.5) == [0, 2, 1]
    assert maximal_marginal_relevance([3.0, 2.0, 1.0], vectors, k=2, relevance_share=0.5) == [0, 2]


def test_by_hand() -> None:
    # Relevance 1, 0.5, 0. After the first: 0.4 * 0.5 - 0.6 * 0.8 = -0.28 and 0.4 * 0 - 0.6 * 0 = 0.
    vectors = unit([NORTH, NEAR_NORTH, EAST])
    assert maximal_marginal_relevance([3.0, 2.0, 1.0], vectors, k=3, relevance_share=0.4) == [0, 2, 1]
    # With 0.7: 0.35 - 0.24 = 0.11 against 0.
    assert maximal_marginal_relevance([3.0, 2.0, 1.0], vectors, k=3, relevance_share=0.7) == [0, 1, 2]


def test_nothing_to_choose() -> None:
    assert maximal_marginal_relevance([], np.zeros((0, 2), dtype=np.float32), k=3, relevance_share=0.5) == []
    assert maximal_marginal_relevance([1.0], unit([NORTH]), k=0, relevance_share=0.5) == []
    assert maximal_marginal_relevance([1.0], unit([NORTH]), k=9, relevance_share=0.0) == [0]


def plainly(scores: list[float], vectors: NDArray[np.float32], k: int, share: float) -> list[int]:
    """The formula as it is written, one passage at a time."""
    relevance = scaled_to_unit(scores)
    left, chosen = list(range(len(scores))), list[int]()
    while left and len(chosen) < k:

        def gain(i: int) -> float:
            if not chosen:
                return relevance[i]
            nearest = max(float(vectors[i].astype(np.float64) @ vectors[j].astype(np.float64)) for j in chosen)
            return share * relevance[i] - (1 - share) * nearest

        best = max(left, key=lambda i: (gain(i), -i))
        chosen.append(best)
        left.remove(best)
    return chosen


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=12),
    st.integers(1, 12),
    st.floats(0, 1, width=16),
    st.integers(0, 2**32 - 1),
)
def test_it_is_its_formula(scores: list[int], k: int, share: float, seed: int) -> None:
    given_scores = [float(score) for score in sorted(scores, reverse=True)]
    vectors = np.random.default_rng(seed).normal(size=(len(scores), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = maximal_marginal_relevance(given_scores, vectors, k=k, relevance_share=share)
    assert chosen == plainly(given_scores, vectors, k, share)
    assert len(set(chosen)) == len(chosen) == min(k, len(scores))
    assert chosen[0] == 0


@given(st.lists(st.floats(-10, 10, width=16), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_relevance_alone_keeps_the_order(scores: list[float], seed: int) -> None:
    ordered = sorted(scores, reverse=True)
    vectors = np.random.default_rng(seed).normal(size=(len(scores), 3)).astype(np.float32)
    chosen = maximal_marginal_relevance(ordered, vectors, k=len(scores), relevance_share=1.0)
    assert [ordered[i] for i in chosen] == ordered


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_equal_passages_are_taken_in_their_order(share: float) -> None:
    assert maximal_marginal_relevance([1.0] * 4, unit([NORTH] * 4), k=4, relevance_share=share) == [0, 1, 2, 3]
