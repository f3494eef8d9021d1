"""A sync in steps that a queue does: the same collection as in one go, whatever is done twice or breaks off."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from llmops.errors import BusyError, ConfigurationError, SourceError, StorageError
from llmops.ingestion import durable
from llmops.ingestion.report import IngestReport
from llmops.ingestion.run import Options, ingest
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.syncs import SyncBook
from tests.ingestion.scripted import Trial
from tests.ingestion.test_clean import HIVES, PARKING

NAMES = list("abcdefghijkl")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five documents a step, so that a few make several steps."""
    monkeypatch.setattr(durable, "BATCH", 5)


@pytest.fixture
def filled(trial: Trial) -> Trial:
    """A wiki with everything that can happen to a document, nothing of it synced yet."""
    for name in NAMES:
        trial.wiki.put(name, f"# {name}\n\nText of {name}, which is like no other.")
    trial.wiki.put("twin-1", PARKING * 3)
    trial.wiki.put("twin-2", PARKING * 3)
    trial.wiki.put("empty", "")
    trial.wiki.put("picture.bin", "x", media_type="")
    trial.wiki.put("broken", "x", media_type="text/plain")
    trial.wiki.raw["broken"] = bytes(range(256)) * 4
    trial.wiki.put("over", "Over.", metadata={"expires": "2001-01-01"})
    trial.changes = {"clean": {"near_duplicates": 0.9}, "sync": {"backoff_s": 3600}}
    return trial


def edit(trial: Trial) -> None:
    """Another edition: changed, removed, new, with other readers, and a twin that has become another."""
    if "b" not in trial.wiki.items:
        trial.wiki.put("n", "Newer.")
        trial.wiki.remove("m")
        return
    trial.wiki.put("a", "# a\n\nAnother text of a.")
    trial.wiki.remove("b")
    trial.wiki.allow("c", "team-a")
    trial.wiki.put("m", "New.")
    trial.wiki.put("twin-1", HIVES * 3)
    trial.wiki.put("empty", "Not empty any more.")


def account(report: IngestReport) -> dict[str, Any]:
    """What a report says of documents, whoever did the work in which order."""
    left_out = ("sync_id", "duration_s", "problems")
    counts = {name: value for name, value in asdict(report).items() if name not in left_out}
    problems = sorted((p.uri, p.state, p.reason) for p in report.problems)
    return {**counts, "problems": problems}


def stored(trial: Trial) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Points, their vectors, and rows without their times."""
    points = {p.chunk.chunk_id: p for p in trial.points()}
    chunks = {key: (p.chunk, p.sparse) for key, p in points.items()}
    rows = {}
    for uri, row in trial.rows().items():
        rows[uri] = replace(row, updated_at=row.updated_at.min, retry_at=None)
    return chunks, {key: p.dense for key, p in points.items()}, rows


def assert_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert one[0] == other[0]
    assert one[2] == other[2]
    for key, dense in one[1].items():
        np.testing.assert_allclose(dense, other[1][key], atol=1e-6)


def write_all(trial: Trial, planned: dict[str, Any]) -> None:
    for number in range(planned["n_batches"]):
        durable.write_batch(trial.spec, trial.indexer, planned["sync_id"], number)


def in_one_go(trial: Trial, **options: bool) -> IngestReport:
    return trial.sync(**options)


def in_steps(trial: Trial, **options: bool) -> IngestReport:
    return trial.sync_in_steps(**options)


def in_repeated_steps(trial: Trial, **options: bool) -> IngestReport:
    return trial.sync_in_steps(repeated=True, **options)


@pytest.mark.parametrize("work", [in_steps, in_repeated_steps])
def test_steps_end_where_one_go_ends(filled: Trial, work: Callable[..., IngestReport]) -> None:
    wiki = filled.wiki
    before = {"items": dict(wiki.items), "raw": dict(wiki.raw), "log": list(wiki.log)}
    expected = []
    for _ in range(2):
        report = filled.sync()
        expected.append((account(report), stored(filled)))
        edit(filled)
    report = filled.sync(accept_removals=True)
    expected.append((account(report), stored(filled)))

    for shape in filled.indexer.collections.all():
        from llmops.ingestion.shape import discard

        discard(shape, filled.indexer)
    with filled.database.begin() as connection:
        from sqlalchemy import text

        connection.execute(text("DELETE FROM syncs"))
        connection.execute(text("DELETE FROM aliases"))
    wiki.items, wiki.raw, wiki.log = dict(before["items"]), dict(before["raw"]), list(before["log"])  # type: ignore[call-overload]  # as they were
    runs: list[dict[str, bool]] = [{}, {}, {"accept_removals": True}]
    for n, options in enumerate(runs):
        report = work(filled, **options)
        said, held = expected[n]
        assert account(report) == said
        assert_same(stored(filled), held)
        if n < len(runs) - 1:
            edit(filled)


def test_what_travels_names_no_document(filled: Trial) -> None:
    """A queue's own files are not searched for what is to be forgotten."""
    assert durable.plan(filled.spec, filled.indexer, {}) == {"sync_id": filled.last.sync_id, "n_batches": 4}


