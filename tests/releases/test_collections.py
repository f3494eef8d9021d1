"""What stands behind a name: shapes that never change, aliases that do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from llmops.clients.database import Database
from llmops.errors import NotFoundError, StorageError
from llmops.releases import CollectionBook, CollectionShape, Move, ReleaseBook
from llmops.releases.audit import latest_events, verify_chain

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


def shape(
    collection: str,
    name: str = "docs",
    *,
    state: Literal["building", "candidate", "ready"] = "building",
    days: int = 0,
) -> CollectionShape:
    return CollectionShape(
        collection=collection,
        name=name,
        state=state,
        embedder="e",
        embedder_digest="d",
        dimension=4,
        chunker={"max_tokens": 200, "min_tokens": 40},
        average_terms=11.5,
        spec_hash="h",
        created_at=BEGAN + timedelta(days=days),
    )


def test_a_new_book_is_empty(database: Database) -> None:
    book = CollectionBook(database)
    assert (book.names(), book.all(), book.serving("docs"), book.building("docs")) == ([], [], None, None)


def test_a_collection_is_building_until_a_name_points_to_it(database: Database) -> None:
    book = CollectionBook(database)
    book.register(shape("docs-1"))
    assert (book.serving("docs"), book.building("docs"), book.names()) == (None, shape("docs-1"), [])
    book.point("docs", "docs-1")
    assert (book.serving("docs"), book.building("docs")) == (shape("docs-1", state="ready"), None)
    assert book.names() == ["docs"]


def test_a_second_collection_is_built_beside_the_one_that_serves(database: Database) -> None:
    book = CollectionBook(database)
    book.register(shape("docs-1"))
    book.point("docs", "docs-1")
    book.register(shape("docs-2", days=1))
    assert book.serving("docs") == shape("docs-1", state="ready")
    assert book.building("docs") == shape("docs-2", days=1)
    book.point("docs", "docs-2")
    assert book.serving("docs") == shape("docs-2", state="ready", days=1)
    book.point("docs", "docs-1")  # the old one stayed for a rollback
    assert book.serving("docs") == shape("docs-1", state="ready")
    assert [one.collection for one in book.all()] == ["docs-1", "docs-2"]


def test_the_newest_that_is_building_is_gone_on_with(database: Database) -> None:
    book = CollectionBook(database)
    for number, days in ((1, 2), (2, 1)):
        book.register(shape(f"docs-{number}", days=days))
    book.register(shape("other-1", "other", days=9))
    assert book.building("docs") == shape("docs-1", days=2)


def test_names_count_up_and_do_not_mix(database: Database) -> None:
    book = CollectionBook(database)
    assert book.next_name("docs") == "docs-1"
    book.register(shape("docs-9"))
    book.register(shape("docs-10"))
    book.register(shape("docs-old-44", "docs-old"))
    assert book.next_name("docs") == "docs-11"
    assert book.next_name("docs-old") == "docs-old-45"
    book.forget("docs-9")
    assert book.next_name("docs") == "docs-11"


def test_the_book_is_kept_in_the_ledger(database: Database) -> None:
    first, second = CollectionBook(database), CollectionBook(database)
    first.register(shape("docs-1"))
    first.point("docs", "docs-1")
    assert second.serving("docs") is None
    second.refresh()
    assert second.serving("docs") == first.serving("docs") == CollectionBook(database).serving("docs")


def test_a_forgotten_collection_serves_no_more(database: Database) -> None:
    book = CollectionBook(database)
    book.register(shape("docs-1"))
    book.point("docs", "docs-1")
    book.forget("docs-1")
    assert book.serving("docs") is None
    assert book.all() == []


def test_a_name_never_points_to_nothing(database: Database) -> None:
    book = CollectionBook(database)
    book.register(shape("docs-1"))
    book.point("docs", "docs-1")
    with pytest.raises(NotFoundError, match="no collection 'docs-2' for 'docs' to answer from; there is: docs-1"):
        book.point("docs", "docs-2")
    book.refresh()
    assert book.serving("docs") == shape("docs-1", state="ready")


def test_a_collection_is_registered_once(database: Database) -> None:
    book = CollectionBook(database)
    book.register(shape("docs-1"))
    with pytest.raises(StorageError, match="the ledger"):
        book.register(shape("docs-1", days=5))
    assert book.all() == [shape("docs-1")]


def test_a_complete_collection_is_a_candidate_until_a_name_points_to_it(database: Database) -> None:
    book = CollectionBook(database)
    book.register(shape("docs-1"))
    assert book.candidate("docs") is None
    book.complete("docs-1")
    assert (book.building("docs"), book.candidate("docs")) == (None, shape("docs-1", state="candidate"))
    assert book.serving("docs") is None
    book.point("docs", "docs-1", action="promote")
    assert (book.candidate("docs"), book.serving("docs")) == (None, shape("docs-1", state="ready"))
    book.complete("docs-1")  # what has answered never waits again
    assert book.serving("docs") == shape("docs-1", state="ready")


def test_the_newest_candidate_of_a_name_waits_for_a_release(ledger: Database) -> None:
    book = CollectionBook(ledger)
    for number, name, days in ((1, "docs", 2), (2, "docs", 1), (7, "other", 9)):
        book.register(shape(f"{name}-{number}", name, days=days))
        book.complete(f"{name}-{number}")
    book.register(shape("docs-3", days=8))
    assert book.candidate("docs") == shape("docs-1", state="candidate", days=2)


def test_a_name_that_points_elsewhere_is_a_release_with_its_event(database: Database) -> None:
    book = CollectionBook(database)
    for number in (1, 2):
        book.register(shape(f"docs-{number}", days=number))
    first = book.point("docs", "docs-1")
    second = book.point("docs", "docs-2", action="promote")
    assert (first.kind, first.name, first.alias, first.action, first.actor) == (
        "collection",
        "docs",
        "production",
        "ingest",
        "ingestion",
    )
    assert (first.target, first.previous, second.target, second.previous) == ("docs-1", "", "docs-2", "docs-1")
    assert ReleaseBook(database).history("collection", "docs") == [second, first]
    assert [event.action for event in latest_events(database)] == ["release.promote", "release.ingest"]
    assert verify_chain(database) == 2


def test_collections_and_prompts_move_together(database: Database) -> None:
    book = CollectionBook(database)
    for number in (1, 2):
        book.register(shape(f"docs-{number}"))
    book.point("docs", "docs-1")
    prompt = Move(kind="prompt", name="answer", target="d1", version=1, action="promote", actor="ada")
    docs = Move(kind="collection", name="docs", target="docs-2", version=2, action="promote", actor="ada")
    done = book.move([prompt, docs])
    assert [(release.kind, release.target, release.version) for release in done] == [
        ("prompt", "d1", 1),
        ("collection", "docs-2", 2),
    ]
    assert book.serving("docs") == shape("docs-2", state="ready")
    assert [alias.target for alias in ReleaseBook(database).aliases()] == ["docs-2", "d1"]


def test_a_move_to_nothing_takes_the_others_with_it(database: Database) -> None:
    book = CollectionBook(database)
    book.register(shape("docs-1"))
    book.point("docs", "docs-1")
    prompt = Move(kind="prompt", name="answer", target="d1", action="promote", actor="ada")
    docs = Move(kind="collection", name="docs", target="docs-9", action="promote", actor="ada")
    with pytest.raises(NotFoundError, match="no collection 'docs-9' for 'docs' to answer from; there is: docs-1"):
        book.move([prompt, docs])
    book.refresh()
    assert book.serving("docs") == shape("docs-1", state="ready")
    assert ReleaseBook(database).now("prompt", "answer") is None
    assert len(ReleaseBook(database).history()) == verify_chain(database) == 1


def test_an_alias_that_is_not_production_does_not_answer(ledger: Database) -> None:
    book = CollectionBook(ledger)
    book.register(shape("docs-1"))
    book.move(
        [Move(kind="collection", name="docs", alias="staging", target="docs-1", action="alias", actor="ada")]
    )
    assert (book.serving("docs"), book.names()) == (None, [])


def test_a_collection_is_found_by_its_physical_name(ledger: Database) -> None:
    book = CollectionBook(ledger)
    with pytest.raises(NotFoundError, match="no collection 'docs-1'; there is: none"):
        book.get("docs-1")
    book.register(shape("docs-1"))
    assert book.get("docs-1") == shape("docs-1")
    with pytest.raises(NotFoundError, match="no collection 'docs'; there is: docs-1"):
        book.get("docs")
