"""Slack messages as text: who said what, with mentions and links spelled out; threads and days as documents."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from llmops.ingestion.sources.principals import person

Message = Mapping[str, Any]

_MARKUP = re.compile(r"<([^<>]*)>")
_TS = re.compile(r"\d{1,12}\.\d{1,9}")
_ESCAPED = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
_SAID = frozenset(
    (None, "", "bot_message", "file_share", "me_message", "thread_broadcast", "file_comment", "reply_broadcast")
)
_MAX_TITLE = 80


class People:
    """Names and principals of a workspace's people.

    Args:
        users: records of `users.list`, or of `users.json` in an export.
    """

    def __init__(self, users: Iterable[Mapping[str, Any]]) -> None:
        self._users = {str(one["id"]): one for one in users if one.get("id")}

    def name(self, key: str) -> str:
        """What people read, or the id of somebody unknown."""
        user = self._users.get(key, {})
        profile = _part(user, "profile")
        names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
        return next((str(one) for one in names if one), key)

    def principal(self, key: str) -> str | None:
        """By e-mail address where the token may see it, else by id."""
        return person(_part(self._users.get(key, {}), "profile").get("email"), key)

    def members(self) -> tuple[str, ...]:
        """Principals of full members: no guests, bots or closed accounts, who do not see every public channel."""
        outside = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger", "is_workflow_bot")
        full = (
            key
            for key, one in self._users.items()
            if key != "USLACKBOT" and not any(one.get(flag) for flag in outside)
        )
        return tuple(sorted({who for key in full if (who := self.principal(key))}))


def ts_of(message: Message) -> str:
    """The message's id within its channel, seconds since 1970, or "" when it has none."""
    ts = message.get("ts")
    return ts if isinstance(ts, str) and _TS.fullmatch(ts) else ""


def day_of(ts: str) -> str:
    """The day of a message, UTC."""
    return datetime.fromtimestamp(float(ts), UTC).date().isoformat()


def moment_of(ts: str) -> datetime:
    return datetime.fromtimestamp(float(ts), UTC)


def is_said(message: Message) -> bool:
    """Whether somebody said it, in place of Slack reporting that somebody came or went."""
    return message.get("subtype") in _SAID and not message.get("hidden")


def thread_of(message: Message) -> str:
    """The ts of the thread that a message begins or belongs to, or ""."""
    thread = message.get("thread_ts")
    if not isinstance(thread, str) or not _TS.fullmatch(thread):
        return ""
    return thread if thread != ts_of(message) or message.get("reply_count") else ""


def version(messages: Iterable[Message]) -> str:
    """Digest of what documents are made of, whatever the order."""
    kept = sorted((ts_of(one), _essence(one)) for one in messages)
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:32]


def _essence(message: Message) -> list[Any]:
    files = [str(one.get("id")) for one in _objects(message.get("files"))]
    attached = [
        [one.get(name) for name in ("title", "text", "fallback")] for one in _objects(message.get("attachments"))
    ]
    return [message.get("text"), _part(message, "edited").get("ts"), message.get("user"), files, attached]


def title_of(messages: Sequence[Message], channel: str, people: People) -> str:
    """The first line of the first message, cut at a word."""
    text = next((said for one in messages if (said := text_of(one, people))), "")
    line = " ".join(text.split("\n")[0].split())
    if len(line) > _MAX_TITLE:
        line = line[:_MAX_TITLE].rpartition(" ")[0] + " …"
    return f"#{channel}: {line}" if line else f"#{channel}"


def transcript(messages: Iterable[Message], people: People) -> str:
    """Messages in the order of time, one paragraph each: `Ann (2024-05-06 10:22): text`."""
    paragraphs = []
    for message in sorted(messages, key=ts_of):
        if text := text_of(message, people):
            when = moment_of(ts_of(message)).strftime("%Y-%m-%d %H:%M")
            paragraphs.append(f"{author_of(message, people)} ({when}): {text}")
    return "\n\n".join(paragraphs)


def author_of(message: Message, people: People) -> str:
    profile, bot = _part(message, "user_profile"), _part(message, "bot_profile")
    user = str(message.get("user") or "")
    known = people.name(user)
    if user and known != user:
        return known
    names = (message.get("username"), profile.get("display_name"), profile.get("real_name"), bot.get("name"), user)
    return next((str(one) for one in names if one), "somebody")


def text_of(message: Message, people: People) -> str:
    """What a message says, its attachments and the names of its files."""
    parts = [plain(str(message.get("text") or ""), people)]
    if not parts[0].strip():
        parts.append(plain("\n".join(_of_blocks(message.get("blocks"), 0)), people))
    for one in _objects(message.get("attachments")):
        said = [str(one.get(name) or "") for name in ("title", "text")]
        parts.append(plain("\n".join(said) if any(said) else str(one.get("fallback") or ""), people))
    files = [str(one.get("title") or one.get("name") or "") for one in _objects(message.get("files"))]
    parts += [f"[file: {name}]" for name in files if name]
    return "\n".join(part.strip() for part in parts if part.strip())


def plain(mrkdwn: str, people: People) -> str:
    """mrkdwn as text: mentions by name, links with their address, escapes undone."""
    text = _MARKUP.sub(lambda found: _spelled(found[1], people), mrkdwn)
    return re.sub("&lt;|&gt;|&amp;", lambda found: _ESCAPED[found[0]], text)


def _spelled(inner: str, people: People) -> str:
    target, _, label = inner.partition("|")
    if target.startswith("@"):
        return f"@{people.name(target[1:])}" if not label else f"@{label}"
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    address = target.removeprefix("mailto:")
    return f"{label} ({address})" if label and label != address else address


def _of_blocks(blocks: Any, depth: int) -> Iterable[str]:
    """Every piece of text in Block Kit or rich text, in order."""
    if depth > 20:
        return
    for one in _objects(blocks):
        text = one.get("text")
        if isinstance(text, str):
            yield text
        elif isinstance(text, dict):
            yield str(text.get("text") or "")
        yield from _of_blocks(one.get("elements"), depth + 1)
        yield from _of_blocks(one.get("fields"), depth + 1)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    return part if isinstance(part, dict) else {}
