"""Calls of Microsoft Graph v1.0: libraries, the delta of a library, permissions, and members of groups.

A next or delta link is followed only where it leads back to Graph itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from llmops.clients.web import WebClient
from llmops.clients.web.response import AnswerError, ServerFailureError
from llmops.errors import DocumentError, SourceDeniedError, SourceError
from llmops.ingestion.sources.paging import every, records_of
from llmops.ingestion.sources.principals import group, person

GROUP_SOURCE = "sharepoint"
# Without these a change of sharing alone is not a change, and removals may be left out.
_SCANNING = {"prefer": "hierarchicalsharing, deltashowremovedasdeleted, deltashowsharingchanges"}
_PEOPLE = {"$select": "id,mail,userPrincipalName", "$top": "999"}


class DeltaExpiredError(Exception):
    """Graph no longer knows a delta link (410)."""


class GraphApi:
    """One tenant. Methods may be called from several threads."""

    def __init__(self, client: WebClient, base_url: str) -> None:
        self._client, self.base = client, base_url

    def drives_of_site(self, site: str) -> list[str]:
        """Ids of a site's libraries; `site` is an id or `HOST:/sites/NAME`."""
        found = self._client.json(f"{self.base}/sites/{quote(site, safe=':/,')}")
        if not isinstance(found, dict) or not isinstance(found.get("id"), str):
            raise SourceError(f"{site!r} is no site; write HOST:/sites/NAME, or its id")
        return [str(one["id"]) for one in self.all(f"sites/{quote(found['id'], safe=',')}/drives", {})]

    def drive_of_user(self, user: str) -> str:
        """Id of a person's OneDrive."""
        found = self._client.json(f"{self.base}/users/{quote(user, safe='@')}/drive")
        if not isinstance(found, dict) or not isinstance(found.get("id"), str):
            raise SourceError(f"{user!r} has no OneDrive; mend users in the spec")
        return str(found["id"])

    def delta(self, drive: str, link: str) -> Iterator[tuple[list[dict[str, Any]], str, str]]:
        """Changes of a library since `link`, or all of it ("").

        Yields:
            Records, the next link ("" after the last) and the delta link ("" before the last).

        Raises:
            DeltaExpiredError: the link is too old.
        """
        what = f"the drive {drive}"
        ends = {"delta": ""}

        def ask(at: str) -> tuple[list[dict[str, Any]], str]:
            response = self._client.get(
                self._own(at or f"{self.base}/drives/{quote(drive, safe='!')}/root/delta"),
                params={} if at else {"$top": "200"},
                headers=_SCANNING,
            )
            if response.status == 410:
                raise DeltaExpiredError
            if response.status in (401, 403):
                raise SourceDeniedError(
                    f"{response.shown} refuses us ({response.status}); check the app's permissions"
                )
            if response.status != 200:
                raise SourceError(f"{response.shown} answered {response.status}; check the spec's drives")
            answer = response.json()
            records = records_of(answer, "value", what)
            following, ends["delta"] = (str(answer.get(f"@odata.{name}Link") or "") for name in ("next", "delta"))
            if not following and not ends["delta"]:
                raise SourceError(f"the listing of {what} ends without a delta link; try again later")
            return records, following

        for records, following in every(what, ask, lambda one: str(one.get("id")), link):
            yield records, following, ends["delta"]

    def children(self, drive: str, item: str) -> Iterator[list[dict[str, Any]]]:
        """Everything below a folder, some at a time."""
        waiting, seen = [item], {item}
        while waiting:
            path = f"drives/{quote(drive, safe='!')}/items/{quote(waiting.pop(), safe='!')}/children"
            for records in self._pages(path, {"$top": "200"}):
                yield records
                folders = {str(one["id"]) for one in records if "folder" in one} - seen
                seen |= folders
                waiting += sorted(folders)

    def item(self, drive: str, item: str, max_bytes: int) -> dict[str, Any]:
        """One item's record, with its download address.

        Raises:
            DocumentGoneError: it is not there any more.
            DocumentError: it cannot be had.
        """
        url = f"{self.base}/drives/{quote(drive, safe='!')}/items/{quote(item, safe='!')}"
        response = self._client.document(url, max_bytes=max_bytes)
        try:
            answer = response.json()
        except AnswerError as error:
            raise DocumentError(str(error)) from error
        if not isinstance(answer, dict):
            raise DocumentError(f"{response.shown} answered no item; is the address of the API right?")
        return answer

    def permissions(self, drive: str, item: str) -> list[dict[str, Any]] | None:
        """Effective permissions of an item, inherited ones too; None when we may not know."""
        path = f"drives/{quote(drive, safe='!')}/items/{quote(item, safe='!')}/permissions"
        url, found = f"{self.base}/{path}", list[dict[str, Any]]()
        seen = set[str]()
        while url and url not in seen:
            seen.add(url)
            try:
                response = self._client.get(self._own(url))
            except ServerFailureError:
                return None
            answer = response.json() if response.status == 200 else None
            if not isinstance(answer, dict) or not isinstance(answer.get("value"), list):
                return None
            found += [one for one in answer["value"] if isinstance(one, dict)]
            url = str(answer.get("@odata.nextLink") or "")
        return None if url else found

    def members(self, group_id: str) -> tuple[str, ...]:
        """People of a group, however deep; () when the group is gone."""
        path = f"groups/{quote(group_id, safe='')}/transitiveMembers"
        found = (one for one in self.all(path, _PEOPLE, gone_is_empty=True) if _is_person(one))
        return _principals(found)

    def everybody(self) -> tuple[str, ...]:
        """People of the tenant, without guests and closed accounts."""
        only = {"$filter": "userType eq 'Member' and accountEnabled eq true"}
        return _principals(self.all("users", {**_PEOPLE, **only}))

    def all_groups(self) -> list[str]:
        """Principals of all groups of the tenant."""
        return [
            group(GROUP_SOURCE, str(one["id"])) for one in self.all("groups", {"$select": "id", "$top": "999"})
        ]

    def all(
        self, path: str, params: Mapping[str, str], *, gone_is_empty: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Every record of a collection."""
        for records in self._pages(path, params, gone_is_empty=gone_is_empty):
            yield from records

    def _pages(
        self, path: str, params: Mapping[str, str], *, gone_is_empty: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        def ask(at: str) -> tuple[list[dict[str, Any]], str]:
            response = self._client.get(self._own(at or f"{self.base}/{path}"), params={} if at else params)
            if response.status == 404 and gone_is_empty:
                return [], ""
            if response.status in (401, 403):
                raise SourceDeniedError(
                    f"{response.shown} refuses us ({response.status}); check the app's permissions"
                )
            if response.status != 200:
                raise SourceError(f"{response.shown} answered {response.status}; check the spec")
            answer = response.json()
            return records_of(answer, "value", path), str(answer.get("@odata.nextLink") or "")

        for records, _ in every(path, ask, lambda one: str(one.get("id"))):
            yield [one for one in records if one.get("id")]

    def _own(self, url: str) -> str:
        if not url.startswith(f"{self.base}/"):
            raise SourceError(f"a link of Graph leads away from {self.base}; it was not followed")
        return url


def _is_person(record: Mapping[str, Any]) -> bool:
    return str(record.get("@odata.type") or "#microsoft.graph.user") == "#microsoft.graph.user"


def _principals(records: Iterator[dict[str, Any]]) -> tuple[str, ...]:
    found = (person(one.get("mail"), one.get("userPrincipalName"), one.get("id")) for one in records)
    return tuple(sorted({one for one in found if one}))
