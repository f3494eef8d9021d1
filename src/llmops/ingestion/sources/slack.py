"""Slack as a source, through its Web API: a document is a thread, or what else a channel said on one day (UTC).

Methods: `auth.test`, `users.list`, `conversations.list`, `.history`, `.replies` and `.members`. A public channel
is read by all full members of the workspace, a private one by its members. What is deleted is missing from the
next listing; replies that are edited in a settled thread show when it gets a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from llmops.clients.web import Patience, WebClient, bearer_token
from llmops.errors import DocumentError, DocumentGoneError, SourceError
from llmops.ingestion.sources.environment import secret
from llmops.ingestion.sources.principals import group
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.slack_api import SlackApi, SlackRefusedError
from llmops.ingestion.sources.slack_text import (
    Message,
    People,
    day_of,
    is_said,
    moment_of,
    thread_of,
    title_of,
    transcript,
    ts_of,
    version,
)
from llmops.ingestion.sources.specs_api import SlackSource

GROUP_SOURCE = "slack"
_DAY_S = 86_400
_JSON_SHARE = 20  # a message's JSON is so much larger than its text, at most


def open_slack(spec: SlackSource, environment: Mapping[str, str], *, patience: Patience | None = None) -> Slack:
    """The workspace of a spec.

    Raises:
        ConfigurationError: its token is not set.
    """
    token = bearer_token(secret(environment, spec.token_env, "bot token of the Slack app"))
    return Slack(spec, WebClient(spec.base_url, token=token, patience=patience))


@dataclass(slots=True)
class _Day:
    """What a channel said on one day: messages outside threads, and the first messages of threads."""

    loose: list[Message] = field(default_factory=list)
    roots: list[Message] = field(default_factory=list)


class Slack:
    """A workspace's channels, as `Source`."""

    def __init__(self, spec: SlackSource, client: WebClient) -> None:
        self._spec, self._client = spec, client
        self._api = SlackApi(client, spec.base_url)
        self._people: People | None = None
        self._lock = threading.Lock()

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002
        """All conversations of the window, channel by channel, the newest day first."""
        at = dict(checkpoint or {})
        team, address = self._api.team()
        channels = self._api.channels(private=self._spec.private, archived=self._spec.archived)
        wanted = set(self._spec.channels)
        missing = wanted - {str(one[name]) for one in channels for name in ("id", "name") if one.get(name)}
        if missing:
            names = ", ".join(sorted(missing))
            yield Page(problems=(f"no channel {names} that the app is in; invite it, or mend channels",))
        chosen = [one for one in channels if not wanted or {str(one["id"]), str(one.get("name"))} & wanted]
        for i, channel in enumerate(chosen):
            key = str(channel["id"])
            if "channel" in at and (at["channel"] is None or key < at["channel"]):
                continue
            latest = str(at.get("latest", "")) if key == at.get("channel") else ""
            place = _Channel(channel, team, address, self._spec.settled_after_days, self._names())
            following = str(chosen[i + 1]["id"]) if i + 1 < len(chosen) else None
            try:
                for items, boundary in self._days(place, latest):
                    yield Page(items=items, checkpoint={"channel": key, "latest": boundary})
                yield Page(checkpoint={"channel": following, "latest": ""})
            except SlackRefusedError as error:
                problem = f"the channel {channel.get('name') or key} cannot be listed ({error.code})"
                yield Page(problems=(problem,), checkpoint={"channel": following, "latest": ""})
        yield Page(checkpoint={"channel": None, "latest": ""})

    def _days(self, place: _Channel, latest: str) -> Iterator[tuple[tuple[Item, ...], str]]:
        """Items of the days that are complete after each answer, and the moment before which to go on."""
        days: dict[str, _Day] = {}
        last = ""
        for messages, following in self._api.history(
            place.key, oldest=self._oldest(), latest=latest, limit=self._spec.page_size
        ):
            for message in messages:
                ts = ts_of(message)
                if not ts:
                    continue
                if last and float(ts) > float(last):
                    raise SourceError(
                        f"Slack lists {place.key} out of order; nothing was concluded; try again later"
                    )
                last = ts
                _put(days.setdefault(day_of(ts), _Day()), message)
            done = [day for day in days if not following or day > day_of(last)]
            if done:
                boundary = f"{_begin(min(done)):.6f}"
                yield tuple(item for day in done for item in place.items(day, days.pop(day))), boundary

    def _oldest(self) -> str:
        if self._spec.days is None:
            return ""
        day = datetime.now(UTC).date() - timedelta(days=self._spec.days)
        return f"{_begin(day.isoformat()) - 0.000001:.6f}"

    def _names(self) -> People:
        with self._lock:
            if self._people is None:
                self._people = People(self._api.users())
            return self._people

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A conversation as text, one paragraph a message."""
        channel, thread = str(item.handle["channel"]), str(item.handle.get("thread", ""))
        said = self._said(channel, thread, str(item.handle.get("day", "")), max_bytes)
        if not said:
            raise DocumentGoneError(f"{item.uri} is empty now: its messages were deleted")
        raw = transcript(said, self._names()).encode()
        if len(raw) > max_bytes:
            raise DocumentError(
                f"{item.uri} is larger than {max_bytes:,} bytes; raise max_file_bytes or leave it out"
            )
        newest = thread_version(said, self._spec.settled_after_days) if thread else version(said)
        return Fetched(raw=raw, version=newest, media_type="text/plain")

    def _said(self, channel: str, thread: str, day: str, max_bytes: int) -> list[dict[str, Any]]:
        limit = max_bytes * _JSON_SHARE
        if thread:
            return [
                one for one in self._api.replies(channel, thread, max_bytes=limit) if ts_of(one) and is_said(one)
            ]
        begin = _begin(day)
        found = self._api.one_day(channel, f"{begin:.6f}", f"{begin + _DAY_S:.6f}", max_bytes=limit)
        return [
            one
            for one in found
            if ts_of(one) and day_of(ts_of(one)) == day and is_said(one) and not thread_of(one)
        ]

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Members of the workspace and of each private channel that the app is in."""
        team, _ = self._api.team()
        people = People(self._api.users())
        with self._lock:
            self._people = people
        found = {group(GROUP_SOURCE, team): people.members()}
        for channel in self._api.channels(private=True, archived=True) if self._spec.private else ():
            if channel.get("is_private"):
                principals = (people.principal(one) for one in self._api.members(str(channel["id"])))
                found[group(GROUP_SOURCE, str(channel["id"]))] = tuple(sorted({who for who in principals if who}))
        return found

    def close(self) -> None:
        self._client.close()


