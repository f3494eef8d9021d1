"""What a name stands for, and its history: told together with the audit event, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.clients.database import Database, open_database
from llmops.errors import StorageError
from llmops.records import Release
from llmops.releases import PRODUCTION, Alias, Move, ReleaseBook
from llmops.releases.audit import latest_events, record_event, verify_chain


def move(target: str, **other: Any) -> Move:
    fields: dict[str, Any] = {"kind": "prompt", "name": "answer", "action": "promote", "actor": "ada"}
    return Move(target=target, **{**fields, **other})


def current(book: ReleaseBook, **where: Any) -> Alias:
    found = book.now(**{"kind": "prompt", "name": "answer", **where})
    assert found is not None
    return found


def test_a_name_stands_for_nothing_at_first(ledger: Database) -> None:
    book = ReleaseBook(ledger)
    assert (book.now("prompt", "answer"), book.aliases(), book.history()) == (None, [], [])
    assert book.at("prompt", "answer", datetime.now(UTC)) is None


def test_a_move_is_a_release_with_everything_that_led_to_it(database: Database) -> None:
    book = ReleaseBook(database)
    began = datetime.now(UTC)
    [first] = book.move([move("d1", version=1, verdict_id="ver_1")])
    [second] = book.move([move("d2", version=2, actor="eve", is_forced=True, reason="the demo is at noon")])
    assert began <= first.at <= second.at <= datetime.now(UTC)
    assert first.release_id != second.release_id
    assert second == Release(
        release_id=second.release_id,
        at=second.at,
        kind="prompt",
        name="answer",
        alias=PRODUCTION,
        target="d2",
        version=2,
        previous="d1",
        previous_version=1,
        action="promote",
        actor="eve",
        is_forced=True,
        reason="the demo is at noon",
    )
    assert (first.previous, first.previous_version, first.verdict_id) == ("", None, "ver_1")
    assert book.history() == [second, first]
    alias = current(book)
    assert (alias.target, alias.version, alias.since, alias.subject) == (
        "d2",
        2,
        second.at,
        "prompt:answer@production",
    )


def test_a_move_is_told_in_the_audit_log(database: Database) -> None:
    [release] = ReleaseBook(database).move([move("d1", version=1, is_forced=True, reason="why not")])
    [event] = latest_events(database)
    assert (event.actor, event.action, event.subject) == ("ada", "release.promote", "prompt:answer@production")
    assert event.details == {
        "release_id": release.release_id,
        "kind": "prompt",
        "name": "answer",
        "alias": "production",
        "target": "d1",
        "version": 1,
        "previous": "",
        "previous_version": None,
        "verdict_id": "",
        "is_forced": True,
        "reason": "why not",
    }
    assert verify_chain(database) == 1


def test_names_kinds_and_aliases_do_not_mix(ledger: Database) -> None:
    book = ReleaseBook(ledger)
    book.move([move("p1"), move("p2", alias="staging", action="alias"), move("p3", name="other")])
    book.move([move("c1", kind="collection"), move("c2", kind="collection", alias="staging")])
    assert [(alias.subject, alias.target) for alias in book.aliases()] == [
        ("collection:answer@production", "c1"),
        ("collection:answer@staging", "c2"),
        ("prompt:answer@production", "p1"),
        ("prompt:answer@staging", "p2"),
        ("prompt:other@production", "p3"),
    ]
    assert [alias.target for alias in book.aliases("prompt")] == ["p1", "p2", "p3"]
    assert [alias.target for alias in book.aliases("prompt", "answer")] == ["p1", "p2"]
    assert [release.target for release in book.history("prompt", "answer")] == ["p2", "p1"]
    assert [release.target for release in book.history("prompt", "answer", "staging")] == ["p2"]
    assert [release.target for release in book.history(limit=2)] == ["c2", "c1"]
    assert all(release.previous == "" for release in book.history())


def test_several_moves_go_together_or_not_at_all(database: Database) -> None:
    book = ReleaseBook(database)
    book.move([move("p1"), move("c1", kind="collection", name="docs")])
    nothing: Any = None
    with pytest.raises(StorageError, match=r"the ledger .* failed"):
        book.move([move("p2"), move(nothing, kind="collection", name="docs")])
    book.refresh()
    assert [alias.target for alias in book.aliases()] == ["c1", "p1"]
    assert len(book.history()) == verify_chain(database) == 2


def test_other_processes_follow_when_they_refresh(ledger: Database) -> None:
    first, second = ReleaseBook(ledger), ReleaseBook(ledger)
    first.move([move("d1")])
    assert second.now("prompt", "answer") is None
    second.refresh()
    assert second.now("prompt", "answer") == first.now("prompt", "answer")
    second.move([move("d2")])  # it knows what the ledger knows, not what it remembers
    [release] = second.history(limit=1)
    assert release.previous == "d1"
    assert current(first).target == "d1"


def test_the_release_in_force_at_a_moment_is_found(database: Database) -> None:
    book = ReleaseBook(database)
    [first] = book.move([move("d1")])
    [second] = book.move([move("d2")])
    [third] = book.move([move("d1", action="rollback")])
    [staged] = book.move([move("d9", alias="staging")])
    tick = timedelta(microseconds=1)
    assert book.at("prompt", "answer", first.at - tick) is None
    assert book.at("prompt", "answer", first.at) == first
    assert book.at("prompt", "answer", third.at - tick) == second
    assert book.at("prompt", "answer", third.at + timedelta(days=1)) == third
    assert book.at("prompt", "answer", staged.at, "staging") == staged
    assert book.at("prompt", "answer", third.at - tick, target="d1") == first
    assert book.at("prompt", "answer", third.at, target="d1") == third
    assert book.at("prompt", "answer", third.at, target="d9") is None


def test_events_of_something_else_may_stand_between_releases(ledger: Database) -> None:
    book = ReleaseBook(ledger)
    book.move([move("d1")])
    record_event(ledger, actor="ada", action="prompt.publish", subject="prompt:answer@2")
    book.move([move("d2")])
    assert [event.action for event in latest_events(ledger)] == [
        "release.promote",
        "prompt.publish",
        "release.promote",
    ]
    assert verify_chain(ledger) == 3


@settings(max_examples=10, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["answer", "other"]), st.sampled_from(["production", "staging"]), st.text("ab")),
        max_size=8,
    )
)
def test_history_ends_in_what_a_name_stands_for(
    steps: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = open_database("", tmp_path_factory.mktemp("law") / "ledger.sqlite3")
    book = ReleaseBook(database)
    for name, alias, target in steps:
        book.move([move(target, name=name, alias=alias)])
    for alias_now in book.aliases():
        told = book.history("prompt", alias_now.name, alias_now.alias)[::-1]
        assert (told[-1].target, told[-1].at) == (alias_now.target, alias_now.since)
        assert [release.previous for release in told] == ["", *(release.target for release in told[:-1])]
    assert len(book.history()) == verify_chain(database) == len(steps)
    database.close()