def test_a_batch_that_is_done_again_is_not_read_again(filled: Trial) -> None:
    planned = durable.plan(filled.spec, filled.indexer, {})
    durable.write_batch(filled.spec, filled.indexer, planned["sync_id"], 0)
    n_asked = len(filled.wiki.asked)
    durable.write_batch(filled.spec, filled.indexer, planned["sync_id"], 0)
    assert len(filled.wiki.asked) == n_asked
    with pytest.raises(StorageError, match="is not under way any more; run the pipeline again"):
        durable.conclude(filled.spec, filled.indexer, planned["sync_id"])  # three batches are not written yet


def test_what_the_steps_kept_goes_with_the_sync(filled: Trial) -> None:
    from sqlalchemy import func, select

    from llmops.clients.database.tables import sync_steps

    def n_kept() -> int:
        with filled.database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(sync_steps)).scalar_one())

    planned = durable.plan(filled.spec, filled.indexer, {})
    write_all(filled, planned)
    assert n_kept() == 1 + planned["n_batches"]
    durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    assert n_kept() == 0
    planned = durable.plan(filled.spec, filled.indexer, {})
    SyncBook(filled.database).abandon_jobs("wiki", "the job was cancelled")
    assert n_kept() == 0


def test_batches_may_be_written_in_any_order_and_at_the_same_time(filled: Trial) -> None:
    from concurrent.futures import ThreadPoolExecutor

    planned = durable.plan(filled.spec, filled.indexer, {})
    numbers = random.Random(7).sample(range(planned["n_batches"]), planned["n_batches"])
    with ThreadPoolExecutor(4) as pool:
        sync_id = planned["sync_id"]
        list(pool.map(lambda n: durable.write_batch(filled.spec, filled.indexer, sync_id, n), numbers))
    report = durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    assert (report.n_indexed, report.n_duplicate, report.n_empty, report.n_failed) == (13, 1, 1, 1)
    assert report.n_chunks == len(filled.points()) == 13


def test_a_sync_that_was_concluded_is_not_concluded_again(filled: Trial) -> None:
    """Its listing is not kept any more: read as it stands, it would say that everything is gone."""
    planned = durable.plan(filled.spec, filled.indexer, {"accept_removals": True})
    write_all(filled, planned)
    first = durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    before = stored(filled)
    again = durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    assert account(again) == account(first)
    assert_same(stored(filled), before)
    assert filled.last.state == "done"


def test_what_others_write_between_the_steps_is_not_removed(filled: Trial) -> None:
    """Documents that are pushed while a job runs are in no listing of it."""
    filled.sync()
    planned = durable.plan(filled.spec, filled.indexer, {"accept_removals": True})
    filled.wiki.put("pushed", "Pushed while the job runs.")
    pushed: list[Item] = [filled.wiki.items["pushed"]]
    ingest(filled.spec, filled.indexer, options=Options(), only=lambda: pushed)
    durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    assert filled.texts()["pushed"] == "Pushed while the job runs."


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_job_whose_listing_broke_off_removes_nothing_that_it_did_not_come_to(trial: Trial, k: int) -> None:
    trial.wiki.page_size = 5
    for n in range(20):
        trial.wiki.put(f"p{n:02}", f"Text of {n}.")
    trial.sync_in_steps()
    trial.changes = {"sync": {"max_removed_share": 1}}
    trial.wiki.remove("p00")
    trial.wiki.breaks_before = k
    for _ in range(2):  # the second goes on where the first broke off, and breaks off there again
        report = trial.sync_in_steps()
        assert (report.n_removed, report.is_complete) == (0, False)
        assert len(trial.texts()) == 20
    trial.wiki.breaks_before = None
    report = trial.sync_in_steps()
    assert (report.n_removed, report.is_complete, report.n_unchanged) == (1, True, 19)
    assert "p00" not in trial.texts()


