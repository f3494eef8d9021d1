"""Two rankings become one: by hand, and by the laws the rules obey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.records import ScoredId
from llmops.retrieval.fusion import Fused, distribution_based, min_max, reciprocal_rank, scaled_to_unit


class Rule(Protocol):
    """A fusion rule with its defaults."""

    def __call__(self, lists: list[list[ScoredId]], *, weights: Sequence[float] | None = None) -> Fused: ...


def ranking(**scores: float) -> list[ScoredId]:
    found = [ScoredId(chunk_id=name, score=score) for name, score in scores.items()]
    return sorted(found, key=lambda one: -one.score)


DENSE, SPARSE = ranking(a=0.9, b=0.6, c=0.3), ranking(c=8.0, d=4.0)


def same(fused: Fused, names: str, scores: Sequence[float]) -> None:
    assert "".join(name for name, _ in fused) == names
    assert [score for _, score in fused] == pytest.approx(scores)


def test_reciprocal_ranks_by_hand() -> None:
    same(reciprocal_rank([DENSE, SPARSE]), "cabd", [1 / 63 + 1 / 61, 1 / 61, 1 / 62, 1 / 62])
    same(reciprocal_rank([DENSE, SPARSE], k=1), "cabd", [1 / 4 + 1 / 2, 1 / 2, 1 / 3, 1 / 3])


def test_distributions_by_hand() -> None:
    # Dense: mean 0.6, sample deviation 0.3, so 0.9 is one of six deviations above the middle: 4/6.
    # Sparse: mean 6, sample deviation sqrt(8), so 8 is at 1/2 + 2 / (6 sqrt 8).
    offset = 2 / (6 * 8**0.5)
    same(distribution_based([DENSE, SPARSE]), "cabd", [2 / 6 + 0.5 + offset, 4 / 6, 3 / 6, 0.5 - offset])


@pytest.mark.parametrize("fuse", [reciprocal_rank, distribution_based, min_max])
def test_nothing_found_fuses_to_nothing(fuse: object) -> None:
    assert callable(fuse)
    assert fuse([]) == fuse([[], []]) == []


def test_equal_scores_come_in_the_order_of_ids() -> None:
    assert [name for name, _ in reciprocal_rank([ranking(b=1.0), ranking(a=1.0)])] == ["a", "b"]
    assert [name for name, _ in distribution_based([ranking(b=1.0, c=1.0), ranking(a=1.0)])] == ["a", "b", "c"]


_lists = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-100, 100, width=32), max_size=8).map(
        lambda scores: ranking(**scores)
    ),
    max_size=3,
)


@given(_lists, st.integers(1, 100))
def test_reciprocal_rank_is_its_formula_whatever_the_order_of_the_lists(
    lists: list[list[ScoredId]], k: int
) -> None:
    fused = reciprocal_rank(lists, k=k)
    wanted: dict[str, float] = {}
    for one in lists:
        for rank, found in enumerate(one, start=1):
            wanted[found.chunk_id] = wanted.get(found.chunk_id, 0) + 1 / (k + rank)
    assert dict(fused) == pytest.approx(wanted)
    assert dict(reciprocal_rank(lists[::-1], k=k)) == pytest.approx(wanted)
    assert [score for _, score in fused] == sorted(wanted.values(), reverse=True)


@given(_lists)
def test_distributions_do_not_depend_on_the_order_of_the_lists(lists: list[list[ScoredId]]) -> None:
    fused = distribution_based(lists)
    assert dict(fused) == pytest.approx(dict(distribution_based(lists[::-1])))
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)
    assert {name for name, _ in fused} == {found.chunk_id for one in lists for found in one}


@given(st.floats(-1e6, 1e6), st.integers(1, 8))
def test_a_list_of_equal_scores_gives_a_half(score: float, n: int) -> None:
    fused = distribution_based([[ScoredId(chunk_id=str(i), score=score) for i in range(n)]])
    assert [value for _, value in fused] == [0.5] * n


@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=8, unique=True),
    st.sampled_from([0.25, 2.0, 16.0]),
    st.integers(-50, 50),
)
def test_the_unit_of_a_score_does_not_matter(scores: list[int], factor: float, shift: int) -> None:
    plain = ranking(**{f"c{i}": float(score) for i, score in enumerate(scores)})
    other = ranking(**{f"c{i}": score * factor + shift for i, score in enumerate(scores)})
    assert dict(distribution_based([plain])) == pytest.approx(dict(distribution_based([other])))


# Weights, and the min-max rule


def test_min_max_by_hand() -> None:
    # Dense: 0.9, 0.6, 0.3 are 1, 1/2 and 0. Sparse: 8 and 4 are 1 and 0.
    same(min_max([DENSE, SPARSE], weights=(0.75, 0.25)), "abcd", [0.75, 0.375, 0.25, 0.0])
    same(min_max([DENSE, SPARSE]), "acbd", [1.0, 1.0, 0.5, 0.0])


def test_weights_by_hand() -> None:
    same(reciprocal_rank([DENSE, SPARSE], k=1, weights=(2, 0)), "abcd", [1.0, 2 / 3, 0.5, 0.0])
    offset = 2 / (6 * 8**0.5)
    expected = [1.5 * 4 / 6, 1.5 * 2 / 6 + 0.5 * (0.5 + offset), 1.5 * 3 / 6, 0.5 * (0.5 - offset)]
    same(distribution_based([DENSE, SPARSE], weights=(1.5, 0.5)), "acbd", expected)


RULES = [reciprocal_rank, distribution_based, min_max]


@pytest.mark.parametrize("fuse", RULES)
@given(lists=_lists)
def test_equal_weights_change_no_bit(fuse: Rule, lists: list[list[ScoredId]]) -> None:
    assert fuse(lists, weights=[1.0] * len(lists)) == fuse(lists)


@pytest.mark.parametrize("fuse", RULES)
@given(lists=_lists, weight=st.floats(0, 1))
def test_fused_scores_are_finite_and_hold_every_id_once(
    fuse: Rule, lists: list[list[ScoredId]], weight: float
) -> None:
    fused = fuse(lists, weights=[weight] * len(lists))
    assert all(math.isfinite(score) for _, score in fused)
    assert sorted(name for name, _ in fused) == sorted({found.chunk_id for one in lists for found in one})
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@pytest.mark.parametrize("fuse", RULES)
@given(
    scores=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-100, 100), min_size=1),
    weight=st.floats(0.01, 1),
)
def test_one_list_alone_keeps_its_order(fuse: Rule, scores: dict[str, int], weight: float) -> None:
    plain = ranking(**{name: float(score) for name, score in scores.items()})
    fused = fuse([plain, []], weights=(weight, 1 - weight))
    by_score = {found.chunk_id: found.score for found in plain}
    ordered = [by_score[name] for name, _ in fused]
    assert ordered == sorted(ordered, reverse=True)


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1e308, 1e308), max_size=8).map(
            lambda scores: ranking(**scores)
        ),
        max_size=2,
    ),
    st.floats(0, 1),
)
def test_a_convex_combination_lies_in_the_unit_interval(lists: list[list[ScoredId]], weight: float) -> None:
    fused = min_max(lists, weights=(weight, 1 - weight)[: len(lists)])
    assert all(0 <= score <= 1 + 1e-12 for _, score in fused)


@given(st.floats(-1e6, 1e6), st.integers(1, 8))
def test_equal_scores_are_all_the_best_there_is(score: float, n: int) -> None:
    fused = min_max([[ScoredId(chunk_id=str(i), score=score) for i in range(n)], []], weights=(0.25, 0.75))
    assert [value for _, value in fused] == [0.25] * n


def test_numbers_of_any_size_are_scaled() -> None:
    assert scaled_to_unit([]) == []
    assert scaled_to_unit([3.0]) == [1.0]
    assert scaled_to_unit([1e308, 0.0, -1e308]) == [1.0, 0.5, 0.0]
