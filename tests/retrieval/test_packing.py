"""Hits into the context: best first, within the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.records import Chunk, Hit
from llmops.retrieval import pack


def hits(*sizes: int) -> list[Hit]:
    return [
        Hit(
            chunk=Chunk(
                chunk_id=str(rank),
                document_id="d",
                uri="d.md",
                title="D",
                ordinal=rank,
                text="text",
                start=0,
                end=4,
                heading_path=(),
                locator="",
                n_tokens=size,
                acl=("everyone",),
            ),
            rank=rank,
            score=1 / rank,
            dense_score=None,
            sparse_score=None,
        )
        for rank, size in enumerate(sizes, start=1)
    ]


@pytest.mark.parametrize(
    ("sizes", "budget", "ranks"),
    [
        ([], 100, []),
        ([40, 40, 40], 100, [1, 2]),
        ([40, 40, 20], 100, [1, 2, 3]),
        ([40, 80, 60], 100, [1, 3]),
        ([200, 10], 100, [1]),
        ([100, 1], 100, [1]),
    ],
)
def test_what_fits_is_packed(sizes: list[int], budget: int, ranks: list[int]) -> None:
    packed = pack(hits(*sizes), budget_tokens=budget)
    assert [passage.hit.rank for passage in packed] == ranks
    assert [passage.number for passage in packed] == list(range(1, len(ranks) + 1))


@given(st.lists(st.integers(1, 300), max_size=12), st.integers(1, 1000))
def test_the_budget_holds_and_nothing_that_fits_is_left_out(sizes: list[int], budget: int) -> None:
    given_hits = hits(*sizes)
    packed = pack(given_hits, budget_tokens=budget)
    ranks = [passage.hit.rank for passage in packed]
    total = sum(passage.hit.chunk.n_tokens for passage in packed)
    assert bool(packed) == bool(sizes)
    assert ranks == sorted(set(ranks))
    assert total <= budget or len(packed) == 1
    for left_out in (hit for hit in given_hits if hit.rank not in ranks):
        before = sum(p.hit.chunk.n_tokens for p in packed if p.hit.rank < left_out.rank)
        assert before + left_out.chunk.n_tokens > budget
