"""Confluence Cloud as a source: pages, blog posts and attachments with versions and inherited permissions.

REST v2: `/spaces`, `/spaces/ID/pages`, `/spaces/ID/blogposts`, `/pages/ID?body-format=storage`, `/attachments/ID`
REST v1: `/content/ID/restriction/byOperation/read`, `/group`, `/group/ID/membersByGroupId`, `/user`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from llmops.clients.web import Patience, StaticToken, WebClient, basic_token, bearer_token
from llmops.clients.web.response import AnswerError
from llmops.errors import DocumentError, DocumentGoneError
from llmops.ingestion.sources.confluence_api import GROUP_SOURCE, ConfluenceApi
from llmops.ingestion.sources.confluence_readers import Readers
from llmops.ingestion.sources.confluence_storage import html_of_storage
from llmops.ingestion.sources.environment import secret
from llmops.ingestion.sources.principals import group
from llmops.ingestion.sources.protocol import Acl, Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.specs_api import ConfluenceSource

_JSON_OVERHEAD = 1_000_000


def open_confluence(
    spec: ConfluenceSource, environment: Mapping[str, str], *, patience: Patience | None = None
) -> Confluence:
    """The site of a spec.

    Raises:
        ConfigurationError: its token is not set.
    """
    value = secret(environment, spec.token_env, "API token of Confluence")
    token: StaticToken = basic_token(spec.email, value) if spec.email else bearer_token(value)
    client = WebClient(spec.base_url, token=token, headers={"accept": "application/json"}, patience=patience)
    return Confluence(spec, client)


class Confluence:
    """A site's content, as `Source`."""

    def __init__(self, spec: ConfluenceSource, client: WebClient) -> None:
        self._spec, self._client = spec, client
        self._api = ConfluenceApi(client, spec.base_url)
        self._groups: set[str] | None = None

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002
        """All that exists, in the order of spaces and ids; restrictions are asked for anew each time."""
        at = dict(checkpoint or {})
        self._groups = None
        readers = Readers(self._api, self._spec.parallel, at.get("groups", ()))
        spaces = self._api.spaces(self._spec.spaces)
        missing = set(self._spec.spaces) - {str(one["key"]) for one in spaces}
        if missing:
            names = ", ".join(sorted(missing))
            yield Page(problems=(f"no space {names} that the account may see; mend spaces or the permissions",))
        kinds = ("pages", "blogposts") if self._spec.blog_posts else ("pages",)
        stops = [(space, kind) for space in spaces for kind in kinds]
        begin = _resumed([(str(space["id"]), kind) for space, kind in stops], at)
        for i, (space, kind) in enumerate(stops[begin:], begin):
            cursor = str(at.get("cursor", "")) if [str(space["id"]), kind] == at.get("stop") else ""
            for records, following in self._api.content(str(space["id"]), kind, cursor, self._spec.page_size):
                items = tuple(self._items(space, kind, records, readers))
                stop = (space, kind) if following else stops[i + 1] if i + 1 < len(stops) else None
                yield Page(items=items, checkpoint=_checkpoint(stop, following, readers.groups))
        self._groups = readers.groups
        yield Page(checkpoint=_checkpoint(None, "", readers.groups))

    def _items(
        self, space: Mapping[str, Any], kind: str, records: list[dict[str, Any]], readers: Readers
    ) -> Iterator[Item]:
        acls: dict[str, Acl] = {}
        if self._spec.acl is None and records:
            acls = readers.of_content(str(space["id"]), records)
        for record in records:
            acl = self._spec.acl if self._spec.acl is not None else acls[str(record["id"])]
            yield self._item(space, kind, record, acl)
            if self._spec.attachments:
                for attached in self._api.attachments(kind, str(record["id"])):
                    yield self._item(space, "attachments", attached, acl)

    def _item(self, space: Mapping[str, Any], kind: str, record: Mapping[str, Any], acl: Acl) -> Item:
        version = record.get("version") if isinstance(record.get("version"), dict) else {}
        links = record.get("_links") if isinstance(record.get("_links"), dict) else {}
        webui = (links or {}).get("webui") or record.get("webuiLink") or ""
        key, size = str(record["id"]), record.get("fileSize")
        is_file = kind == "attachments"
        return Item(
            uri=f"{space['key']}/{kind}/{key}",
            acl=acl,
            version=str((version or {}).get("number") or ""),
            n_bytes=size if isinstance(size, int) else None,
            title=str(record.get("title") or ""),
            url=f"{self._spec.base_url}{webui}" if str(webui).startswith("/") else "",
            media_type=str(record.get("mediaType") or "") if is_file else "text/html",
            modified_at=_moment((version or {}).get("createdAt")),
            metadata={"space": str(space["key"]), "kind": kind.removesuffix("s")},
            handle={"kind": kind, "id": key},
        )

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A page as HTML, or an attached file."""
        kind, key = str(item.handle["kind"]), quote(str(item.handle["id"]), safe="")
        params = {} if kind == "attachments" else {"body-format": "storage", "include-labels": "true"}
        response = self._client.document(
            f"{self._spec.base_url}/api/v2/{kind}/{key}", max_bytes=2 * max_bytes + _JSON_OVERHEAD, params=params
        )
        try:
            record = response.json()
        except AnswerError as error:
            raise DocumentError(str(error)) from error
        if not isinstance(record, dict):
            raise DocumentError(
                f"{response.shown} did not answer with an object; is the address of the API right?"
            )
        if record.get("status", "current") != "current":
            raise DocumentGoneError(f"{item.uri} is {record['status']!r} in Confluence")
        version = str((record.get("version") or {}).get("number") or "")
        if kind == "attachments":
            return self._file(item, record, version, max_bytes)
        storage = ((record.get("body") or {}).get("storage") or {}).get("value")
        if not isinstance(storage, str):
            raise DocumentError(f"{response.shown} answered without a storage body; may the account read it?")
        if len(storage) > max_bytes:
            raise DocumentError(
                f"{item.uri} is larger than {max_bytes:,} bytes; raise max_file_bytes or leave it out"
            )
        title = str(record.get("title") or item.title)
        labels = (record.get("labels") or {}).get("results") or ()
        names = sorted({str(one["name"]) for one in labels if isinstance(one, dict) and one.get("name")})
        return Fetched(
            raw=html_of_storage(storage, title, self._name).encode(),
            version=version,
            media_type="text/html",
            title=title,
            metadata={"labels": names} if names else {},
        )

    def _file(self, item: Item, record: Mapping[str, Any], version: str, max_bytes: int) -> Fetched:
        link = record.get("downloadLink") or (record.get("_links") or {}).get("download") or ""
        if not str(link).startswith("/"):
            raise DocumentError(f"{item.uri} has no download link; may the account read it?")
        response = self._client.document(f"{self._spec.base_url}{link}", max_bytes=max_bytes)
        return Fetched(raw=response.body, version=version, media_type=str(record.get("mediaType") or ""))

    def _name(self, account: str) -> str:
        user = self._api.account(account)
        return str(user.get("displayName") or user.get("publicName") or "")

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Members of the groups that the last listing met; of all groups where none was completed here."""
        seen = self._groups
        names = seen if seen is not None else {group(GROUP_SOURCE, key) for key in self._api.all_groups()}
        return {one: self._api.members(one.partition("/")[2]) for one in sorted(names)}

    def close(self) -> None:
        self._client.close()


def _checkpoint(stop: tuple[Mapping[str, Any], str] | None, cursor: str, groups: set[str]) -> Checkpoint:
    place = [str(stop[0]["id"]), stop[1]] if stop else None
    return {"stop": place, "cursor": cursor, "groups": sorted(groups)}


def _resumed(stops: list[tuple[str, str]], at: Mapping[str, Any]) -> int:
    """Index of the stop to go on with; spaces are in the order of their ids, also when one has gone."""
    if not at:
        return 0
    if at["stop"] is None:
        return len(stops)
    space, kind = int(at["stop"][0]), at["stop"][1]
    later = (i for i, (key, what) in enumerate(stops) if int(key) > space or (int(key) == space and what == kind))
    return next(later, len(stops))


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
