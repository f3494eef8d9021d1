"""Labelled queries: what a ranking scores, what two runs differ in, and which fusion the labels choose."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from llmops.clients.database import open_database
from llmops.clients.protocols import Embedder, VectorStore
from llmops.clients.vectors.edge import EdgeStore
from llmops.datasets import Label, Relevant
from llmops.evals.retrieval import RetrievalRun, difference, is_relevant, ranking, run_labels, score_ranking
from llmops.evals.tuning import (
    Setting,
    choose,
    encoding_once,
    searching_once,
    setting_of,
    settings_to_try,
)
from llmops.metrics import bootstrap_interval
from llmops.records import EVERYONE, Caller, Chunk, Point
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.tokens import Bm25

PAGES = {
    "opening.md": "The library opens at nine in the morning and closes at six in the evening.",
    "fees.md": "The late fee is fifty cents a day for each book that is returned late.",
    "cards.md": "A library card costs ten euros a year for adults; children get one for free.",
    "seats.md": "The reading room has forty seats, and every seat has a lamp and a power socket.",
    "secret.md": "The safe of the library stands behind the portrait of its founder.",
}
LABELS = tuple(
    Label(label_id=uri, query=query, relevant=(Relevant(uris=(uri,)),))
    for uri, query in (
        ("opening.md", "When does the library open?"),
        ("fees.md", "How much is the fee for a late book?"),
        ("cards.md", "What does a card cost?"),
        ("seats.md", "How many places are there to sit and read?"),
    )
)
DENSE, SPARSE, DBSF = Setting(fusion="dense"), Setting(fusion="sparse"), Setting(fusion="dbsf")


def chunk(uri: str, text: str = "", *, ordinal: int = 0, context: str = "") -> Chunk:
    return Chunk(
        chunk_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{uri} {ordinal}")),
        document_id=uri,
        uri=uri,
        title=uri,
        ordinal=ordinal,
        text=text,
        start=0,
        end=len(text),
        heading_path=(),
        locator="",
        n_tokens=10,
        acl=(EVERYONE,) if uri != "secret.md" else ("staff",),
        context=context,
    )


class Counted:
    """An engine's store that counts its searches."""

    def __init__(self, store: VectorStore) -> None:
        self.store, self.n = store, 0

    def __getattr__(self, name: str) -> object:
        self.n += name == "search"
        return getattr(self.store, name)


@pytest.fixture
def library(tmp_path: Path, embedder: Embedder) -> Iterator[tuple[EdgeStore, CollectionBook]]:
    database = open_database("", tmp_path / "ledger.sqlite3")
    store, book, bm25 = EdgeStore(tmp_path / "vectors"), CollectionBook(database), Bm25(average_terms=10)
    chunks = [chunk(uri, text) for uri, text in PAGES.items()]
    vectors = embedder.embed([one.embedded_text for one in chunks])
    store.create("docs-1", dimension=embedder.dimension, metadata={})
    points = zip(chunks, vectors, strict=True)
    store.upsert("docs-1", [Point(chunk=c, dense=v, sparse=bm25.document(c.text)) for c, v in points])
    book.register(
        CollectionShape(
            collection="docs-1",
            name="docs",
            state="building",
            embedder=embedder.name,
            embedder_digest=embedder.digest,
            dimension=embedder.dimension,
            chunker={},
            average_terms=10,
            spec_hash="",
            created_at=datetime.now(UTC),
        )
    )
    book.point("docs", "docs-1")
    yield store, book
    store.close()
    database.close()


def passages(*quotes: Relevant) -> Label:
    return Label(label_id="q", query="?", relevant=quotes)


# Scores


def test_a_document_stands_where_its_best_chunk_does() -> None:
    label = Label(label_id="q", query="?", relevant=(Relevant(uris=("b",)),))
    ranked = [chunk("a"), chunk("a", ordinal=1), chunk("a", ordinal=2), chunk("b"), chunk("b", ordinal=1)]
    score = score_ranking(label, ranked)
    assert score.reciprocal_rank == 0.5  # three chunks of one document are one place
    assert score.ndcg_at_10 == pytest.approx(1 / np.log2(3))
    assert score.recall == {10: 1.0, 100: 1.0}
    assert score.found == ("a", "b")


