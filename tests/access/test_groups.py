"""Groups of groups, expanded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.access import GroupBook
from llmops.access.groups import MAX_PRINCIPALS
from llmops.clients.database import Database, open_database
from llmops.errors import RequestError

NAMES = st.sampled_from([f"p{n}" for n in range(8)])


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database("", tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()


def test_a_caller_stands_for_its_groups_and_theirs(database: Database) -> None:
    book = GroupBook(database)
    book.replace("wiki", {"group:staff": ["user:ada", "group:leads"], "group:leads": ["user:bob"]})
    assert set(book.expand(["user:bob"])) == {"user:bob", "group:leads", "group:staff"}
    assert set(book.expand(["user:ada", "everyone"])) == {"user:ada", "everyone", "group:staff"}
    assert book.expand(["user:eve"]) == ("user:eve",)


def test_groups_that_hold_each_other_come_to_an_end(database: Database) -> None:
    book = GroupBook(database)
    book.replace("wiki", {"group:a": ["group:b", "user:ada"], "group:b": ["group:a"]})
    assert set(book.expand(["user:ada"])) == {"user:ada", "group:a", "group:b"}


def test_what_a_source_no_longer_says_is_gone_and_others_keep_theirs(database: Database) -> None:
    book = GroupBook(database)
    book.replace("wiki", {"group:staff": ["user:ada", "user:bob"], "group:old": ["user:ada"]})
    book.replace("drive", {"group:staff": ["user:eve"]})
    book.replace("wiki", {"group:staff": ["user:bob"]})
    assert book.expand(["user:ada"]) == ("user:ada",)
    assert set(book.expand(["user:eve"])) == {"user:eve", "group:staff"}
    assert book.groups("wiki") == {"group:staff": ("user:bob",)}
    book.set_members("wiki", "group:staff", [])
    assert book.groups("wiki") == {}


def test_another_process_sees_a_change_when_it_looks(database: Database) -> None:
    here, there = GroupBook(database), GroupBook(database)
    here.set_members("wiki", "group:staff", ["user:ada"])
    assert there.expand(["user:ada"]) == ("user:ada",)
    there.refresh()
    assert "group:staff" in there.expand(["user:ada"])


def test_a_person_can_be_taken_out_of_every_group(database: Database) -> None:
    book = GroupBook(database)
    book.replace("wiki", {"group:a": ["user:ada", "user:bob"], "group:b": ["user:ada"]})
    assert book.forget_member("user:ada") == 2
    assert book.expand(["user:ada"]) == ("user:ada",)
    assert book.expand(["user:bob"]) == ("user:bob", "group:a")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"everyone": ["user:ada"]}, "'everyone' is no group"),
        ({"": ["user:ada"]}, "the principal '' must have 1 to 256 characters"),
        ({"group:a": ["x" * 257]}, "must have 1 to 256 characters"),
    ],
)
def test_what_can_be_no_group_is_refused_and_nothing_changes(
    database: Database, groups: dict[str, list[str]], message: str
) -> None:
    book = GroupBook(database)
    book.replace("wiki", {"group:a": ["user:ada"]})
    with pytest.raises(RequestError, match=message):
        book.replace("wiki", groups)
    assert book.groups("wiki") == {"group:a": ("user:ada",)}


def test_more_principals_than_a_search_can_carry_are_refused(database: Database) -> None:
    book = GroupBook(database)
    with pytest.raises(RequestError, match="at most 10000 can be searched for"):
        book.expand(f"user:{n}" for n in range(MAX_PRINCIPALS + 1))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=8), st.lists(NAMES, min_size=1, max_size=3))
def test_expansion_is_reachability(groups: dict[str, list[str]], start: list[str]) -> None:
    database = open_database("sqlite://", Path("unused"))
    book = GroupBook(database)
    book.replace("wiki", groups)
    reached = set(start)
    while more := {g for g, members in groups.items() if set(members) & reached} - reached:
        reached |= more
    assert set(book.expand(start)) == reached
    database.close()
