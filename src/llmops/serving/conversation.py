"""What a caller of a prompt route sent: the question, and the turns before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmops.errors import RequestError
from llmops.records import Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """The last user message, and up to `history_turns` turns before it."""

    question: str
    history: tuple[Message, ...]


def read_conversation(messages: Any, *, route: str, history_turns: int) -> Conversation:
    """OpenAI `messages` of a route that has its own prompt.

    Raises:
        RequestError: they are no conversation, or try to bring a system message of their own.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError("'messages' must be a list with at least one message")
    turns = [_message(value, index, route) for index, value in enumerate(messages)]
    if turns[-1].role != "user":
        raise RequestError(f"the last message must be the user's, not the {turns[-1].role}'s")
    history = tuple(turns[:-1][-2 * history_turns :]) if history_turns else ()
    return Conversation(question=turns[-1].content, history=history)


def _message(value: Any, index: int, route: str) -> Message:
    if not isinstance(value, dict):
        raise RequestError(f"messages[{index}] must be an object with 'role' and 'content'")
    role = value.get("role")
    if role in ("system", "developer"):
        problem = f"route {route!r} has its own system prompt"
        raise RequestError(
            f"{problem}; remove messages[{index}] (role {role!r}) or change the route's prompt file"
        )
    if role not in ("user", "assistant"):
        raise RequestError(
            f"messages[{index}].role must be 'user' or 'assistant' on route {route!r}, not {role!r}"
        )
    return Message(role=role, content=_text(value.get("content"), index))


def _text(content: Any, index: int) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(_is_text(part) for part in content):
        return "\n".join(part["text"] for part in content)
    raise RequestError(f"messages[{index}].content must be text on a route with a prompt")


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
