"""Neighbours become one passage: nothing is said twice, and every stretch stands in the document word for word."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.records import Chunk, Hit, Passage
from llmops.retrieval import pack
from llmops.retrieval.packing import joined_locator
from llmops.retrieval.spec import PackSpec

TEXT = "Alpha one. Alpha two.\n\nBeta one. Beta two.\n\nGamma one. Gamma two."
ALPHA, BETA, GAMMA = (0, 21), (23, 42), (44, 65)
MERGE = PackSpec(merge=True)


def hit(
    rank: int,
    span: tuple[int, int],
    *,
    ordinal: int = 0,
    context: tuple[int, int] | None = None,
    document: str = "d",
    path: tuple[str, ...] = ("Guide",),
    locator: str = "",
    text: str = TEXT,
) -> Hit:
    start, end = span
    chunk = Chunk(
        chunk_id=f"{document}-{start}-{end}",
        document_id=document,
        uri=f"{document}.md",
        title="Title",
        ordinal=ordinal,
        text=text[start:end],
        start=start,
        end=end,
        heading_path=path,
        locator=locator,
        n_tokens=end - start,
        acl=("everyone",),
        context=text[slice(*context)] if context else "",
        context_start=context[0] if context else 0,
        n_context_tokens=context[1] - context[0] if context else 0,
    )
    return Hit(chunk=chunk, rank=rank, score=1 / rank, dense_score=None, sparse_score=None)


def packed(*hits: Hit, spec: PackSpec = MERGE, budget: int = 1000) -> tuple[Passage, ...]:
    return pack(hits, budget_tokens=budget, spec=spec, count_tokens=lambda texts: [len(text) for text in texts])


def texts(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def test_without_merging_each_hit_stays_itself() -> None:
    hits = [hit(1, ALPHA), hit(2, BETA, ordinal=1), hit(3, (10, 30))]
    assert [passage.hit for passage in packed(*hits, spec=PackSpec())] == hits
    assert all(passage.hits == () and passage.quotes == () for passage in packed(*hits, spec=PackSpec()))


def test_children_of_one_parent_are_one_passage_with_merging_or_without() -> None:
    parent = (0, 42)
    hits = [hit(1, BETA, ordinal=1, context=parent), hit(2, ALPHA, context=parent), hit(3, GAMMA, ordinal=2)]
    for spec in (PackSpec(), PackSpec(merge=True)):
        first = packed(*hits, spec=spec, budget=50)[0]
        assert first.text.startswith(TEXT[:42])
        assert first.hit.chunk.chunk_id == "d-23-42"
        assert first.hits[:2] == tuple(hits[:2])
    passages = packed(*hits, spec=PackSpec())
    assert texts(passages) == [TEXT[:42], TEXT[44:65]]
    assert passages[0].chunk_ids == ("d-23-42", "d-0-21")


def test_a_passage_carries_what_is_handed_over_as_its_chunk() -> None:
    """Whoever redacts the text of the chunk redacts what a model reads."""
    (passage,) = packed(hit(1, ALPHA, context=(0, 42)), spec=PackSpec())
    chunk = passage.hit.chunk
    assert (chunk.text, chunk.context, chunk.handed_text) == (TEXT[:42], "", TEXT[:42])
    assert (chunk.start, chunk.end, chunk.n_tokens, chunk.chunk_id) == (0, 42, 42, "d-0-21")


def test_overlapping_windows_become_one_text() -> None:
    (passage,) = packed(hit(1, (23, 32), context=(11, 42)), hit(2, (11, 21), context=(0, 32)))
    assert passage.text == TEXT[:42]
    assert passage.quotes == ()
    assert passage.chunk_ids == ("d-23-32", "d-11-21")
    assert passage.hit.rank == 1


def test_neighbours_of_one_section_are_joined_and_quoted_apart() -> None:
    (passage,) = packed(hit(2, ALPHA), hit(1, BETA, ordinal=1))
    assert passage.text == TEXT[:42]
    assert [(quote.start, quote.end) for quote in passage.quotes] == [ALPHA, BETA]
    assert [TEXT[quote.start : quote.end] for quote in passage.quotes] == [quote.text for quote in passage.quotes]
    assert passage.hit.chunk.chunk_id == "d-23-42"


@pytest.mark.parametrize(
    "other",
    [
        hit(2, GAMMA, ordinal=2),
        hit(2, BETA, ordinal=1, path=("Other",)),
        hit(2, BETA, ordinal=1, document="e"),
        hit(2, BETA, ordinal=2),
    ],
    ids=["a chunk between", "another section", "another document", "no neighbour by number"],
)
def test_what_is_not_known_to_be_a_neighbour_stays_apart(other: Hit) -> None:
    assert len(packed(hit(1, ALPHA), other)) == 2


def test_the_rows_of_a_table_are_one_section_with_its_first_part() -> None:
    rows = [hit(1, ALPHA, path=("T",)), hit(2, BETA, ordinal=1, path=("T", "| a | b |"))]
    (passage,) = packed(*rows)
    assert passage.title == "T"


def test_a_late_hit_closes_the_gap() -> None:
    hits = [hit(1, ALPHA), hit(2, GAMMA, ordinal=2), hit(3, BETA, ordinal=1)]
    (passage,) = packed(*hits)
    assert passage.text == TEXT
    assert passage.hits == tuple(hits)
    assert [p.number for p in packed(*hits[:2])] == [1, 2]


def test_two_versions_of_a_document_are_never_mixed() -> None:
    newer = TEXT.replace("Alpha two", "Omega new")
    passages = packed(hit(1, (0, 30)), hit(2, (5, 42), text=newer))
    assert texts(passages) == [TEXT[:30], newer[5:42]]
    # Neither may a third that touches both bring them together.
    third = packed(hit(1, (0, 30)), hit(2, (12, 42), text=newer), hit(3, (28, 35)))
    assert len(third) == 3
    assert all(passage.text in TEXT or passage.text in newer for passage in third)


def test_the_budget_counts_the_merged_text_once() -> None:
    windows = [hit(1, (23, 32), context=(11, 42)), hit(2, (11, 21), context=(0, 32))]
    assert texts(packed(*windows, budget=42)) == [TEXT[:42]]
    assert texts(packed(*windows, budget=41)) == [TEXT[11:42]]
    # Without a counter both count as much as they do alone: 31 and 32.
    assert texts(pack(windows, budget_tokens=62, spec=MERGE)) == [TEXT[11:42]]
    assert texts(pack(windows, budget_tokens=63, spec=MERGE)) == [TEXT[:42]]


def test_a_hit_that_is_there_already_costs_nothing() -> None:
    (passage,) = packed(hit(1, (0, 42)), hit(2, ALPHA), budget=42)
    assert passage.chunk_ids == ("d-0-42", "d-0-21")
    assert passage.text == TEXT[:42]


def test_passages_are_limited_but_may_still_grow() -> None:
    hits = [hit(1, ALPHA), hit(2, (0, 5), document="e"), hit(3, BETA, ordinal=1)]
    (passage,) = packed(*hits, spec=PackSpec(merge=True, max_passages=1))
    assert passage.text == TEXT[:42]


def test_passages_may_stand_in_the_order_of_their_documents() -> None:
    hits = [hit(1, GAMMA, ordinal=2), hit(2, (0, 5), document="e"), hit(3, ALPHA)]
    by_rank = packed(*hits)
    by_document = packed(*hits, spec=PackSpec(merge=True, order="document"))
    assert [p.hit.rank for p in by_rank] == [1, 2, 3]
    assert [p.hit.rank for p in by_document] == [3, 1, 2]
    assert [p.number for p in by_document] == [1, 2, 3]


@pytest.mark.parametrize(
    ("locators", "expected"),
    [
        (["lines 3-9", "lines 11-12"], "lines 3-12"),
        (["line 9", "line 9"], "line 9"),
        (["page 4", "pages 2-3"], "pages 2-4"),
        (["", ""], ""),
        (["page 4", "line 3"], "page 4"),
        (["cell B2", "page 1"], "cell B2"),
    ],
)
def test_places_are_joined(locators: list[str], expected: str) -> None:
    assert joined_locator(locators) == expected


# Whatever is found


@st.composite
def found(draw: st.DrawFn) -> list[Hit]:
    """Hits in documents cut into chunks at random, each with a window around it or not."""
    hits: list[Hit] = []
    for document in draw(st.lists(st.sampled_from("de"), min_size=1, max_size=2, unique=True)):
        text = " ".join(f"{document}{i}" for i in range(draw(st.integers(3, 14))))
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=7)))
        bounds = list(pairwise(sorted({0, *cuts, len(text)})))
        for ordinal, (start, end) in enumerate(bounds):
            if draw(st.booleans()):
                own = (start, end - 1 if end - start > 1 and draw(st.booleans()) else end)
                around = (draw(st.integers(0, start)), draw(st.integers(end, len(text))))
                context = around if draw(st.booleans()) else None
                hits.append(hit(1, own, ordinal=ordinal, context=context, document=document, text=text))
    order = draw(st.permutations(hits))
    return [hit_of(one, rank) for rank, one in enumerate(order, start=1)]


def hit_of(one: Hit, rank: int) -> Hit:
    return Hit(chunk=one.chunk, rank=rank, score=1 / rank, dense_score=None, sparse_score=None)


@given(found(), st.integers(1, 120), st.booleans(), st.sampled_from(["rank", "document"]))
def test_nothing_is_lost_repeated_or_invented(hits: list[Hit], budget: int, merge: bool, order: str) -> None:
    spec = PackSpec.model_validate({"merge": merge, "order": order})
    passages = packed(*hits, spec=spec, budget=budget)
    assert bool(passages) == bool(hits)
    assert [passage.number for passage in passages] == list(range(1, len(passages) + 1))
    inside = [one for passage in passages for one in passage.hits or (passage.hit,)]
    assert len({one.rank for one in inside}) == len(inside)
    assert hits == [] or 1 in {one.rank for one in inside}
    for passage in passages:
        own = passage.hits or (passage.hit,)
        document = " ".join(f"{passage.hit.chunk.document_id}{i}" for i in range(14))
        spans = [(q.start, q.end) for q in passage.quotes] or [passage.hit.chunk.handed_span]
        pieces = [q.text for q in passage.quotes] or [passage.text]
        assert [document[start:end] for start, end in spans] == pieces  # word for word
        assert all(before[1] <= after[0] for before, after in pairwise(spans))  # nothing twice
        assert passage.text.split() == "\n".join(pieces).split()
        for one in own:
            start, end = one.chunk.handed_span
            assert any(s <= start and end <= e for s, e in spans)
        held = {i for one in own for i in range(*one.chunk.handed_span)}
        assert held == {i for start, end in spans for i in range(start, end)}  # and nothing of its own
        assert passage.hit.rank == min(one.rank for one in own)
    assert len(passages) <= 1 or sum(len(passage.text) for passage in passages) <= budget


@given(found())
def test_merging_leaves_no_neighbours_apart(hits: list[Hit]) -> None:
    passages = packed(*hits, budget=10_000)
    for one in passages:
        for other in passages:
            if one.number < other.number and one.source == other.source:
                of_one = {i for h in one.hits or (one.hit,) for i in range(*h.chunk.handed_span)}
                of_other = {i for h in other.hits or (other.hit,) for i in range(*h.chunk.handed_span)}
                assert not of_one & of_other


@given(found(), st.integers(1, 120))
def test_without_a_counter_the_budget_still_holds(hits: list[Hit], budget: int) -> None:
    passages = pack(hits, budget_tokens=budget, spec=MERGE)
    assert len(passages) <= 1 or sum(len(passage.text) for passage in passages) <= budget
