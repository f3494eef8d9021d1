"""A candidate is built beside what answers: it takes over what did not change, and nothing else notices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmops.clients.database import open_database
from llmops.clients.protocols import Embedder
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import CollectionShapeError, ConfigurationError
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.report import Progress
from llmops.ingestion.run import Options, ingest
from llmops.ingestion.shape import Indexer
from llmops.records import Point
from llmops.releases import CollectionBook, ReleaseBook
from tests.ingestion.test_run import ANYONE, Line, page


@pytest.fixture
def line(tmp_path: Path, embedder: Embedder) -> Iterator[Line]:
    """A pipeline whose two pages are indexed and answer, as `handbook-1`."""
    database = open_database("", tmp_path / "state" / "ledger.sqlite3")
    store = EdgeStore(tmp_path / "state" / "vectors")
    indexer = Indexer(
        database=database, store=store, collections=CollectionBook(database), load_embedder=lambda _: embedder
    )
    made = Line(tmp_path, indexer)
    made.write("gate.md", page("gate"))
    made.write("door.md", page("door"))
    made.run()
    yield made
    store.close()
    database.close()


class Retrained:
    """The same encoder under another digest, as after a training."""

    name, digest = "retrained", "0" * 64

    def __init__(self, embedder: Embedder) -> None:
        self.dimension, self.max_tokens = embedder.dimension, embedder.max_tokens
        self.count_tokens, self.embed, self.embed_query = (
            embedder.count_tokens,
            embedder.embed,
            embedder.embed_query,
        )


def points(line: Line, collection: str) -> dict[str, Point]:
    return {p.chunk.chunk_id: p for p in line.indexer.store.scroll(collection, where=ANYONE)}


def uris(line: Line, collection: str) -> set[str]:
    return {point.chunk.uri for point in points(line, collection).values()}


def rows(line: Line, collection: str) -> dict[str, DocumentRow]:
    return DocumentLedger(line.indexer.database, collection).rows()


def candidate(line: Line) -> str | None:
    shape = line.indexer.collections.candidate("handbook")
    return shape.collection if shape is not None else None


def release(line: Line, collection: str) -> None:
    line.indexer.collections.point("handbook", collection, action="promote")


def go_back(line: Line, collection: str) -> None:
    line.indexer.collections.point("handbook", collection, action="rollback")


def stored(line: Line) -> list[str]:
    """The collections there are, the same in the store and on the ledger."""
    known = [shape.collection for shape in line.indexer.collections.all()]
    assert sorted(known) == line.indexer.store.collections()
    return known


def test_an_unchanged_source_costs_no_embedding(line: Line) -> None:
    report = line.run(beside=True)
    assert (report.collection, report.is_candidate, report.is_complete) == ("handbook-2", True, True)
    assert (report.n_indexed, report.n_embedded, report.n_reused, report.n_chunks) == (2, 0, 6, 6)
    assert (line.collection(), candidate(line)) == ("handbook-1", "handbook-2")
    before, after = points(line, "handbook-1"), points(line, "handbook-2")
    assert before.keys() == after.keys()
    for chunk_id, point in after.items():
        np.testing.assert_array_equal(point.dense, before[chunk_id].dense)
        assert point.chunk == before[chunk_id].chunk
        assert point.sparse.indices == before[chunk_id].sparse.indices


def test_only_changed_text_is_embedded_and_what_answers_does_not_move(line: Line) -> None:
    before, rows_before = line.points(), rows(line, "handbook-1")
    line.write("gate.md", page("gate", changed=1))
    line.write("window.md", page("window"))
    (line.root / "docs" / "door.md").unlink()
    report = line.run(beside=True)
    assert (report.n_indexed, report.n_embedded, report.n_reused, report.n_chunks) == (2, 4, 2, 6)
    assert uris(line, "handbook-2") == {"gate.md", "window.md"}
    assert (line.collection(), line.uris()) == ("handbook-1", {"gate.md", "door.md"})
    assert rows(line, "handbook-1") == rows_before
    assert {key: point.chunk for key, point in line.points().items()} == {
        key: point.chunk for key, point in before.items()
    }
    assert len(ReleaseBook(line.indexer.database).history()) == 1


def test_a_second_run_updates_the_candidate(line: Line) -> None:
    line.run(beside=True)
    line.write("gate.md", page("gate", changed=1))
    (line.root / "docs" / "door.md").unlink()
    report = line.run(beside=True)
    assert (report.collection, report.n_indexed, report.n_removed) == ("handbook-2", 1, 1)
    assert (report.n_embedded, report.n_reused, report.n_chunks) == (1, 2, 3)
    assert stored(line) == ["handbook-1", "handbook-2"]
    assert (line.collection(), candidate(line)) == ("handbook-1", "handbook-2")
    assert line.uris() == {"gate.md", "door.md"}
    third = line.run(beside=True)
    assert (third.n_unchanged, third.n_embedded, third.n_reused) == (1, 0, 0)


def test_what_answers_may_move_on_while_a_candidate_waits(line: Line) -> None:
    line.run(beside=True)
    waiting = points(line, "handbook-2").keys()
    line.write("gate.md", page("gate", changed=1))
    report = line.run()
    assert (report.collection, report.n_embedded, report.is_candidate) == ("handbook-1", 1, False)
    assert points(line, "handbook-2").keys() == waiting
    assert candidate(line) == "handbook-2"


def test_a_candidate_is_found_where_nothing_answers_yet(line: Line) -> None:
    spec = line.spec("other")
    report = line.run(spec, beside=True)
    assert (report.collection, report.n_embedded, report.is_candidate) == ("other-1", 6, True)
    assert line.indexer.collections.serving("other") is None
    line.indexer.collections.point("other", "other-1", action="promote")
    again = line.run(spec)
    assert (again.collection, again.n_unchanged, again.n_embedded) == ("other-1", 2, 0)


def test_a_released_candidate_answers_and_the_one_before_stays(line: Line) -> None:
    line.write("gate.md", page("gate", changed=1))
    line.run(beside=True)
    release(line, "handbook-2")
    assert (line.collection(), candidate(line)) == ("handbook-2", None)
    assert any("It has changed." in point.chunk.text for point in line.points().values())
    before = {key for key, point in points(line, "handbook-1").items() if point.chunk.uri == "gate.md"}
    (line.root / "docs" / "door.md").unlink()
    assert line.run().n_removed == 1  # an ordinary run goes on with what answers now
    assert line.uris() == {"gate.md"}
    assert points(line, "handbook-1").keys() == before  # a rollback must not bring back what its source removed
    assert stored(line) == ["handbook-1", "handbook-2"]


def test_the_next_candidate_takes_over_from_what_was_released(line: Line) -> None:
    line.write("gate.md", page("gate", changed=1))
    assert line.run(beside=True).n_embedded == 1
    release(line, "handbook-2")
    report = line.run(beside=True)
    assert (report.collection, report.n_embedded, report.n_reused) == ("handbook-3", 0, 6)
    assert stored(line) == ["handbook-1", "handbook-2", "handbook-3"]


def test_after_going_back_the_earlier_one_is_kept_in_line_again(line: Line) -> None:
    line.write("gate.md", page("gate", changed=1))
    line.run(beside=True)
    release(line, "handbook-2")
    go_back(line, "handbook-1")
    assert not any("It has changed." in point.chunk.text for point in line.points().values())
    assert candidate(line) is None  # what answered once is no candidate any more
    report = line.run()
    assert (report.collection, report.n_indexed, report.n_embedded) == ("handbook-1", 1, 1)
    beside = line.run(beside=True)
    assert (beside.collection, beside.n_embedded) == ("handbook-3", 0)
    assert stored(line) == ["handbook-1", "handbook-2", "handbook-3"]
    release(line, "handbook-2")  # forward again: it is as it was
    assert line.uris() == {"gate.md", "door.md"}


def test_a_rebuild_keeps_what_answers_what_answered_before_it_and_what_waits(line: Line) -> None:
    line.run(beside=True)
    release(line, "handbook-2")
    line.run(beside=True)
    assert (candidate(line), stored(line)) == ("handbook-3", ["handbook-1", "handbook-2", "handbook-3"])
    report = line.run(rebuild=True)
    assert (report.collection, report.n_embedded, report.is_candidate) == ("handbook-4", 6, False)
    assert (line.collection(), stored(line)) == ("handbook-4", ["handbook-2", "handbook-3", "handbook-4"])
    assert (candidate(line), rows(line, "handbook-1")) == ("handbook-3", {})


def test_a_candidate_that_no_longer_fits_its_spec_is_built_anew(line: Line) -> None:
    line.run(beside=True)
    spec = line.spec(chunk={"max_tokens": 64, "min_tokens": 8})
    report = line.run(spec, beside=True)
    assert (report.collection, report.is_candidate) == ("handbook-2", True)  # its number is free again
    assert all(point.chunk.n_tokens <= 64 for point in points(line, "handbook-2").values())
    assert stored(line) == ["handbook-1", "handbook-2"]
    with pytest.raises(CollectionShapeError, match="collection 'handbook-1' was built with chunking"):
        line.run(spec)
    release(line, "handbook-2")
    assert line.run(spec).n_unchanged == 2


def test_a_candidate_can_be_thrown_away_and_begun_again(line: Line) -> None:
    line.run(beside=True)
    line.indexer.store.upsert(
        "handbook-2", [replace(p, dense=-p.dense) for p in points(line, "handbook-2").values()]
    )
    report = line.run(beside=True, rebuild=True)
    assert (report.n_indexed, report.n_unchanged, candidate(line)) == (2, 0, report.collection)
    before = line.points()
    for chunk_id, point in points(line, report.collection).items():
        np.testing.assert_allclose(point.dense, before[chunk_id].dense, atol=1e-6)
    assert stored(line) == ["handbook-1", report.collection]


def test_another_encoder_takes_no_vectors_over(line: Line, embedder: Embedder) -> None:
    line.indexer = replace(line.indexer, load_embedder=lambda _: Retrained(embedder))
    report = line.run(beside=True)
    assert (report.collection, report.n_embedded, report.n_reused) == ("handbook-2", 6, 0)
    shape = line.indexer.collections.candidate("handbook")
    assert shape is not None
    assert (shape.embedder, shape.embedder_digest) == ("retrained", "0" * 64)
    line.write("gate.md", page("gate", changed=1))
    again = line.run(beside=True)
    assert (again.n_embedded, again.n_reused) == (1, 2)  # from itself: its own vectors fit
    line.indexer = replace(line.indexer, load_embedder=lambda _: embedder)
    assert line.run().collection == "handbook-1"


def test_new_permissions_reach_the_candidate_without_embedding(line: Line) -> None:
    report = line.run(line.spec(source={"acl": ["team-a"]}), beside=True)
    assert (report.n_embedded, report.n_reused) == (0, 6)
    assert {point.chunk.acl for point in points(line, "handbook-2").values()} == {("team-a",)}
    assert {point.chunk.acl for point in line.points().values()} == {("everyone",)}


def test_a_run_that_was_stopped_is_gone_on_with(line: Line) -> None:
    line.write("gate.md", page("gate", changed=1))

    def stop(progress: Progress) -> None:
        if progress.stage == "index":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(line.spec(), line.indexer, options=Options(beside=True), on_progress=stop)
    assert (candidate(line), line.collection()) == (None, "handbook-1")
    building = line.indexer.collections.building("handbook")
    assert building is not None
    assert {row.state for row in rows(line, building.collection).values()} <= {"pending", "indexed"}
    assert line.run().collection == "handbook-1"  # an ordinary run leaves it alone
    report = line.run(beside=True)
    assert (report.collection, report.is_candidate, candidate(line)) == ("handbook-2", True, "handbook-2")
    assert points(line, "handbook-2").keys() == line.points().keys()
    assert {row.state for row in rows(line, "handbook-2").values()} == {"indexed"}


def test_a_source_that_cannot_be_listed_whole_makes_no_candidate(line: Line) -> None:
    (line.root / "docs" / "door.md").unlink()
    (line.root / "docs" / "broken.md").symlink_to("nowhere.md")
    report = line.run(beside=True)
    assert not report.is_complete
    assert (candidate(line), line.collection(), line.uris()) == (None, "handbook-1", {"gate.md", "door.md"})
    (line.root / "docs" / "broken.md").unlink()
    report = line.run(beside=True)
    assert (report.collection, report.n_unchanged, candidate(line)) == ("handbook-2", 1, "handbook-2")


def test_a_candidate_loses_nothing_that_could_not_be_listed(line: Line) -> None:
    line.run(beside=True)
    (line.root / "docs" / "door.md").unlink()
    (line.root / "docs" / "broken.md").symlink_to("nowhere.md")
    report = line.run(beside=True)
    assert (report.n_removed, report.is_complete, candidate(line)) == (0, False, "handbook-2")
    assert uris(line, "handbook-2") == {"gate.md", "door.md"}


def test_an_empty_source_makes_a_candidate_only_when_that_is_meant(line: Line) -> None:
    for name in ("gate.md", "door.md"):
        (line.root / "docs" / name).unlink()
    with pytest.raises(ConfigurationError, match="is empty but the collection holds 2 documents; nothing"):
        line.run(beside=True)
    assert (candidate(line), stored(line)) == (None, ["handbook-1"])
    report = line.run(beside=True, allow_empty=True)
    assert (report.n_chunks, candidate(line)) == (0, "handbook-2")
    assert line.uris() == {"gate.md", "door.md"}


def test_a_candidate_whose_vectors_are_lost_is_built_again(line: Line) -> None:
    line.run(beside=True)
    line.indexer.store.drop("handbook-2")
    report = line.run(beside=True)
    assert (report.n_indexed, report.n_embedded, report.n_reused, candidate(line)) == (2, 0, 6, "handbook-2")
    assert stored(line) == ["handbook-1", "handbook-2"]
