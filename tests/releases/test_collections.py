"""What stands behind a name: shapes that never change, aliases that do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from llmops.clients.database import Database
from llmops.errors import NotFoundError, StorageError
from llmops.releases import CollectionBook, CollectionShape

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


def shape(
    collection: str, name: str = "docs", *, state: Literal["building", "ready"] = "building", days: int = 0
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
