"""Another encoder reads the passages that are stored: no source is asked, and no question goes wrong meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import insert, update

from llmops.clients.database import open_database
from llmops.clients.database.tables import forgotten, pushed_documents
from llmops.clients.embeddings.prefixed import PrefixedEmbedder
from llmops.clients.protocols import Embedder, Filter
from llmops.clients.vectors.edge import EdgeStore
from llmops.ingestion import durable
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.events import SourceEvent, SourceEvents
from llmops.ingestion.listing import document_id
from llmops.ingestion.report import IngestReport, Progress
from llmops.ingestion.run import Options, ingest
from llmops.ingestion.shape import Indexer
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.sources.push import Pushed
from llmops.ingestion.sources.spec import PushSource
from llmops.ingestion.spec import IngestionSpec
from llmops.records import EVERYONE, Caller, Point
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec
from llmops.workspace.following import FollowingRetriever

ANYONE = Filter(principals=None)
N_PAGES = 6


def page(n: int, edition: int = 1) -> str:
    parts = [f"## Gate {n}.{m}\n\nGate {n}.{m} opens at {m + 6} in edition {edition}." for m in range(3)]
    return f"# Gates of wing {n}\n\n" + "\n\n".join(parts)


class Wordy(PrefixedEmbedder):
    """An encoder whose tokenizer makes two pieces of one."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [2 * n for n in super().count_tokens(texts)]


@dataclass(kw_only=True)
class Wiki:
    """A pipeline to which pages are pushed, each with a version, and the encoder that it uses now."""

    root: Path
    indexer: Indexer
    old: Embedder
    new: Embedder
    uses: list[Embedder] = field(default_factory=list)

    def spec(self, **changes: Any) -> IngestionSpec:
        source = {"type": "push", "acl": [EVERYONE]}
        fields = {"name": "wiki", "description": "Pages of a test.", "source": source, "chunk": {"min_tokens": 0}}
        return IngestionSpec.model_validate(fields | changes, strict=False).located(str(self.root / "wiki.yaml"))

    def push(self, uri: str, text: str | bytes, *, acl: tuple[str, ...] | None = None) -> None:
        raw = text.encode() if isinstance(text, str) else text
        self.kept.put(self.key(uri), Item(uri=uri, acl=acl or (EVERYONE,), media_type="text/markdown"), raw)

    def key(self, uri: str) -> str:
        return document_id(self.spec(), uri)

    @property
    def kept(self) -> Pushed:
        return Pushed(PushSource(type="push", acl=(EVERYONE,)), "wiki", self.indexer.database)

    def damage(self) -> None:
        """Whoever fetches a page from now on gets something else under the same version."""
        with self.indexer.database.begin() as connection:
            connection.execute(update(pushed_documents).values(raw=b"# Damaged\n\nNobody can read this any more."))

    def run(self, *, on_progress: Callable[[Progress], None] = lambda _: None, **options: bool) -> IngestReport:
        return ingest(self.spec(), self.indexer, options=Options(**options), on_progress=on_progress)

    def take(self, embedder: Embedder) -> None:
        self.uses[:] = [embedder]

    def rows(self, collection: str) -> dict[str, DocumentRow]:
        return DocumentLedger(self.indexer.database, collection).rows()

    def points(self, collection: str) -> dict[str, Point]:
        return {point.chunk.chunk_id: point for point in self.indexer.store.scroll(collection, where=ANYONE)}

    @property
    def events(self) -> SourceEvents:
        parts = self.indexer
        return SourceEvents(parts.database, parts.store, parts.collections, pipeline="wiki")

    def serving(self) -> str:
        shape = self.indexer.collections.serving("wiki")
        assert shape is not None
        return shape.collection


@pytest.fixture
def wiki(tmp_path: Path, embedder: Embedder) -> Iterator[Wiki]:
    """Six pages answer as `wiki-1`; the next encoder is at hand."""
    database = open_database("", tmp_path / "ledger.sqlite3")
    store = EdgeStore(tmp_path / "vectors")
    uses: list[Embedder] = [embedder]
    indexer = Indexer(
        database=database, store=store, collections=CollectionBook(database), load_embedder=lambda _: uses[0]
    )
    new = PrefixedEmbedder(embedder, query_prefix="query: ", passage_prefix="passage: ")
    made = Wiki(root=tmp_path, indexer=indexer, old=embedder, new=new, uses=uses)
    with closing(database), closing(store):
        for n in range(N_PAGES):
            made.push(f"{n}.md", page(n))
        assert made.run().n_indexed == N_PAGES
        yield made