class _Channel:
    """What the documents of one channel have in common."""

    def __init__(
        self, record: Mapping[str, Any], team: str, address: str, settled_after_days: int, people: People
    ) -> None:
        self.key, self._name = str(record["id"]), str(record.get("name") or record["id"])
        readers = self.key if record.get("is_private") else team
        self._acl = (group(GROUP_SOURCE, readers),) if readers else None
        self._address, self._people, self._settled_after_days = address, people, settled_after_days
        self._metadata = {"channel": self._name}

    def items(self, day: str, said: _Day) -> Iterator[Item]:
        """Its threads that began on a day, and what else was said."""
        for root in said.roots:
            yield self._item(
                f"thread/{ts_of(root)}",
                root,
                thread_version([root], self._settled_after_days),
                title_of([root], self._name, self._people),
                {"thread": ts_of(root)},
            )
        if said.loose:
            yield self._item(
                f"day/{day}", said.loose[-1], version(said.loose), f"#{self._name}, {day}", {"day": day}
            )

    def _item(self, path: str, first: Message, mark: str, title: str, handle: Mapping[str, str]) -> Item:
        ts = ts_of(first)
        is_address = self._address.startswith("https://")
        return Item(
            uri=f"{self.key}/{path}",
            acl=self._acl,
            version=mark,
            title=title,
            url=f"{self._address}archives/{self.key}/p{ts.replace('.', '')}" if is_address else "",
            media_type="text/plain",
            modified_at=moment_of(str(first.get("latest_reply") or ts)),
            metadata=self._metadata,
            handle={"channel": self.key, **handle},
        )


def thread_version(messages: list[Any] | list[dict[str, Any]], settled_after_days: int) -> str:
    """Of a thread by its first message, which counts its replies; "" while it may still be talked in."""
    root = min(messages, key=lambda one: float(ts_of(one)))
    last = str(root.get("latest_reply") or ts_of(root))
    if time.time() - float(last) < settled_after_days * _DAY_S:
        return ""
    return f"{version([root])}-{root.get('reply_count') or 0}-{last}"


def _put(day: _Day, message: Message) -> None:
    if not is_said(message):
        return
    thread = thread_of(message)
    if not thread:
        day.loose.append(message)
    elif thread == ts_of(message):
        day.roots.append(message)


def _begin(day: str) -> float:
    """The first moment of a day, seconds since 1970."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
