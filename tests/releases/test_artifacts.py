"""Contents by digest: kept once, never replaced by another, and whole again when they are published again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from llmops.clients.database import Database
from llmops.clients.database.tables import artifacts
from llmops.releases import Artifact, ArtifactBook

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TEXTS = (
    "",
    "---\r\nname: a\r\n---\r\n\t{{ q }} \n\n",
    "– naïve 🙂 \u2028 'quotes' \"too\" %s \\n",
    "long\n" * 100_000,
)


def artifact(digest: str = "d1", **other: Any) -> Artifact:
    fields: dict[str, Any] = {
        "kind": "prompt",
        "name": "answer",
        "content": f"text of {digest}",
        "created_at": NOW,
    }
    return Artifact(digest=digest, **{**fields, **other})


@pytest.mark.parametrize("content", TEXTS, ids=["empty", "lines", "signs", "long"])
def test_a_content_comes_back_as_it_was_kept(content: str, database: Database) -> None:
    book = ArtifactBook(database)
    kept = artifact(content=content, version=3, author="Ada", commit="c0ffee")
    book.keep([kept])
    assert book.get("prompt", "answer", "d1") == kept


def test_what_was_not_kept_is_not_there(ledger: Database) -> None:
    book = ArtifactBook(ledger)
    book.keep([artifact()])
    assert book.get("prompt", "answer", "d2") is None
    assert book.get("prompt", "other", "d1") is None
    assert book.get("route", "answer", "d1") is None


def test_what_is_there_stays_as_it_is(ledger: Database) -> None:
    book = ArtifactBook(ledger)
    book.publish(artifact(version=1, author="Ada"))
    book.keep([artifact(content="another text", author="Eve"), artifact("d2")])
    assert book.get("prompt", "answer", "d1") == artifact(version=1, author="Ada")
    assert book.get("prompt", "answer", "d2") == artifact("d2")


def test_a_content_that_answered_before_it_was_published_gets_its_version(ledger: Database) -> None:
    book = ArtifactBook(ledger)
    book.keep([artifact()])
    assert book.published("prompt", "answer") == []
    published = artifact(version=1, author="Ada", commit="c0ffee")
    book.publish(published)
    assert book.get("prompt", "answer", "d1") == published
    assert book.published("prompt", "answer") == [published]


def test_versions_are_listed_newest_first_and_do_not_mix(database: Database) -> None:
    book = ArtifactBook(database)
    for version in (2, 10, 1):
        book.publish(artifact(f"d{version}", version=version))
    book.publish(artifact("d9", version=9, name="other"))
    book.keep([artifact("d5")])
    assert [one.version for one in book.published("prompt", "answer")] == [10, 2, 1]
    assert [one.version for one in book.published("prompt", "other")] == [9]


def test_publishing_again_mends_a_damaged_row(ledger: Database) -> None:
    book = ArtifactBook(ledger)
    whole = artifact(version=1, author="Ada")
    book.publish(whole)
    with ledger.begin() as connection:
        connection.execute(update(artifacts).values(content="damaged"))
    book.publish(whole)
    assert book.get("prompt", "answer", "d1") == whole


def test_many_may_keep_the_same_at_once(database: Database) -> None:
    def keep(n: int) -> None:
        ArtifactBook(database).keep([artifact(f"d{number}", author=str(n)) for number in range(20)])
        ArtifactBook(database).publish(artifact("d7", version=7))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(4)))
    book = ArtifactBook(database)
    found = [book.get("prompt", "answer", f"d{number}") for number in range(20)]
    assert [one.content for one in found if one is not None] == [f"text of d{number}" for number in range(20)]
    [seven] = book.published("prompt", "answer")
    assert replace(seven, author="") == artifact("d7", version=7)
