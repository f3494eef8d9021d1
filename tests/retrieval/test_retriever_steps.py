"""The steps after the two searches: weights, forms, rerankers and difference, on a real collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from llmops.clients.database import open_database
from llmops.clients.protocols import Embedder
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import EndpointTimeoutError
from llmops.records import Caller, Chunk
from llmops.releases import CollectionBook
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.retrieval.lexical import LexicalReranker
from llmops.retrieval.queries import SearchText
from tests.retrieval.test_retriever import ANYONE, TEAM, TEXTS, Search, point, shape

QUERY = "When does the library open, and what does a late book cost?"


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Search]:
    folder: Path = tmp_path_factory.mktemp("steps")
    store, database = EdgeStore(folder / "vectors"), open_database("", folder / "ledger.sqlite3")
    store.create("docs-1", dimension=embedder.dimension, metadata={})
    store.upsert("docs-1", [point(number, embedder) for number in range(len(TEXTS))])
    collections = CollectionBook(database)
    collections.register(shape("docs-1", embedder))
    collections.point("docs", "docs-1")
    yield Search(store=store, embedder=embedder, collections=collections)
    store.close()
    database.close()


class ByName:
    """A reranker that wants documents in this order."""

    name = "by-name"

    def __init__(self, order: Sequence[str], error: Exception | None = None) -> None:
        self.order, self.error = order, error
        self.asked: list[tuple[str, list[str]]] = []

    def score(self, query: str, chunks: Sequence[Chunk]) -> list[float]:
        names = [chunk.document_id for chunk in chunks]
        self.asked.append((query, names))
        if self.error is not None:
            raise self.error
        return [-float(self.order.index(name)) for name in names]


def reranking(search: Search, reranker: ByName, **spec: Any) -> Retriever:
    made = RetrievalSpec.model_validate({"collection": "docs", **spec})
    return Retriever(
        spec=made, store=search.store, embedder=search.embedder, collections=search.collections, reranker=reranker
    )


# Weights


@pytest.mark.parametrize("fusion", ["dbsf", "rrf"])
def test_equal_weights_are_todays_result(fusion: str, search: Search) -> None:
    assert search.hits(QUERY, fusion=fusion, dense_weight=0.5) == search.hits(QUERY, fusion=fusion)


@pytest.mark.parametrize("fusion", ["dbsf", "rrf", "minmax"])
@pytest.mark.parametrize(("weight", "alone"), [(1.0, "dense"), (0.0, "sparse")])
def test_all_the_weight_on_one_search_is_its_order(fusion: str, weight: float, alone: str, search: Search) -> None:
    weighed = search.hits(QUERY, TEAM, fusion=fusion, dense_weight=weight)
    wanted = search.found(QUERY, TEAM, fusion=alone)
    assert len(wanted) > 1
    assert [hit.chunk.document_id for hit in weighed if hit.score > 0] == [
        name for name in wanted if any(hit.chunk.document_id == name and hit.score > 0 for hit in weighed)
    ]


def test_min_max_finds_what_answers(search: Search) -> None:
    (first, *_) = search.hits("When does the library open?", fusion="minmax")
    assert first.chunk.document_id == "hours"
    assert first.score == pytest.approx(1.0)


@pytest.mark.parametrize("fusion", ["dense", "sparse"])
def test_a_weight_needs_two_searches(fusion: str) -> None:
    with pytest.raises(
        ValidationError, match=f"dense_weight weighs two searches, and the fusion '{fusion}' makes"
    ):
        RetrievalSpec.model_validate({"collection": "docs", "fusion": fusion, "dense_weight": 0.7})


def test_what_is_left_at_its_default_changes_no_hash() -> None:
    assert RetrievalSpec(collection="docs").model_dump(exclude_defaults=True) == {"collection": "docs"}


# Forms of a question


def test_every_form_is_searched(search: Search) -> None:
    retriever = search.retriever(k=1, fusion="sparse")
    assert [hit.chunk.document_id for hit in retriever.search(retriever.embed("E-4711"), ANYONE)] == ["code"]
    forms = [SearchText(text="E-4711"), SearchText(text="twenty cents"), SearchText(text="opens at nine")]
    found = retriever.search(retriever.embed("E-4711", forms=forms), ANYONE, k=5)
    assert {hit.chunk.document_id for hit in found} == {"code", "fees", "hours"}
    assert all(hit.sparse_score is not None and hit.sparse_score > 0 for hit in found)
    assert [hit.score for hit in found] == pytest.approx([1 / 61] * 3)


def test_forms_are_fused_by_their_ranks(search: Search) -> None:
    retriever = search.retriever(rrf_k=1)
    one, other = SearchText(text="When does the library open?"), SearchText(text="late book")
    alone = [retriever.search(retriever.embed(form.text), ANYONE, k=5) for form in (one, other)]
    expected: dict[str, float] = {}
    for hits in alone:
        for hit in hits:
            expected[hit.chunk.document_id] = expected.get(hit.chunk.document_id, 0) + 1 / (1 + hit.rank)
    both = retriever.search(retriever.embed("anything", forms=[one, other]), ANYONE, k=5)
    assert {hit.chunk.document_id: hit.score for hit in both} == pytest.approx(expected)
    for hit in both:
        cosines = [h.dense_score for hits in alone for h in hits if h.chunk == hit.chunk]
        assert hit.dense_score == max(cosine for cosine in cosines if cosine is not None)


def test_words_may_differ_from_what_is_encoded(search: Search) -> None:
    retriever = search.retriever(fusion="sparse")
    vectors = retriever.embed("x", forms=[SearchText(text="late book", words="E-4711")])
    assert [hit.chunk.document_id for hit in retriever.search(vectors, ANYONE)] == ["code"]


def test_no_form_shows_more_than_the_caller_may_read(search: Search) -> None:
    forms = [SearchText(text="library"), SearchText(text="yearly bonus of a librarian")]
    retriever = search.retriever()
    found = retriever.search(retriever.embed("library", forms=forms), ANYONE, k=5)
    assert not {"bonus", "lost"} & {hit.chunk.document_id for hit in found}
    assert "bonus" in {h.chunk.document_id for h in retriever.search(retriever.embed("x", forms=forms), TEAM)}


# Rerankers


def test_a_reranker_decides_the_order(search: Search) -> None:
    reranker = ByName(["code", "fees", "hours"])
    retriever = reranking(search, reranker)
    assert retriever.remote
    hits = retriever.search(retriever.embed(QUERY), ANYONE)
    assert [hit.chunk.document_id for hit in hits] == ["code", "fees", "hours"]
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert [hit.score for hit in hits] == [0.0, -1.0, -2.0]
    ((query, names),) = reranker.asked
    assert query == QUERY
    assert sorted(names) == ["code", "fees", "hours"]


def test_a_reranker_sees_more_than_is_handed_on(search: Search) -> None:
    reranker = ByName(["code", "fees", "hours"])
    retriever = reranking(search, reranker, rerank={"type": "lexical"})
    spec_free = reranking(
        search, reranker, rerank={"type": "endpoint", "url": "http://127.0.0.1:9/", "model": "m"}
    )
    assert [h.chunk.document_id for h in spec_free.search(spec_free.embed(QUERY), ANYONE, k=1)] == ["code"]
    assert len(retriever.search(retriever.embed(QUERY), ANYONE, k=1)) == 1
    assert all(len(names) == 3 for _, names in reranker.asked)


def test_only_the_best_are_reranked(search: Search) -> None:
    plain = search.found(QUERY)
    reranker = ByName(["code", "fees", "hours"][::-1])
    section = {"type": "endpoint", "url": "http://127.0.0.1:9/", "model": "m", "top": 2}
    retriever = reranking(search, reranker, rerank=section)
    found = [hit.chunk.document_id for hit in retriever.search(retriever.embed(QUERY), ANYONE)]
    assert reranker.asked[0][1] == plain[:2]
    assert sorted(found[:2]) == sorted(plain[:2])
    assert found[2:] == plain[2:]


def test_a_reranker_never_sees_what_the_caller_may_not_read(search: Search) -> None:
    reranker = ByName(["bonus", "lost", "code", "fees", "hours"])
    retriever = reranking(search, reranker)
    retriever.search(retriever.embed("yearly bonus of a librarian"), ANYONE)
    assert not {"bonus", "lost"} & set(reranker.asked[0][1])
    found = retriever.search(retriever.embed("yearly bonus of a librarian"), TEAM)
    assert found[0].chunk.document_id == "bonus"


def test_a_failure_keeps_the_order_and_is_told(search: Search) -> None:
    error = EndpointTimeoutError("rerank endpoint 'x' did not answer", endpoint="x")
    section: dict[str, Any] = {"type": "endpoint", "url": "http://127.0.0.1:9/", "model": "m"}
    keeping = reranking(search, ByName([], error), rerank=section)
    found = keeping.find(keeping.embed(QUERY), ANYONE)
    assert found.hits == search.hits(QUERY)
    assert found.problems == ("not reranked: rerank endpoint 'x' did not answer",)
    failing = reranking(search, ByName([], error), rerank={**section, "on_error": "fail"})
    with pytest.raises(EndpointTimeoutError, match="did not answer"):
        failing.search(failing.embed(QUERY), ANYONE)


def test_the_lexical_reranker_is_opened_from_the_spec(search: Search) -> None:
    words_alone = {"type": "lexical", "weight": 1.0}
    hits = search.hits("paper for the scanner", fusion="dense", rerank=words_alone)
    own = LexicalReranker().score("paper for the scanner", [hit.chunk for hit in hits])
    assert [hit.score for hit in hits] == pytest.approx(own)
    assert hits[0].chunk.document_id == "code"
    assert search.found(QUERY, rerank={"type": "lexical", "weight": 0}) == search.found(QUERY)


# Difference


def test_relevance_alone_is_the_plain_order(search: Search) -> None:
    assert search.hits(QUERY, TEAM, mmr_lambda=1.0) == search.hits(QUERY, TEAM)


@pytest.mark.parametrize("fusion", ["dbsf", "sparse", "dense"])
def test_the_most_different_comes_second_without_relevance(fusion: str, search: Search) -> None:
    first, second, *_ = search.hits("library book scanner bonus", TEAM, fusion=fusion, mmr_lambda=0.0)
    assert first.chunk == search.hits("library book scanner bonus", TEAM, fusion=fusion)[0].chunk
    vectors = {text: search.embedder.embed_query(text) for _, text, _, _ in TEXTS}
    others = [hit.chunk.text for hit in search.hits("library book scanner bonus", TEAM, fusion=fusion)[1:]]
    cosines = {text: float(np.dot(vectors[text], vectors[first.chunk.text])) for text in others}
    assert second.chunk.text == min(cosines, key=lambda text: cosines[text])


def test_difference_is_chosen_among_the_best_only(search: Search) -> None:
    plain = search.found("library book scanner bonus", TEAM)
    assert set(search.found("library book scanner bonus", TEAM, mmr_lambda=0.0, mmr_top=2, k=2)) == set(plain[:2])
    assert len(search.found("library", mmr_lambda=0.3, k=1)) == 1


def test_all_steps_together_keep_permissions_and_ranks(search: Search) -> None:
    spec: dict[str, Any] = {
        "fusion": "minmax",
        "dense_weight": 0.6,
        "heading_weight": 0.5,
        "rerank": {"type": "lexical"},
        "mmr_lambda": 0.7,
    }
    for caller in (ANYONE, TEAM, Caller(principals=())):
        hits = search.hits("yearly bonus of a librarian", caller, **spec)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert {hit.chunk.document_id for hit in hits} == set(search.found("yearly bonus of a librarian", caller))
