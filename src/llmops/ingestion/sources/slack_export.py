"""An export of a Slack workspace as a source: `channels.json`, `users.json`, `CHANNEL/YYYY-MM-DD.json`.

`groups.json` has the private channels, where the export has them. Documents are the same as over the API: threads,
and what else a channel said on one day (UTC). An export tells the members of private channels as of its making.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError, SourceError
from llmops.ingestion.sources.exports import Export
from llmops.ingestion.sources.principals import group
from llmops.ingestion.sources.protocol import Acl, Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.slack import GROUP_SOURCE
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
from llmops.ingestion.sources.specs_api import SlackExportSource

_LIST_BYTES = 500_000_000


def open_slack_export(spec: SlackExportSource, spec_file: str) -> SlackExport:
    """The export of a spec; `path` is seen from the spec's file.

    Raises:
        ConfigurationError: there is none, or it is no export of Slack.
    """
    return SlackExport(spec, Export(Path(spec_file).parent / spec.path, max_bytes=spec.max_export_bytes))


@dataclass(slots=True)
class _Conversation:
    """A document in the making: which files it is in, and digests of its messages by ts."""

    files: dict[str, None] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    first: Message = field(default_factory=dict)

    def add(self, file: str, message: Message) -> None:
        ts = ts_of(message)
        self.files[file] = None
        self.marks[ts] = version([message])
        if not self.first or float(ts) < float(ts_of(self.first)):
            self.first = message

    @property
    def version(self) -> str:
        return hashlib.sha256("".join(self.marks[ts] for ts in sorted(self.marks)).encode()).hexdigest()[:32]


class SlackExport:
    """A workspace's export, as `Source`."""

    def __init__(self, spec: SlackExportSource, export: Export) -> None:
        self._spec, self._export = spec, export
        place = export.find("channels.json")
        if place is None:
            export.close()
            raise ConfigurationError(f"{str(export.path)!r} has no channels.json; it is no export of Slack")
        self._root = place.removesuffix("channels.json")
        self._files: dict[str, list[str]] = {}
        for file in export.names:
            path = PurePosixPath(file.removeprefix(self._root))
            if path.suffix == ".json" and len(path.parts) == 2:
                self._files.setdefault(path.parts[0], []).append(file)
        users = self._list("users.json") or self._list("org_users.json")
        self._people = People(users)
        self._team = next((str(one["team_id"]) for one in users if one.get("team_id")), "")

    def _list(self, name: str) -> list[dict[str, Any]]:
        path = f"{self._root}{name}"
        return self._export.json(path, max_bytes=_LIST_BYTES) if path in self._export.names else []

    def _channels(self) -> list[tuple[dict[str, Any], bool]]:
        """Channels and whether each is private, in the order of their ids."""
        found = {str(one["id"]): (one, False) for one in self._list("channels.json") if one.get("id")}
        if self._spec.private:
            found |= {str(one["id"]): (one, True) for one in self._list("groups.json") if one.get("id")}
        return [found[key] for key in sorted(found)]

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002
        """All conversations, one channel a page."""
        at = dict(checkpoint or {})
        channels, wanted = self._channels(), set(self._spec.channels)
        names = {str(one[name]) for one, _ in channels for name in ("id", "name") if one.get(name)}
        if wanted - names:
            missing = ", ".join(sorted(wanted - names))
            yield Page(problems=(f"no channel {missing} in the export; mend channels",))
        for channel, is_private in channels:
            key, name = str(channel["id"]), str(channel.get("name") or channel["id"])
            if key <= str(at.get("channel", "")) or (wanted and not {key, name} & wanted):
                continue
            try:
                items = tuple(self._items(key, name, self._acl(key, is_private)))
            except SourceError as error:
                yield Page(problems=(str(error),), checkpoint={"channel": key})
            else:
                yield Page(items=items, checkpoint={"channel": key})
        yield Page()

    def _acl(self, key: str, is_private: bool) -> Acl:
        if is_private:
            return (group(GROUP_SOURCE, key),)
        if self._spec.acl is not None:
            return self._spec.acl
        return (group(GROUP_SOURCE, self._team),) if self._team else None

    def _items(self, key: str, name: str, acl: Acl) -> Iterator[Item]:
        for path, said in self._conversations(name).items():
            kind, _, which = path.partition("/")
            ts = ts_of(said.first)
            is_thread = kind == "thread"
            yield Item(
                uri=f"{key}/{path}",
                acl=acl,
                version=said.version,
                title=title_of([said.first], name, self._people) if is_thread else f"#{name}, {which}",
                media_type="text/plain",
                modified_at=moment_of(max(said.marks, key=float)) if said.marks else moment_of(ts),
                metadata={"channel": name},
                handle={"path": path, "files": list(said.files)},
            )

    def _conversations(self, channel: str) -> dict[str, _Conversation]:
        """By `thread/TS` or `day/DATE`, over all of a channel's files."""
        found: dict[str, _Conversation] = {}
        for file in self._files.get(channel, ()):
            for message in self._export.json(file, max_bytes=_LIST_BYTES):
                if ts_of(message) and is_said(message):
                    found.setdefault(_path_of(message), _Conversation()).add(file, message)
        return found

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A conversation as text, one paragraph a message."""
        said = _Conversation()
        messages: list[Message] = []
        for file in item.handle["files"]:
            for message in self._messages(str(file)):
                if ts_of(message) and is_said(message) and _path_of(message) == item.handle["path"]:
                    said.add(str(file), message)
                    messages.append(message)
        if not messages:
            raise DocumentGoneError(f"{item.uri} is not in the export any more")
        raw = transcript(messages, self._people).encode()
        if len(raw) > max_bytes:
            raise DocumentError(
                f"{item.uri} is larger than {max_bytes:,} bytes; raise max_file_bytes or leave it out"
            )
        return Fetched(raw=raw, version=said.version, media_type="text/plain")

    def _messages(self, file: str) -> list[Any]:
        try:
            found = orjson.loads(self._export.read(file, max_bytes=_LIST_BYTES))
        except DocumentGoneError:
            return []
        except orjson.JSONDecodeError as error:
            raise DocumentError(f"{file!r} in the export is no JSON ({error}); export it again") from error
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Members of the workspace and of its private channels, as of the export."""
        found = {group(GROUP_SOURCE, self._team): self._people.members()} if self._team else {}
        for channel, is_private in self._channels():
            if is_private:
                principals = (self._people.principal(str(one)) for one in channel.get("members") or ())
                found[group(GROUP_SOURCE, str(channel["id"]))] = tuple(sorted({who for who in principals if who}))
        return found

    def close(self) -> None:
        self._export.close()


def _path_of(message: Message) -> str:
    thread = thread_of(message)
    return f"thread/{thread}" if thread else f"day/{day_of(ts_of(message))}"
