"""Readers of a page under several restrictions, against a plain oracle; and the guard against endless listings."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.errors import SourceError
from llmops.ingestion.sources.paging import Trail, every, records_of
from llmops.ingestion.sources.principals import group, person, readers_of_all
from llmops.records import EVERYONE

PEOPLE = [f"user:{name}" for name in "abcde"]
GROUPS = [f"group:x/{name}" for name in "123"]
LEVEL = st.lists(st.sampled_from([*PEOPLE, *GROUPS, EVERYONE]), max_size=4).map(tuple)
MEMBERS = st.dictionaries(
    st.sampled_from(GROUPS), st.lists(st.sampled_from([*PEOPLE, *GROUPS]), max_size=4).map(tuple), max_size=3
)


def may_read(who: str, acl: tuple[str, ...], members: Mapping[str, tuple[str, ...]]) -> bool:
    """The oracle: walk down from every principal of the list."""
    found, waiting = set(acl), list(acl)
    while waiting:
        for one in members.get(waiting.pop(), ()):
            if one not in found:
                found.add(one)
                waiting.append(one)
    return who in found or EVERYONE in found


@settings(max_examples=1_000)
@given(levels=st.lists(LEVEL, min_size=1, max_size=4), members=MEMBERS)
def test_a_page_is_readable_by_exactly_those_whom_every_level_admits(
    levels: list[tuple[str, ...]], members: dict[str, tuple[str, ...]]
) -> None:
    acl = readers_of_all(levels, members)
    for who in PEOPLE:
        assert may_read(who, acl, members) == all(may_read(who, level, members) for level in levels)


def test_a_group_that_every_level_names_stays_a_group() -> None:
    levels = [("group:x/1", "user:a"), ("group:x/1", "group:x/2")]
    members = {"group:x/1": ("user:b",), "group:x/2": ("user:a", "user:b")}
    assert readers_of_all(levels, members) == ("group:x/1", "user:a")


def test_principals_are_lower_case_and_prefer_the_address() -> None:
    assert person("Ann@Example.org", "ID7") == "user:ann@example.org"
    assert person(None, "", " ID7 ") == "user:id7"
    assert person(None, 7) is None
    assert group("slack", "T024BE7LD") == "group:slack/t024be7ld"


def test_a_cursor_that_comes_again_is_a_circle() -> None:
    trail = Trail("x")
    trail.step("b", ["1"])
    trail.step("c", ["2"])
    with pytest.raises(SourceError, match="listing of x goes in a circle"):
        trail.step("b", ["3"])


def test_fresh_cursors_that_bring_nothing_new_are_a_circle_too() -> None:
    def ask(cursor: str) -> tuple[list[int], str]:
        return [1, 2], f"{cursor}x"

    with pytest.raises(SourceError, match="in a circle"):
        list(every("numbers", ask, str))
    with pytest.raises(SourceError, match="in a circle"):
        list(every("nothing", lambda cursor: ([], f"{cursor}x"), str))


@pytest.mark.parametrize("answer", [None, [], {}, {"value": None}, {"value": [1]}, {"value": "x"}])
def test_an_answer_without_records_is_no_answer(answer: object) -> None:
    with pytest.raises(SourceError, match="listing of x has no 'value'"):
        records_of(answer, "value", "x")
