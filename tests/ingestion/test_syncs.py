"""Syncs on the ledger: what a run leaves behind, on each kind of database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from llmops.clients.database import Database
from llmops.clients.database.tables import source_events, sync_items, syncs
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.syncs import CHECKPOINT_LASTS, Sync, SyncBook, item_json, item_of

PLACE = {"place": {"cursor": "c"}, "is_everything": True, "problems": []}


@pytest.fixture
def book(database: Database) -> SyncBook:
    return SyncBook(database)


def item(name: str, **fields: Any) -> Item:
    return Item(uri=name, acl=("everyone",), **fields)


def n_items(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(sync_items)).scalar_one()


def begun_at(database: Database, sync: Sync, moment: datetime) -> None:
    with database.begin() as connection:
        connection.execute(update(syncs).where(syncs.c.sync_id == sync.sync_id).values(started_at=moment))


def test_a_sync_is_on_the_ledger_before_anything_is_done(book: SyncBook) -> None:
    sync = book.begin("wiki", "h", collection="wiki-1")
    assert book.get(sync.sync_id) == book.last("wiki") == sync
    assert (sync.state, sync.ended_at, sync.checkpoint, sync.report) == ("running", None, None, None)
    assert (book.last("other"), book.get("never")) == (None, None)


def test_pages_are_kept_with_the_place_after_them(book: SyncBook) -> None:
    sync = book.begin("wiki", "h", collection="wiki-1")
    assert book.broken_off("wiki", "h", collection="wiki-1") is None  # it has brought nothing yet
    book.take(sync.sync_id, {"d2": item("b"), "d1": item("a")}, {**PLACE, "place": {"cursor": "1"}})
    book.take(sync.sync_id, {"d3": item("c"), "d2": None}, PLACE)
    assert list(book.taken(sync.sync_id).items()) == [("d2", None), ("d1", item("a")), ("d3", item("c"))]
    broken = book.broken_off("wiki", "h", collection="wiki-1")
    assert broken is not None
    assert (broken.sync_id, broken.checkpoint) == (sync.sync_id, PLACE)


def test_a_listing_goes_on_only_into_the_same_collection_from_the_same_source_and_soon(
    book: SyncBook, database: Database
) -> None:
    sync = book.begin("wiki", "h", collection="wiki-1")
    book.take(sync.sync_id, {"d1": item("a")}, PLACE)
    assert book.broken_off("wiki", "h", collection="wiki-1") is not None
    assert book.broken_off("wiki", "other", collection="wiki-1") is None
    assert book.broken_off("wiki", "h", collection="wiki-2") is None
    assert book.broken_off("wiki", "h") is None
    begun_at(database, sync, datetime.now(UTC) - CHECKPOINT_LASTS - timedelta(minutes=1))
    assert book.broken_off("wiki", "h", collection="wiki-1") is None


def test_a_newer_sync_ends_the_right_of_an_older_one_to_go_on(book: SyncBook) -> None:
    old = book.begin("wiki", "h", collection="wiki-1")
    book.take(old.sync_id, {"d1": item("a")}, PLACE)
    book.begin("wiki", "h", collection="wiki-1")
    assert book.broken_off("wiki", "h", collection="wiki-1") is None


def test_what_a_listing_brought_is_dropped_at_the_end_unless_it_broke_off(
    book: SyncBook, database: Database
) -> None:
    sync = book.begin("wiki", "h", collection="wiki-1")
    book.take(sync.sync_id, {"d1": item("a")}, PLACE)
    book.end(sync, "incomplete", collection="wiki-1", reason="away", keeps_listing=True)
    broken = book.broken_off("wiki", "h", collection="wiki-1")
    assert broken is not None
    assert (broken.state, broken.reason, broken.checkpoint) == ("incomplete", "away", PLACE)
    assert book.done_for("wiki-1", "h") is None
    book.end(sync, "done", collection="wiki-1", report={"n_found": 1}, checkpoint={"cursor": "last"})
    assert book.broken_off("wiki", "h", collection="wiki-1") is None
    assert n_items(database) == 0
    done = book.done_for("wiki-1", "h")
    assert done is not None
    assert (done.state, done.checkpoint, done.report) == ("done", {"cursor": "last"}, {"n_found": 1})
    assert done.ended_at is not None
    assert book.done_for("wiki-1", "other") is None
    assert book.done_for("wiki-2", "h") is None


def test_since_is_the_newest_complete_sync_and_no_other(book: SyncBook) -> None:
    for state, cursor in (("done", "1"), ("done", "2"), ("held", "3"), ("incomplete", "4"), ("part", "5")):
        sync = book.begin("wiki", "h", collection="wiki-1")
        book.end(sync, state, collection="wiki-1", checkpoint={"cursor": cursor})  # type: ignore[arg-type]  # of a loop
    done = book.done_for("wiki-1", "h")
    assert done is not None
    assert done.checkpoint == {"cursor": "2"}


def test_a_plan_keeps_the_whole_listing_and_the_batch_of_what_changed(book: SyncBook) -> None:
    sync = book.begin("wiki", "h")
    book.take(sync.sync_id, {"d9": item("old")}, PLACE)
    items = {f"d{n}": item(f"{n}", handle={"id": n}) for n in range(5)}
    for _ in range(2):  # planning may be repeated
        book.plan(sync.sync_id, items, removed={"d7"}, absent={"d8"}, batches=[["d3", "d1"], ["d4"]])
    assert book.taken(sync.sync_id) == {**items, "d7": None}  # "d8" was never listed
    assert (book.absent(sync.sync_id), book.batched(sync.sync_id)) == ({"d8"}, {"d1", "d3", "d4"})
    book.take(sync.sync_id, {"d8": item("d8")}, PLACE)  # now it is, by a listing that goes on
    assert (book.absent(sync.sync_id), book.taken(sync.sync_id)["d8"]) == (set(), item("d8"))
    assert book.batch(sync.sync_id, 0) == {"d1": items["d1"], "d3": items["d3"]}
    assert book.batch(sync.sync_id, 1) == {"d4": items["d4"]}
    assert book.batch(sync.sync_id, 2) == {}


def test_old_syncs_are_forgotten_with_their_items_and_the_last_complete_one_of_a_collection_is_not(
    book: SyncBook, database: Database
) -> None:
    for collection in ("wiki-1", "wiki-2"):
        sync = book.begin("wiki", "h", collection=collection)
        book.end(sync, "done", collection=collection, checkpoint={"of": collection})
    broken = book.begin("wiki", "h", collection="wiki-2")
    book.take(broken.sync_id, {"d1": item("a")}, PLACE)
    book.end(broken, "incomplete", collection="wiki-2", keeps_listing=True)
    running = book.begin("wiki", "h", collection="wiki-2")
    other = book.begin("other", "h")
    for _ in range(60):
        sync = book.begin("wiki", "h", collection="wiki-2")
        book.end(sync, "incomplete", collection="wiki-2")
    assert len(book.of("wiki", limit=100)) == 53
    assert (book.get(broken.sync_id), n_items(database)) == (None, 0)
    assert book.get(running.sync_id) is not None  # somebody may still be at it
    for collection in ("wiki-1", "wiki-2"):
        done = book.done_for(collection, "h")
        assert done is not None
        assert done.checkpoint == {"of": collection}
    assert book.get(other.sync_id) is not None


def test_syncs_come_newest_first(book: SyncBook) -> None:
    begun = [book.begin("wiki", "h").sync_id for _ in range(5)]
    assert [sync.sync_id for sync in book.of("wiki", limit=3)] == begun[::-1][:3]


def test_a_clock_that_runs_backwards_does_not_make_a_new_sync_an_old_one(
    book: SyncBook, database: Database
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    old = book.begin("wiki", "h", collection="wiki-1")
    begun_at(database, old, tomorrow)
    book.end(old, "done", collection="wiki-1", checkpoint={"cursor": "old"})
    new = book.begin("wiki", "h", collection="wiki-1")
    assert new.started_at > tomorrow
    book.end(new, "done", collection="wiki-1", checkpoint={"cursor": "new"})
    last, done = book.last("wiki"), book.done_for("wiki-1", "h")
    assert last is not None and last.sync_id == new.sync_id
    assert done is not None and done.checkpoint == {"cursor": "new"}


def test_a_sync_begins_after_every_event_that_was_taken_before_it(book: SyncBook, database: Database) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with database.begin() as connection:
        values = {"pipeline": "wiki", "document_id": "d1", "at": ahead, "kind": "deleted", "acl": []}
        connection.execute(source_events.insert().values(values))
    assert book.begin("wiki", "h").started_at > ahead
    assert book.begin("other", "h").started_at < ahead


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
METADATA = st.dictionaries(
    TEXT,
    st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False), st.lists(TEXT)),
    max_size=3,
)
HANDLE = st.dictionaries(TEXT, st.recursive(TEXT | st.integers(-9, 9) | st.none(), st.lists, max_leaves=3))
ITEMS = st.builds(
    Item,
    uri=TEXT,
    acl=st.none() | st.lists(TEXT, max_size=3).map(tuple),
    version=TEXT,
    n_bytes=st.none() | st.integers(0, 2**40),
    title=TEXT,
    url=TEXT,
    media_type=TEXT,
    modified_at=st.none()
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    metadata=METADATA,
    handle=HANDLE,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ITEMS)
def test_an_item_comes_back_from_the_ledger_as_it_was(given_item: Item) -> None:
    stored = json.loads(json.dumps(item_json(given_item)))
    assert item_of(stored) == given_item
    again = item_of(stored)
    assert again is not None
    assert replace(again, acl=None) == replace(given_item, acl=None)


def test_nothing_is_nothing_on_the_ledger_too() -> None:
    assert item_json(None) is None
    assert item_of(None) is None
    hidden, nobody = Item(uri="a", acl=None), Item(uri="a", acl=())
    assert item_of(item_json(hidden)) == hidden != nobody == item_of(item_json(nobody))


def test_any_item_can_be_kept_on_any_ledger(book: SyncBook) -> None:
    odd = Item(
        uri="a\x00b \u2028 🙂",
        acl=("user:ключ",),
        metadata={"tags": ["a"], "zero": 0, "no": False, "empty": ""},
        handle={"deep": [{"": None}]},
        n_bytes=0,
    )
    sync = book.begin("wiki", "h")
    book.take(sync.sync_id, {"d1": odd}, PLACE)
    assert book.taken(sync.sync_id) == {"d1": odd}