def test_a_job_whose_source_goes_away_while_it_is_read_removes_nothing(filled: Trial) -> None:
    filled.changes = {"sync": {"max_removed_share": 1, "fetchers": 1}}
    filled.sync_in_steps()
    filled.wiki.remove("a")
    for name in NAMES[1:]:
        filled.wiki.put(name, f"Another text of {name}.")
        filled.wiki.errors[name] = SourceError("connection refused")
    report = filled.sync_in_steps()
    assert (report.n_removed, report.is_complete) == (0, False)
    assert "a" in filled.texts()
    filled.wiki.errors.clear()
    report = filled.sync_in_steps()
    assert report.n_removed == 1
    assert "a" not in filled.texts()


def test_planning_again_goes_on_and_leaves_no_sync_that_seems_to_run(filled: Trial) -> None:
    filled.wiki.has_checkpoints = False
    for _ in range(3):  # a worker is killed before anybody knows that it planned
        planned = durable.plan(filled.spec, filled.indexer, {})
    with pytest.raises(BusyError, match="a job is syncing 'wiki'; wait for it"):
        filled.sync()
    write_all(filled, planned)
    report = durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    assert report.n_indexed == 13
    assert {sync.state for sync in SyncBook(filled.database).of("wiki")} == {"done", "failed"}
    assert filled.sync().n_unchanged == 13
    assert filled.indexer.store.collections() == [filled.collection]


def test_a_plan_that_was_made_again_does_not_list_again_where_the_source_has_checkpoints(filled: Trial) -> None:
    first = durable.plan(filled.spec, filled.indexer, {})
    n_asked = len(filled.wiki.asked)
    second = durable.plan(filled.spec, filled.indexer, {})
    assert (second["sync_id"], len(filled.wiki.asked)) == (first["sync_id"], n_asked)
    assert second["n_batches"] == 4
    write_all(filled, second)
    assert durable.conclude(filled.spec, filled.indexer, second["sync_id"]).n_found == 18


def test_a_job_that_failed_lets_the_next_one_begin(filled: Trial) -> None:
    planned = durable.plan(filled.spec, filled.indexer, {})
    durable.write_batch(filled.spec, filled.indexer, planned["sync_id"], 0)
    durable.fail(filled.indexer, planned["sync_id"], "the disk is full")
    assert (filled.last.state, filled.last.reason) == ("failed", "the disk is full")
    with pytest.raises(StorageError, match="is not under way any more; run the pipeline again"):
        durable.write_batch(filled.spec, filled.indexer, planned["sync_id"], 1)
    report = filled.sync_in_steps()
    assert (report.n_indexed + report.n_unchanged, report.n_duplicate) == (13, 1)


def test_a_plan_that_cannot_be_made_leaves_its_reason(filled: Trial) -> None:
    filled.sync_in_steps()
    for name in list(filled.wiki.items):
        filled.wiki.remove(name)
    with pytest.raises(ConfigurationError, match="the source of 'wiki' is empty but the collection holds"):
        durable.plan(filled.spec, filled.indexer, {})
    assert (filled.last.state, "is empty" in filled.last.reason) == ("failed", True)
    assert len(filled.texts()) == 13


def test_a_removal_that_is_held_is_held_by_a_job_too(filled: Trial) -> None:
    filled.sync_in_steps()
    for name in "abcdef":
        filled.wiki.remove(name)
    report = filled.sync_in_steps()
    assert (report.n_removed, report.held[:34]) == (0, "the source lacks 6 of 13 documents")
    assert filled.last.state == "held"
    assert filled.sync_in_steps(accept_removals=True).n_removed == 6


def test_a_job_makes_and_fills_a_new_collection_beside_the_one_that_answers(filled: Trial) -> None:
    filled.sync_in_steps()
    planned = durable.plan(filled.spec, filled.indexer, {"rebuild": True})
    assert (filled.indexer.store.collections(), filled.collection) == (["wiki-1", "wiki-2"], "wiki-1")
    write_all(filled, planned)
    assert (filled.collection, len(filled.texts())) == ("wiki-1", 13)
    durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    assert (filled.collection, len(filled.texts())) == ("wiki-2", 13)


def test_a_worker_whose_book_is_old_fills_the_collection_that_another_has_made(filled: Trial) -> None:
    """Two processes: each has read the collections at its start."""
    from llmops.releases import CollectionBook

    other = Trial(
        filled.wiki, replace(filled.indexer, collections=CollectionBook(filled.database)), filled.changes
    )
    filled.sync_in_steps()
    edit(filled)
    report = other.sync_in_steps(accept_removals=True)
    assert (report.collection, report.n_indexed, report.n_removed) == ("wiki-1", 5, 1)
    assert filled.indexer.store.collections() == ["wiki-1"]