def test_no_source_is_read_where_only_the_encoder_changed(wiki: Wiki) -> None:
    before = wiki.points("wiki-1")
    wiki.damage()
    wiki.take(wiki.new)
    report = wiki.run(beside=True)
    assert (report.collection, report.is_candidate) == ("wiki-2", True)
    assert (report.n_indexed, report.n_unchanged, report.n_embedded) == (0, N_PAGES, len(before))
    after = wiki.points("wiki-2")
    assert after.keys() == before.keys()
    for key, point in after.items():
        old = before[key]
        assert replace(point.chunk, n_tokens=0) == replace(old.chunk, n_tokens=0)
        assert point.chunk.n_tokens == wiki.new.count_tokens([old.chunk.embedded_text])[0]
        assert point.sparse == old.sparse
        assert float(point.dense @ old.dense) < 0.999
    [vector] = wiki.new.embed([after[key].chunk.embedded_text])
    np.testing.assert_allclose(after[key].dense, vector, atol=1e-5)
    shape = wiki.indexer.collections.get("wiki-2")
    assert (shape.state, shape.embedder_digest) == ("candidate", wiki.new.digest)
    assert shape.average_terms == wiki.indexer.collections.get("wiki-1").average_terms


def test_what_changed_since_is_read_and_what_is_gone_goes(wiki: Wiki) -> None:
    wiki.damage()
    wiki.push("0.md", page(0, edition=2))
    wiki.push("new.md", page(9))
    wiki.kept.remove(wiki.key("1.md"))
    wiki.take(wiki.new)
    report = wiki.run(beside=True)
    assert (report.n_indexed, report.n_unchanged, report.n_removed) == (2, N_PAGES - 2, 1)
    texts = {point.chunk.uri: point.chunk.text for point in wiki.points("wiki-2").values()}
    assert texts.keys() == {"0.md", "new.md", *(f"{n}.md" for n in range(2, N_PAGES))}
    assert "edition 2" in texts["0.md"]
    assert not any("Damaged" in text for text in texts.values())
    assert wiki.run(beside=True).n_embedded == 0


def test_a_passage_that_the_encoder_would_cut_off_comes_from_the_source(wiki: Wiki) -> None:
    wiki.push("long.md", "# Long\n\n" + "The wing is long and has many gates. " * 15)
    wiki.run()
    wiki.take(Wordy(wiki.old, query_prefix="", passage_prefix="passage: "))
    report = wiki.run(beside=True)
    assert (report.n_indexed, report.n_unchanged) == (1, N_PAGES)
    before, after = (
        [p.chunk for p in wiki.points(name).values() if p.chunk.uri == "long.md"] for name in ("wiki-1", "wiki-2")
    )
    assert (len(before), len(after)) == (1, 2)
    assert all(chunk.n_tokens <= 200 for chunk in after)


def test_other_chunking_takes_nothing_over(wiki: Wiki) -> None:
    wiki.take(wiki.new)
    spec = wiki.spec(chunk={"max_tokens": 64, "min_tokens": 0})
    report = ingest(spec, wiki.indexer, options=Options(beside=True))
    assert (report.n_indexed, report.n_unchanged) == (N_PAGES, 0)


def test_permissions_and_removals_of_the_meantime_are_followed(wiki: Wiki) -> None:
    """Events arrive after a page was read from what answers, and before it is written to the candidate."""
    told: list[int] = []

    class Interrupting(PrefixedEmbedder):
        def embed(
            self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None
        ) -> NDArray[np.float32]:
            if not told:
                told.append(1)
                wiki.events.take(SourceEvent(kind="access", document_id=wiki.key("0.md"), acl=("staff",)))
                wiki.events.take(SourceEvent(kind="deleted", document_id=wiki.key("1.md")))
                wiki.kept.remove(wiki.key("1.md"))
                with wiki.indexer.database.begin() as connection:
                    erased = {"pipeline": "wiki", "document_id": wiki.key("2.md"), "actor": "a test"}
                    connection.execute(insert(forgotten).values(**erased, at=datetime.now(UTC)))
            return super().embed(texts, on_progress)

    wiki.take(Interrupting(wiki.old, query_prefix="query: ", passage_prefix="passage: "))
    wiki.run(beside=True, accept_removals=True)
    readers = {point.chunk.uri: point.chunk.acl for point in wiki.points("wiki-2").values()}
    assert readers["0.md"] == ("staff",)
    assert readers.keys() == {"0.md", "3.md", "4.md", "5.md"}
    assert {row.uri for row in wiki.rows("wiki-2").values()} == readers.keys()


