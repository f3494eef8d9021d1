"""What a source says while a sync is under way wins over what the sync had listed before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from llmops.clients.database.tables import source_events
from llmops.ingestion.events import SourceEvent
from llmops.ingestion.report import IngestReport
from llmops.releases import CollectionBook
from tests.ingestion.scripted import PIPELINE, Trial


@pytest.fixture
def filled(trial: Trial) -> Trial:
    """Six documents that everyone may read."""
    for name in "abcdef":
        trial.wiki.put(name, f"Text of {name}.")
    trial.sync()
    return trial


def once(work: Callable[[], object]) -> Callable[[object], None]:
    """Done at the first call only."""
    done: list[bool] = []

    def call(_: object) -> None:
        if not done:
            done.append(True)
            work()

    return call


def rewrite(trial: Trial) -> None:
    for name in "abcdef":
        trial.wiki.put(name, f"Another text of {name}.")


def test_a_change_of_readers_that_comes_after_the_listing_stays(filled: Trial) -> None:
    rewrite(filled)
    filled.wiki.on_fetch = once(lambda: filled.tell("access", "a", "team-a"))
    filled.sync()
    assert (filled.readers()["a"], filled.rows()["a"].acl) == (("team-a",), ("team-a",))
    assert filled.texts()["a"] == "Another text of a."


def test_a_removal_that_comes_after_the_listing_stays(filled: Trial) -> None:
    rewrite(filled)
    filled.wiki.on_fetch = once(lambda: filled.tell("deleted", "a"))
    report = filled.sync()
    assert (report.n_found, report.n_indexed) == (5, 5)
    assert list(filled.texts()) == list(filled.rows()) == list("bcdef")


def test_an_event_between_writing_and_the_ledger_wins(filled: Trial) -> None:
    rewrite(filled)
    store = filled.indexer.store
    upsert = store.upsert

    def meanwhile(collection: str, points: object) -> None:
        upsert(collection, points)  # type: ignore[arg-type]  # handed through
        filled.tell("access", "a", "team-a")
        filled.tell("deleted", "b")
        filled.tell("access", "c", "team-b")
        filled.tell("access", "c", "team-c")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "upsert", meanwhile)
        report = filled.sync()
    assert (report.n_found, report.n_indexed) == (5, 5)
    assert filled.readers() == {
        "a": ("team-a",),
        "c": ("team-c",),
        "d": ("everyone",),
        "e": ("everyone",),
        "f": ("everyone",),
    }
    assert {uri: row.acl for uri, row in filled.rows().items()} == filled.readers()


def test_an_event_wins_over_other_readers_that_the_listing_had(filled: Trial) -> None:
    """The listing says that a team may read it now; then the source takes that back."""
    for name in "ab":
        filled.wiki.allow(name, "team-a")
    filled.wiki.page_size = 10
    filled.wiki.on_page = once(lambda: None)
    store = filled.indexer.store
    allow = store.set_access

    def meanwhile(collection: str, document_id: str, *, acl: object) -> None:
        if document_id == filled.key("a") and acl == ("team-a",):
            filled.tell("access", "a")  # nobody; arrives when the sync is about to write what it listed
        allow(collection, document_id, acl=acl)  # type: ignore[arg-type]  # handed through

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "set_access", meanwhile)
        filled.sync()
    assert (filled.readers()["a"], filled.rows()["a"].acl) == ((), ())
    assert filled.readers()["b"] == ("team-a",)


def test_an_event_during_the_listing_wins_over_the_page_that_came_before_it(filled: Trial) -> None:
    filled.wiki.allow("a", "team-a")
    filled.wiki.on_page = once(lambda: filled.tell("access", "a", "team-b"))
    filled.sync()
    assert filled.readers()["a"] == ("team-b",)


def test_the_next_listing_wins_over_events_before_it(filled: Trial) -> None:
    filled.tell("access", "a", "team-a")
    filled.tell("deleted", "b")
    assert (filled.readers()["a"], "b" in filled.texts()) == (("team-a",), False)
    report = filled.sync()
    assert (report.n_permissions, report.n_indexed) == (1, 1)
    assert (filled.readers()["a"], filled.texts()["b"]) == (("everyone",), "Text of b.")


def test_events_reach_a_candidate_and_the_collection_of_before(filled: Trial) -> None:
    filled.sync(rebuild=True)
    filled.sync(beside=True)
    assert [shape.collection for shape in filled.indexer.collections.all()] == ["wiki-1", "wiki-2", "wiki-3"]
    filled.tell("access", "a", "team-a")
    filled.tell("deleted", "b")
    for collection in ("wiki-1", "wiki-2", "wiki-3"):
        assert filled.readers(collection)["a"] == ("team-a",)
        assert list(filled.texts(collection)) == list(filled.rows(collection)) == list("acdef")


def test_an_event_while_a_new_collection_is_built_reaches_both(filled: Trial) -> None:
    def tell(uri: object) -> None:
        if uri == last[0]:
            filled.tell("access", "a", "team-a")
            filled.tell("deleted", "b")

    filled.sync(rebuild=True)
    last = filled.wiki.fetched[-1:]
    filled.wiki.on_fetch = tell
    filled.sync(rebuild=True)
    assert filled.collection == "wiki-3"
    for collection in ("wiki-2", "wiki-3"):
        assert (filled.readers(collection)["a"], "b" in filled.texts(collection)) == (("team-a",), False)


def test_an_event_reaches_a_collection_that_another_process_has_begun(filled: Trial) -> None:
    """The gateway takes the event; a worker, with a book of its own, fills the collection."""
    events = filled.events
    events._collections = CollectionBook(filled.database)
    from llmops.ingestion import durable

    planned = durable.plan(filled.spec, filled.indexer, {"rebuild": True})
    durable.write_batch(filled.spec, filled.indexer, planned["sync_id"], 0)
    events.take(SourceEvent(kind="access", document_id=filled.key("a"), acl=("team-a",)))
    events.take(SourceEvent(kind="deleted", document_id=filled.key("b")))
    durable.conclude(filled.spec, filled.indexer, planned["sync_id"])
    assert filled.collection == "wiki-2"
    assert (filled.readers()["a"], list(filled.texts())) == (("team-a",), list("acdef"))


def test_a_document_deleted_while_duplicates_are_settled_does_not_come_back_as_a_row(filled: Trial) -> None:
    filled.changes = {"clean": {"near_duplicates": 0.9}}
    filled.sync()
    filled.wiki.put("a", "The same words stand in both of these documents.")
    filled.wiki.put("b", "The same words stand in both of these documents.")
    delete = filled.indexer.store.delete_document

    def meanwhile(collection: str, document_id: str, *, keep: object = ()) -> None:
        delete(collection, document_id, keep=keep)  # type: ignore[arg-type]  # handed through
        if document_id == filled.key("b") and keep == ():
            tell("b")

    tell = once(lambda: filled.tell("deleted", "b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filled.indexer.store, "delete_document", meanwhile)
        filled.sync()
    assert list(filled.rows()) == list("acdef")
    assert list(filled.texts()) == list("acdef")


def test_a_document_deleted_by_an_event_keeps_no_duplicate_out(filled: Trial) -> None:
    filled.changes = {"clean": {"near_duplicates": 0.9}}
    filled.wiki.put("a", "The same words stand in both of these documents.")
    filled.wiki.put("b", "The same words stand in both of these documents.")
    filled.sync()
    assert filled.states()["b"] == "duplicate"
    filled.wiki.put("f", "Another text of f.")
    filled.wiki.on_fetch = once(lambda: filled.tell("deleted", "a"))
    filled.sync()
    assert list(filled.texts()) == list("bcdef")


def test_two_events_at_once_end_in_the_newer_one_everywhere(filled: Trial) -> None:
    """Whoever obeys the older one last must not undo the newer one."""
    store = filled.indexer.store
    allow = store.set_access
    first, second = threading.Event(), threading.Event()

    def slowly(collection: str, document_id: str, *, acl: object) -> None:
        if acl == ("old",):
            first.set()
            second.wait(20)
        allow(collection, document_id, acl=acl)  # type: ignore[arg-type]  # handed through

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "set_access", slowly)
        older = threading.Thread(target=filled.tell, args=("access", "a", "old"))
        older.start()
        assert first.wait(20)
        newer = threading.Thread(target=filled.tell, args=("access", "a", "new"))
        newer.start()
        newer.join(1)  # done by now, unless events take turns
        second.set()
        older.join(20)
        newer.join(20)
    assert (filled.readers()["a"], filled.rows()["a"].acl) == (("new",), ("new",))


@pytest.mark.parametrize("kind", ["access", "deleted"])
def test_an_event_wins_although_its_clock_is_behind(filled: Trial, kind: str) -> None:
    """The clock runs backwards between the listing and the event, or belongs to another machine."""
    rewrite(filled)

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003 (a clock for one purpose)
            return datetime.now(UTC) - timedelta(days=1)

    def tell() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("llmops.ingestion.moments.datetime", Yesterday)
            filled.tell(kind, "a", *(["team-a"] if kind == "access" else []))

    filled.wiki.on_fetch = once(tell)
    filled.sync()
    assert filled.readers().get("a") == (("team-a",) if kind == "access" else None)


def test_a_sync_whose_clock_is_behind_does_not_bow_to_events_of_before(filled: Trial) -> None:
    filled.tell("access", "a", "team-a")
    with filled.database.begin() as connection:
        connection.execute(update(source_events).values(at=datetime.now(UTC) + timedelta(hours=3)))
    filled.sync()
    assert filled.readers()["a"] == ("everyone",)  # the listing is newer, whatever the clocks say


def test_events_are_kept_for_a_week_and_no_longer(filled: Trial) -> None:
    filled.tell("access", "a", "team-a")
    with filled.database.begin() as connection:
        connection.execute(update(source_events).values(at=datetime.now(UTC) - timedelta(days=8)))
    filled.tell("access", "b", "team-b")
    with filled.database.read() as connection:
        kept = connection.execute(select(source_events.c.document_id)).scalars().all()
    assert kept == [filled.key("b")]


def test_an_event_of_another_pipeline_changes_nothing_here(filled: Trial) -> None:
    from llmops.ingestion.events import SourceEvents

    other = SourceEvents(
        filled.database, filled.indexer.store, filled.indexer.collections, pipeline=f"{PIPELINE}-2"
    )
    assert not other.take(SourceEvent(kind="deleted", document_id=filled.key("a")))
    report: IngestReport = filled.sync()
    assert (report.n_unchanged, list(filled.texts())) == (6, list("abcdef"))
