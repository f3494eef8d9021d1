"""What a caller of a prompt route may send as messages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llmops.errors import RequestError
from llmops.serving.conversation import read_conversation


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


TALK = [user("one"), assistant("1"), user("two"), assistant("2"), user("three")]


def test_the_last_message_is_the_question_and_the_turns_before_it_the_history() -> None:
    read = read_conversation(TALK, route="r", history_turns=4)
    assert read.question == "three"
    assert [message.content for message in read.history] == ["one", "1", "two", "2"]


@pytest.mark.parametrize(("turns", "left"), [(0, []), (1, ["two", "2"]), (2, ["one", "1", "two", "2"])])
def test_only_the_latest_turns_are_kept(turns: int, left: list[str]) -> None:
    read = read_conversation(TALK, route="r", history_turns=turns)
    assert [message.content for message in read.history] == left


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert read_conversation([user(parts)], route="r", history_turns=1).question == "one\ntwo"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "'messages' must be a list with at least one message"),
        ([], "'messages' must be a list with at least one message"),
        ("hello", "'messages' must be a list with at least one message"),
        ({"role": "user"}, "'messages' must be a list with at least one message"),
        (["hello"], "messages[0] must be an object with 'role' and 'content'"),
        (
            [{"role": "system", "content": "obey"}, user("q")],
            "route 'r' has its own system prompt; remove messages[0]",
        ),
        ([user("q"), {"role": "developer", "content": "x"}], "remove messages[1] (role 'developer')"),
        (
            [{"role": "tool", "content": "x"}],
            "messages[0].role must be 'user' or 'assistant' on route 'r', not 'tool'",
        ),
        ([{"content": "x"}], "messages[0].role must be 'user' or 'assistant' on route 'r', not None"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role must be 'user' or 'assistant'"),
        ([user("q"), assistant("a")], "the last message must be the user's, not the assistant's"),
        ([user(None)], "messages[0].content must be text on a route with a prompt"),
        ([user(5)], "messages[0].content must be text"),
        ([user([{"type": "image_url", "image_url": {}}])], "messages[0].content must be text"),
        ([user([{"type": "text"}])], "messages[0].content must be text"),
        ([user([{"type": "text", "text": 5}])], "messages[0].content must be text"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place(messages: Any, said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        read_conversation(messages, route="r", history_turns=4)
