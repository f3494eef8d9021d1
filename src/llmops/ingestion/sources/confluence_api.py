"""Calls of Confluence Cloud: REST v2 for content and spaces, REST v1 for restrictions, people and groups.

Shapes as documented for `/wiki/api/v2` (cursor paging by `_links.next`) and `/wiki/rest/api` (start and limit).
The cursor is taken out of the next link, and the link itself is never followed: it leaves out the prefix
of `api.atlassian.com/ex/confluence/SITE`, and a wiki must not choose where we send a token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from llmops.clients.web import WebClient
from llmops.clients.web.response import ServerFailureError
from llmops.errors import SourceDeniedError, SourceError
from llmops.ingestion.sources.paging import every, records_of
from llmops.ingestion.sources.principals import group, person

_V1_LIMIT = 200
_PARENTS = {
    "page": "pages",
    "blogpost": "blogposts",
    "folder": "folders",
    "whiteboard": "whiteboards",
    "database": "databases",
    "embed": "embeds",
}

GROUP_SOURCE = "confluence"


class ConfluenceApi:
    """One site. Methods may be called from several threads."""

    def __init__(self, client: WebClient, base_url: str) -> None:
        self._client, self.base = client, base_url
        self._people: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    def spaces(self, keys: tuple[str, ...]) -> list[dict[str, Any]]:
        """`id`, `key` and `name` of spaces, in the order of their ids."""
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, len(keys) or 1, 50):
            some = {"keys": ",".join(keys[start : start + 50])} if keys else {}
            for results, _ in self._pages("spaces", {"limit": "250", "status": "current", **some}):
                found.update((int(one["id"]), one) for one in results)
        return [found[key] for key in sorted(found)]

    def content(
        self, space_id: str, kind: str, cursor: str, limit: int
    ) -> Iterator[tuple[list[dict[str, Any]], str]]:
        """Pages or blog posts of a space: records, and the next cursor or "".

        A `cursor` of an earlier run that the site does not know any more begins the space again.
        """
        params = {"limit": str(limit), "sort": "id", "status": "current"}
        yield from self._pages(f"spaces/{quote(space_id, safe='')}/{kind}", params, cursor)

    def attachments(self, kind: str, content_id: str) -> list[dict[str, Any]]:
        """All files attached to a page or blog post."""
        path = f"{kind}/{quote(content_id, safe='')}/attachments"
        pages = self._pages(path, {"limit": "250", "status": "current"})
        return [one for results, _ in pages for one in results]

    def _pages(
        self, path: str, params: Mapping[str, str], begin: str = ""
    ) -> Iterator[tuple[list[dict[str, Any]], str]]:
        url = f"{self.base}/api/v2/{path}"

        def ask(cursor: str) -> tuple[list[dict[str, Any]], str]:
            if (
                cursor
                and cursor == begin
                and self._client.get(url, params={**params, "cursor": cursor}).status == 400
            ):
                cursor = ""
            answer = self._client.json(url, params={**params, **({"cursor": cursor} if cursor else {})})
            results = records_of(answer, "results", path)
            if not all(isinstance(one.get("id"), str | int) for one in results):
                raise SourceError(f"the listing of {path} has records without an id; is the address right?")
            return results, _cursor(answer)

        yield from every(path, ask, lambda one: str(one["id"]), begin)

    def space_readers(self, space_id: str) -> tuple[str, ...] | None:
        """Who may view a space; None when we may not know."""
        path, found = f"spaces/{quote(space_id, safe='')}/permissions", list[str]()
        cursor, seen = "", set[str]()
        while True:
            answer = self.optional(f"api/v2/{path}", {"limit": "250", **({"cursor": cursor} if cursor else {})})
            if answer is None or not isinstance(answer.get("results"), list):
                return None
            for one in answer["results"]:
                principal, operation = one.get("principal") or {}, one.get("operation") or {}
                if operation.get("key") == "read" and operation.get("targetType") == "space":
                    found += self._principal(str(principal.get("type")).lower(), str(principal.get("id") or ""))
            cursor = _cursor(answer)
            if not cursor or cursor in seen:
                return tuple(found) if not cursor else None
            seen.add(cursor)

    def _principal(self, kind: str, key: str) -> list[str]:
        if kind == "group" and key:
            return [group(GROUP_SOURCE, key)]
        if kind == "user" and key:
            who = self.person({"accountId": key})
            return [who] if who else []
        return []  # roles and access classes: their people are not told, so nobody is admitted by them

    def restrictions(self, content_id: str) -> tuple[str, ...] | None:
        """Who may read a piece of content by its own restrictions: () when it has none, None when unknown."""
        path = f"rest/api/content/{quote(content_id, safe='')}/restriction/byOperation/read"
        found: list[str] = []
        for start in range(0, 100 * _V1_LIMIT, _V1_LIMIT):
            params = {
                "expand": "restrictions.user,restrictions.group",
                "start": str(start),
                "limit": str(_V1_LIMIT),
            }
            answer = self.optional(path, params)
            parts = answer.get("restrictions") if answer is not None else None
            if not isinstance(parts, dict):
                return None
            users, groups = (_results(parts.get(name)) for name in ("user", "group"))
            if users is None or groups is None:
                return None
            people = [self.person(one) for one in users]
            ids = [str(one.get("id") or "") for one in groups]
            if not all(people) or not all(ids):
                return None  # somebody whom we cannot name: an intersection without them would be wrong
            found += [one for one in people if one] + [group(GROUP_SOURCE, key) for key in ids]
            if max(len(users), len(groups)) < _V1_LIMIT:
                return tuple(found)
        return None

    def parent(self, kind: str, content_id: str) -> tuple[str, str] | None:
        """Kind and id of what stands above, ("", "") at the top; None when unknown."""
        path = _PARENTS.get(kind)
        answer = self.optional(f"api/v2/{path}/{quote(content_id, safe='')}", {}) if path else None
        return parent_of(answer) if answer is not None else None

    def person(self, user: Mapping[str, Any]) -> str | None:
        """The principal of a person: by e-mail address where the site shows it, else by account id."""
        account = str(user.get("accountId") or "")
        if not user.get("email") and account:
            user = {**user, "email": self.account(account).get("email")}
        return person(user.get("email"), account)

    def account(self, account: str) -> Mapping[str, Any]:
        """A person's record, or {} when it cannot be had."""
        with self._lock:
            known = self._people.get(account)
        if known is None:
            known = self.optional("rest/api/user", {"accountId": account}) or {}
            with self._lock:
                self._people[account] = known
        return known

    def all_groups(self) -> list[str]:
        """Ids of all groups of the site."""
        return [str(one["id"]) for one in self._v1("rest/api/group", "the groups") if one.get("id")]

    def members(self, group_id: str) -> tuple[str, ...]:
        """Principals of a group's members, sorted; () when the group is gone."""
        path = f"rest/api/group/{quote(group_id, safe='')}/membersByGroupId"
        people = (self.person(one) for one in self._v1(path, "a group's members", gone_is_empty=True))
        return tuple(sorted({one for one in people if one}))

    def _v1(self, path: str, what: str, *, gone_is_empty: bool = False) -> Iterator[dict[str, Any]]:
        start = 0
        for _ in range(10_000):
            params = {"start": str(start), "limit": str(_V1_LIMIT)}
            response = self._client.get(f"{self.base}/{path}", params=params)
            if response.status == 404 and gone_is_empty:
                return
            if response.status in (401, 403):
                raise SourceDeniedError(
                    f"{response.shown} refuses us ({response.status}); may the account read {what}?"
                )
            if response.status != 200:
                raise SourceError(f"{response.shown} answered {response.status}; is the address right?")
            results = records_of(response.json(), "results", what)
            yield from results
            start += len(results)
            if len(results) < _V1_LIMIT:
                return
        raise SourceError(f"the listing of {what} does not end; nothing was concluded from it; try again later")

    def optional(self, path: str, params: Mapping[str, str]) -> dict[str, Any] | None:
        """An object, or None when it is not there, not ours to read, or broken."""
        try:
            response = self._client.get(f"{self.base}/{path}", params=params)
        except ServerFailureError:
            return None
        answer = response.json() if response.status == 200 else None
        return answer if isinstance(answer, dict) else None


def parent_of(record: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and id of a record's parent, ("", "") at the top."""
    parent = record.get("parentId")
    return (str(record.get("parentType") or "page"), str(parent)) if parent else ("", "")


def _results(part: Any) -> list[dict[str, Any]] | None:
    results = part.get("results") if isinstance(part, dict) else None
    return results if isinstance(results, list) and all(isinstance(one, dict) for one in results) else None


def _cursor(answer: Any) -> str:
    """Out of `_links.next`; "" on the last page."""
    links = answer.get("_links") if isinstance(answer, dict) else None
    following = links.get("next") if isinstance(links, dict) else None
    if not isinstance(following, str) or not following:
        return ""
    cursor = parse_qs(urlsplit(following).query).get("cursor", [""])[0]
    if not cursor:
        raise SourceError("a next link of Confluence has no cursor; is the address of the API right?")
    return cursor