def test_a_run_that_was_killed_goes_on_where_it_stopped(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops.ingestion.reembed._WINDOW_CHUNKS", 3)  # a page at a time
    wiki.damage()
    wiki.take(wiki.new)

    def stop(progress: Progress) -> None:
        if progress.n_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wiki.run(beside=True, on_progress=stop)
    first = wiki.rows("wiki-2")
    assert len(first) == 2
    pending = replace(next(iter(first.values())), state="pending")  # as if the kill had come in the middle of one
    DocumentLedger(wiki.indexer.database, "wiki-2").put([pending])
    report = wiki.run(beside=True)
    assert (report.collection, report.is_candidate) == ("wiki-2", True)
    assert (report.n_unchanged, report.n_embedded) == (N_PAGES, 3 * (N_PAGES - 1))
    assert wiki.points("wiki-2").keys() == wiki.points("wiki-1").keys()
    assert {row.state for row in wiki.rows("wiki-2").values()} == {"indexed"}


def test_a_rebuild_reads_the_source(wiki: Wiki) -> None:
    wiki.take(wiki.new)
    report = wiki.run(beside=True, rebuild=True)
    assert (report.n_indexed, report.n_unchanged) == (N_PAGES, 0)


def test_the_queue_takes_chunks_over_too(wiki: Wiki) -> None:
    wiki.damage()
    wiki.push("new.md", page(9))
    wiki.take(wiki.new)
    options = {"rebuild": False, "beside": True, "allow_empty": False, "accept_removals": False}
    planned = durable.plan(wiki.spec(), wiki.indexer, options)
    assert planned["n_batches"] == 1
    durable.write_batch(wiki.spec(), wiki.indexer, planned["sync_id"], 0)
    report = durable.conclude(wiki.spec(), wiki.indexer, planned["sync_id"])
    assert (report.is_candidate, report.n_indexed, report.n_unchanged) == (True, 1, N_PAGES)
    assert report.n_embedded == 3 * (N_PAGES + 1)
    assert not any("Damaged" in point.chunk.text for point in wiki.points("wiki-2").values())


def test_documents_that_hold_nothing_keep_their_reasons(wiki: Wiki) -> None:
    wiki.push("empty.md", "\n")
    wiki.run()
    assert wiki.rows("wiki-1")[wiki.key("empty.md")].state == "empty"
    wiki.damage()
    wiki.take(wiki.new)
    report = wiki.run(beside=True)
    assert (report.n_empty, report.n_unchanged) == (1, N_PAGES)
    assert wiki.rows("wiki-2")[wiki.key("empty.md")].state == "empty"


def test_no_question_fails_while_one_encoder_follows_another_and_pages_are_written(wiki: Wiki) -> None:
    """Searches go on through promotions and rollbacks, with writes to what answers all the while."""
    wiki.take(wiki.new)
    wiki.run(beside=True)
    encoders = {wiki.old.digest: wiki.old, wiki.new.digest: wiki.new}

    def encoder_of(shape: CollectionShape | None) -> Embedder:
        assert shape is not None
        return encoders[shape.embedder_digest]

    parts = wiki.indexer
    retriever = FollowingRetriever(
        spec=RetrievalSpec(collection="wiki"),
        store=parts.store,
        encoder_of=encoder_of,
        collections=parts.collections,
    )
    stop, errors, found = threading.Event(), list[BaseException](), list[str]()

    def search() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            try:
                vectors = retriever.embed(f"When does gate {n % N_PAGES}.1 open?")
                hits = retriever.search(vectors, Caller())
                assert hits, "nothing was found"
                found.append(hits[0].chunk.uri)
            except BaseException as error:  # noqa: BLE001 (the test tells it)
                errors.append(error)
                return

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for edition, collection in enumerate(("wiki-2", "wiki-1", "wiki-2", "wiki-1", "wiki-2"), start=2):
            action: Any = "promote" if collection == "wiki-2" else "rollback"
            parts.collections.point("wiki", collection, action=action)
            assert retriever.shape().collection == collection
            wiki.take(wiki.new if collection == "wiki-2" else wiki.old)
            wiki.push("0.md", page(0, edition=edition))
            assert wiki.run().collection == collection
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not errors
    assert len(found) > 20
    assert wiki.serving() == "wiki-2"


def test_a_question_is_searched_where_it_was_encoded_for(wiki: Wiki) -> None:
    wiki.take(wiki.new)
    wiki.run(beside=True)
    encoders = {wiki.old.digest: wiki.old, wiki.new.digest: wiki.new}
    parts = wiki.indexer
    retriever = FollowingRetriever(
        spec=RetrievalSpec(collection="wiki", fusion="dense"),
        store=parts.store,
        encoder_of=lambda shape: encoders[shape.embedder_digest] if shape is not None else wiki.old,
        collections=parts.collections,
    )
    vectors = retriever.embed("When does gate 3.1 open?")
    before = retriever.search(vectors, Caller())
    parts.collections.point("wiki", "wiki-2", action="promote")
    assert retriever.search(vectors, Caller()) == before
    after = retriever.search(retriever.embed("When does gate 3.1 open?"), Caller())
    assert [hit.chunk.chunk_id for hit in after][:1] == [before[0].chunk.chunk_id]
    assert after[0].dense_score != before[0].dense_score
    assert retriever.count_tokens(["gate"]) == wiki.new.count_tokens(["gate"])
