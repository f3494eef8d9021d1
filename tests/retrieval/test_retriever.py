"""Search with the packaged encoder and Qdrant Edge: what is found, and who may find it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from llmops.clients.database import open_database
from llmops.clients.protocols import Embedder, VectorStore
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import CollectionShapeError, NotFoundError, RequestError, TooLargeError
from llmops.records import Caller, Chunk, Hit, Point
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.retrieval.retriever import QueryVectors
from llmops.tokens import Bm25

ANYONE = Caller()
TEAM = Caller(name="t", principals=("team-a", "everyone"))
TEXTS: list[tuple[str, str, tuple[str, ...], dict[str, Any]]] = [
    ("hours", "The library opens at nine in the morning.", ("everyone",), {"product": "library", "year": 2024}),
    ("fees", "A book that is late costs twenty cents a day.", ("everyone",), {"product": "library", "year": 2025}),
    (
        "code",
        "Error E-4711 means that the scanner has no paper.",
        ("everyone",),
        {"product": "scanner", "year": 2025},
    ),
    (
        "bonus",
        "The yearly bonus of a librarian is paid in March.",
        ("team-a",),
        {"product": "library", "year": 2025},
    ),
    ("lost", "Nobody may read when the library was sold.", (), {"product": "library", "year": 2025}),
]


@dataclass(frozen=True, kw_only=True)
class Search:
    """A collection with the texts above, and ways to search it."""

    store: VectorStore
    embedder: Embedder
    collections: CollectionBook

    def retriever(self, **spec: Any) -> Retriever:
        made = RetrievalSpec(**{"collection": "docs", **spec})
        return Retriever(spec=made, store=self.store, embedder=self.embedder, collections=self.collections)

    def hits(
        self, query: str, caller: Caller = ANYONE, *, k: int | None = None, metadata: Any = None, **spec: Any
    ) -> list[Hit]:
        retriever = self.retriever(**spec)
        return retriever.search(retriever.embed(query), caller, k=k, metadata=metadata)

    def found(self, query: str, caller: Caller = ANYONE, **more: Any) -> list[str]:
        return [hit.chunk.document_id for hit in self.hits(query, caller, **more)]


def point(number: int, embedder: Embedder) -> Point:
    document_id, text, acl, metadata = TEXTS[number]
    chunk = Chunk(
        chunk_id=str(UUID(int=number + 1)),
        document_id=document_id,
        uri=f"{document_id}.md",
        title=document_id.title(),
        ordinal=0,
        text=text,
        start=0,
        end=len(text),
        heading_path=(),
        locator="",
        n_tokens=12,
        acl=acl,
        metadata=metadata,
    )
    return Point(chunk=chunk, dense=embedder.embed_query(text), sparse=Bm25(average_terms=6).document(text))


def shape(collection: str, embedder: Embedder, *, name: str = "docs", digest: str = "") -> CollectionShape:
    return CollectionShape(
        collection=collection,
        name=name,
        state="building",
        embedder=embedder.name,
        embedder_digest=digest or embedder.digest,
        dimension=embedder.dimension,
        chunker={},
        average_terms=6,
        spec_hash="h",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Search]:
    folder: Path = tmp_path_factory.mktemp("search")
    store, database = EdgeStore(folder / "vectors"), open_database("", folder / "ledger.sqlite3")
    store.create("docs-1", dimension=embedder.dimension, metadata={})
    store.upsert("docs-1", [point(number, embedder) for number in range(len(TEXTS))])
    collections = CollectionBook(database)
    collections.register(shape("docs-1", embedder))
    collections.point("docs", "docs-1")
    yield Search(store=store, embedder=embedder, collections=collections)
    store.close()
    database.close()


@pytest.mark.parametrize("fusion", ["dbsf", "rrf", "dense", "sparse"])
def test_the_passage_that_answers_comes_first(fusion: str, search: Search) -> None:
    [first, *others] = search.hits("When does the library open?", fusion=fusion)
    assert first.chunk.document_id == "hours"
    assert first.chunk.text == TEXTS[0][1]
    assert [hit.rank for hit in (first, *others)] == list(range(1, len(others) + 2))
    scores = [hit.score for hit in (first, *others)]
    assert scores == sorted(scores, reverse=True)


def test_meaning_and_words_both_count(search: Search) -> None:
    assert search.found("what time can I borrow a novel", fusion="dense")[0] in ("hours", "fees")
    assert search.found("E-4711", fusion="sparse") == ["code"]
    [hit] = [hit for hit in search.hits("E-4711") if hit.chunk.document_id == "code"]
    assert hit.rank == 1
    assert hit.dense_score is not None
    assert hit.sparse_score is not None
    assert -1 <= hit.dense_score <= 1 and hit.sparse_score > 0
    assert all(h.sparse_score is None for h in search.hits("E-4711") if h.chunk.document_id != "code")


def test_a_search_without_one_side_does_not_encode_it(search: Search) -> None:
    assert search.retriever(fusion="dense").embed("library").sparse is None
    assert search.retriever(fusion="sparse").embed("library").dense is None
    both = search.retriever().embed("library")
    assert both.dense is not None
    assert both.dense.shape == (search.embedder.dimension,)


def test_a_query_of_stop_words_is_searched_by_its_meaning(search: Search) -> None:
    assert len(search.found("what is it")) == 3
    assert search.found("what is it", fusion="sparse") == []


@pytest.mark.parametrize("fusion", ["dbsf", "rrf", "dense", "sparse"])
def test_a_caller_finds_only_what_he_may_read(fusion: str, search: Search) -> None:
    query = "When is the yearly bonus of a librarian paid, and when was the library sold?"
    assert not {"bonus", "lost"} & set(search.found(query, fusion=fusion, k=100))
    assert search.found(query, TEAM, fusion=fusion)[0] == "bonus"
    assert "lost" not in search.found(query, TEAM, fusion=fusion, k=100)
    assert search.found(query, Caller(principals=()), fusion=fusion) == []
    assert search.found(query, Caller(principals=("team",)), fusion=fusion) == []


def test_a_filter_of_the_caller_narrows(search: Search) -> None:
    assert set(search.found("library", metadata={"year": 2025})) == {"fees", "code"}
    assert search.found("library", metadata={"year": {"lt": 2025}}) == ["hours"]
    assert search.found("library", metadata={"uri": ["fees.md", "hours.md"], "year": 2025}) == ["fees"]
    assert search.found("library", metadata={"nothing": "such"}) == []


def test_the_filter_of_the_route_always_holds(search: Search) -> None:
    of_route = {"product": "library"}
    assert set(search.found("paper in the scanner", filter=of_route)) == {"hours", "fees"}
    assert search.found("paper in the scanner", filter=of_route, metadata={"year": 2025}) == ["fees"]
    with pytest.raises(RequestError, match="the route already fixes 'product'; leave it out of your filter"):
        search.found("paper", filter=of_route, metadata={"product": "scanner"})
    with pytest.raises(RequestError, match="the route already fixes 'product'"):
        search.found("paper", filter=of_route, metadata={"product": ["library", "scanner"]})


@pytest.mark.parametrize("name", ["acl", "metadata.product", "should", "must_not"])
def test_no_filter_widens_what_a_caller_may_read(name: str, search: Search) -> None:
    try:
        found = search.found("bonus of a librarian", metadata={name: ["team-a", "library"]})
    except RequestError:
        return
    assert not {"bonus", "lost"} & set(found)


def test_k_is_how_many_are_handed_on(search: Search) -> None:
    assert len(search.found("library", k=1)) == 1
    assert len(search.found("library", k=2)) == 2
    assert len(search.found("library", k=1, candidates=1)) == 1
    assert len(search.found("library", candidates=1, k=3)) == 3


@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
def test_an_empty_query_is_refused(query: str, search: Search) -> None:
    with pytest.raises(RequestError, match="the query is empty; write what you are looking for"):
        search.retriever().embed(query)


def test_a_query_that_is_too_long_is_refused(search: Search) -> None:
    assert search.found("library " * 1000) != []
    with pytest.raises(TooLargeError, match="the query has 8001 characters; at most 8000 are searched"):
        search.retriever().embed("x" * 8001)


def test_a_collection_that_is_not_there_is_said_to_be_missing(search: Search) -> None:
    said = r"no collection 'handbook' \(there is: docs\); run `llmops ingest run handbook`"
    with pytest.raises(NotFoundError, match=said):
        search.found("library", collection="handbook")


def test_a_collection_of_another_encoder_is_refused(search: Search) -> None:
    search.collections.register(shape("old-1", search.embedder, name="old", digest="another"))
    search.collections.point("old", "old-1")
    said = (
        "collection 'old-1' was embedded by 'all-MiniLM-L6-v2', not by the model loaded now; run .*old --rebuild"
    )
    with pytest.raises(CollectionShapeError, match=rf"{said}"):
        search.found("library", collection="old")


def test_a_search_follows_the_alias(search: Search) -> None:
    search.store.create("moved-1", dimension=search.embedder.dimension, metadata={})
    search.store.create("moved-2", dimension=search.embedder.dimension, metadata={})
    search.store.upsert("moved-2", [point(1, search.embedder)])
    for name in ("moved-1", "moved-2"):
        search.collections.register(shape(name, search.embedder, name="moved"))
    retriever = search.retriever(collection="moved")
    vectors: QueryVectors = retriever.embed("late book")
    search.collections.point("moved", "moved-1")
    assert retriever.search(vectors, ANYONE) == []
    search.collections.point("moved", "moved-2")
    assert [hit.chunk.document_id for hit in retriever.search(vectors, ANYONE)] == ["fees"]


def test_headings_put_the_best_hits_into_another_order(search: Search) -> None:
    """The question says "scanner", but the document that is titled by its last word comes first."""
    question = "which scanner code is about late fees"
    plain, weighed = search.found(question), search.found(question, heading_weight=10)
    assert set(plain) == set(weighed) == {"hours", "fees", "code"}
    cosines = {title: float(vector_of(search, title) @ vector_of(search, question)) for title in plain}
    assert weighed == sorted(plain, key=lambda name: -cosines[name])
    assert search.found(question, heading_weight=10, k=1) == weighed[:1]  # also when only the best is asked for
    assert [hit.rank for hit in search.hits(question, heading_weight=10)] == [1, 2, 3]
    scores = [hit.score for hit in search.hits(question, heading_weight=10)]
    assert scores == sorted(scores, reverse=True)


def vector_of(search: Search, text: str) -> NDArray[np.float32]:
    return search.embedder.embed_query(text.title() if text in {row[0] for row in TEXTS} else text)


def test_comparing_headings_waits_for_the_encoder(search: Search) -> None:
    assert not search.retriever().remote
    assert search.retriever(heading_weight=0.5).remote


def test_headings_show_no_more_than_the_caller_may_read(search: Search) -> None:
    assert "bonus" not in search.found("Bonus", heading_weight=10)
    assert search.found("Bonus", TEAM, heading_weight=10)[0] == "bonus"


def test_headings_cannot_be_compared_without_meanings() -> None:
    with pytest.raises(
        ValidationError, match="heading_weight compares meanings, which the fusion 'sparse' does wi"
    ):
        RetrievalSpec(collection="docs", fusion="sparse", heading_weight=0.5)