def test_a_quote_is_held_by_text_or_context_white_space_aside() -> None:
    one = Relevant(uris=("a", "b"), quotes=("fifty  cents\na day", "50 cents"))
    assert is_relevant(one, chunk("b", "It is fifty cents a day."))
    assert is_relevant(one, chunk("a", "It is so.", context="Late? It is\n50 cents."))
    assert not is_relevant(one, chunk("c", "It is fifty cents a day."))
    assert not is_relevant(one, chunk("a", "It is forty cents a day."))


def test_passages_are_ranked_where_the_label_quotes() -> None:
    label = passages(Relevant(uris=("a",), quotes=("gold",)))
    score = score_ranking(label, [chunk("a", "tin"), chunk("a", "gold", ordinal=1), chunk("a", "gold", ordinal=2)])
    assert (score.reciprocal_rank, score.recall[10]) == (0.5, 1.0)
    assert score.ndcg_at_10 == pytest.approx(1 / np.log2(3))


def test_one_passage_may_answer_two_labels_and_repeating_it_answers_none() -> None:
    label = passages(
        Relevant(uris=("a",), quotes=("gold",)), Relevant(uris=("a",), quotes=("silver",)), Relevant(uris=("b",))
    )
    both = chunk("a", "gold and silver")
    assert score_ranking(label, [both, chunk("b")]).ndcg_at_10 == 1.0
    assert score_ranking(label, [both, both, chunk("b")]).ndcg_at_10 < 1.0
    missed = score_ranking(label, [both])
    assert missed.recall[10] == pytest.approx(2 / 3)
    assert 0 < missed.ndcg_at_10 < 1


def test_more_gain_belongs_further_up() -> None:
    label = passages(Relevant(uris=("a",), gain=3.0), Relevant(uris=("b",), gain=1.0))
    best, worse = (score_ranking(label, [chunk(uri) for uri in order]).ndcg_at_10 for order in ("ab", "ba"))
    assert (best, worse < 1) == (1.0, True)
    assert score_ranking(label, []).ndcg_at_10 == 0.0


# Runs


def test_a_run_asks_every_query(library: tuple[EdgeStore, CollectionBook], embedder: Embedder) -> None:
    store, book = library
    asked: list[tuple[int, int]] = []
    retriever = Retriever(spec=RetrievalSpec(collection="docs"), store=store, embedder=embedder, collections=book)
    run = run_labels(retriever, LABELS, Caller(), on_asked=lambda done, of: asked.append((done, of)))
    assert asked == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [score.label_id for score in run.scores] == [label.label_id for label in LABELS]
    intervals = run.intervals()
    assert intervals.keys() == {"ndcg@10", "recall@10", "recall@100", "mrr"}
    assert intervals["recall@10"].mean == 1.0
    assert intervals["ndcg@10"] == bootstrap_interval(run.ndcg)


def test_what_nobody_may_read_is_not_found(library: tuple[EdgeStore, CollectionBook], embedder: Embedder) -> None:
    store, book = library
    retriever = Retriever(spec=RetrievalSpec(collection="docs"), store=store, embedder=embedder, collections=book)
    label = Label(label_id="s", query="Where is the safe?", relevant=(Relevant(uris=("secret.md",)),))
    assert run_labels(retriever, [label], Caller()).ndcg == [0.0]
    staff = Caller(principals=("staff", EVERYONE))
    assert run_labels(retriever, [label], staff).scores[0].recall[10] == 1.0


def test_a_route_is_measured_as_it_answers(library: tuple[EdgeStore, CollectionBook], embedder: Embedder) -> None:
    """With headings the first hits are those of a search that asks for a few, not for a hundred."""
    store, book = library
    spec = RetrievalSpec(collection="docs", heading_weight=5.0, multi_query=2)
    retriever = Retriever(spec=spec, store=store, embedder=embedder, collections=book)
    ranked = ranking(retriever, "What does a card cost?", Caller())
    assert len({one.chunk_id for one in ranked}) == len(ranked) == 4
    few = retriever.search(retriever.embed("What does a card cost?"), Caller(), k=20)
    assert {hit.chunk.uri for hit in few} == {one.uri for one in ranked}


