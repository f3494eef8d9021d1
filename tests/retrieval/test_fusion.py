"""Two rankings become one: by hand, and by the laws the rules obey."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.records import ScoredId
from llmops.retrieval.fusion import Fused, distribution_based, reciprocal_rank


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


@pytest.mark.parametrize("fuse", [reciprocal_rank, distribution_based])
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