def test_runs_are_compared_query_by_query(library: tuple[EdgeStore, CollectionBook], embedder: Embedder) -> None:
    store, book = library

    def run(setting: Setting, labels: Sequence[Label] = LABELS) -> RetrievalRun:
        section = setting.on(RetrievalSpec(collection="docs"))
        assert section is not None
        return run_labels(
            Retriever(spec=section, store=store, embedder=embedder, collections=book), labels, Caller()
        )

    same = difference(run(DBSF), run(DBSF))
    assert (same.interval.mean, same.p_value, same.n) == (0.0, 1.0, 4)
    with pytest.raises(ValueError, match="the two runs are not of the same labels"):
        difference(run(DBSF), run(DBSF, LABELS[:2]))


# Tuning


def test_every_search_is_made_once(library: tuple[EdgeStore, CollectionBook], embedder: Embedder) -> None:
    store, book = library
    counted = Counted(store)
    once, encoder = searching_once(counted), encoding_once(embedder)  # type: ignore[arg-type]  # passes all on
    spec = RetrievalSpec(collection="docs", heading_weight=0.5)
    plain: dict[Setting, list[float]] = {}
    remembered: dict[Setting, list[float]] = {}
    for setting in settings_to_try(setting_of(spec)):
        section = setting.on(spec)
        if section is None:
            assert setting.fusion == "sparse"  # headings compare meanings
            continue
        for found, parts in ((plain, (store, embedder)), (remembered, (once, encoder))):
            retriever = Retriever(spec=section, store=parts[0], embedder=parts[1], collections=book)
            found[setting] = run_labels(retriever, LABELS, Caller()).ndcg
    assert remembered == plain
    assert counted.n == len(LABELS)


def test_the_current_setting_is_tried_first_and_no_setting_twice() -> None:
    odd = Setting(fusion="rrf", rrf_k=7, dense_weight=0.9)
    tried = settings_to_try(odd)
    assert tried[0] == odd
    assert len(tried) == len(set(tried)) > 20
    assert settings_to_try(DBSF)[0] == DBSF
    assert {one.fusion for one in tried} == {"dense", "sparse", "rrf", "dbsf", "minmax"}
    assert (odd.name, DBSF.name) == ("rrf k=7 dense_weight=0.9", "dbsf")


def scores(means: Mapping[str, float], n: int = 200) -> dict[Setting, list[float]]:
    """Scores of queries that differ much from each other and little between settings."""
    generator = np.random.default_rng(5)
    queries = generator.uniform(0.2, 0.6, n)
    named = {"dbsf": DBSF, "dense": DENSE, "sparse": SPARSE, "rrf": Setting(fusion="rrf")}
    return {
        named[name]: list(np.clip(queries + mean + generator.normal(0, 0.02, n), 0, 1))
        for name, mean in means.items()
    }


@pytest.mark.parametrize(
    ("means", "chosen", "why"),
    [
        (
            {"dbsf": 0.2, "dense": 0.1, "sparse": 0.1, "rrf": 0.25},
            "rrf k=60",
            "rrf k=60 is better than dbsf: p = 0",
        ),
        ({"dbsf": 0.2, "dense": 0.1, "sparse": 0.1, "rrf": 0.2}, "dbsf", "nothing is proven better than dbsf"),
        ({"dbsf": 0.1, "dense": 0.0, "sparse": 0.2, "rrf": 0.15}, "sparse", "sparse is better than dbsf"),
    ],
)
def test_a_change_needs_proof(means: Mapping[str, float], chosen: str, why: str) -> None:
    choice = choose(scores(means))
    assert choice.chosen.name == chosen
    assert why in choice.reason
    assert choice.current == DBSF
    assert (choice.tried[0].gain.mean, choice.tried[0].p_value) == (0.0, 1.0)


def test_few_labels_prove_nothing() -> None:
    choice = choose({DBSF: [0.5, 0.4], Setting(fusion="rrf"): [0.9, 0.9], DENSE: [0.4, 0.4], SPARSE: [0.1, 0.0]})
    assert choice.chosen == DBSF


def test_no_fusion_stays_that_is_below_the_better_single_search() -> None:
    """Also where too few labels prove anything."""
    choice = choose({DBSF: [0.5, 0.3], DENSE: [0.5, 0.5], SPARSE: [0.1, 0.0]})
    assert choice.chosen == DENSE
    assert choice.better_single == DENSE
    assert choice.reason == "dbsf is more than 0.005 below one search alone; dense is not"


def test_a_single_search_that_never_was_tried_is_no_floor() -> None:
    choice = choose({DBSF: [0.5, 0.3], Setting(fusion="rrf"): [0.5, 0.3]})
    assert (choice.chosen, choice.better_single) == (DBSF, None)
