"""A Confluence Cloud site: REST v2 and v1 as the vendor documents them."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from typing import Any

from tests.ingestion.sources.vendors.server import Answer, Asked, VendorServer

EMAIL, TOKEN = "bot@example.org", "ATATT3xSECRETSECRET"


@dataclass(kw_only=True)
class Content:
    key: int
    space: str
    title: str
    storage: str
    kind: str = "pages"
    parent: tuple[str, str] | None = None
    version: int = 1
    status: str = "current"
    labels: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    is_secretive: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


class ConfluenceSite:
    """Content by id, spaces by key, people by name, groups by id; `page_size` caps what one answer holds."""

    def __init__(self, page_size: int = 3) -> None:
        self.page_size = page_size
        self.token = TOKEN
        self.spaces = {"10": "ENG", "20": "HR"}
        self.space_groups: dict[str, tuple[str, ...]] = {"10": ("everyone-here",), "20": ("everyone-here",)}
        self.secretive_spaces: set[str] = set()
        self.content: dict[int, Content] = {}
        self.groups: dict[str, tuple[str, ...]] = {"everyone-here": ("ann", "bob", "cat", "dan")}
        self.hidden_addresses: set[str] = set()
        self.folders: dict[str, tuple[str, str] | None] = {}
        self.server = VendorServer(self.answer)

    def answer(self, asked: Asked) -> Answer:
        given = asked.headers.get("authorization", "")
        if given != "Basic " + base64.b64encode(f"{EMAIL}:{self.token}".encode()).decode():
            return Answer(status=401, body={"code": 401, "message": "Unauthorized; scope does not match"})
        parts = asked.path.strip("/").split("/")
        match parts:
            case ["wiki", "api", "v2", "spaces"]:
                wanted = asked.query.get("keys", "").split(",") if "keys" in asked.query else self.spaces.values()
                found = [self._space(key) for key, name in self.spaces.items() if name in wanted]
                return self._paged(asked, found)
            case ["wiki", "api", "v2", "spaces", key, "permissions"]:
                return self._space_permissions(asked, key)
            case ["wiki", "api", "v2", "spaces", key, ("pages" | "blogposts") as kind]:
                here = [one for one in self.content.values() if one.space == self.spaces[key] and one.kind == kind]
                alive = sorted((one for one in here if one.status == "current"), key=lambda one: one.key)
                return self._paged(asked, [self._record(one) for one in alive])
            case ["wiki", "api", "v2", ("pages" | "blogposts"), key]:
                one = self.content.get(int(key))
                return Answer(body=self._whole(one, asked)) if one else Answer(status=404, body=_missing())
            case ["wiki", "api", "v2", ("pages" | "blogposts"), key, "attachments"]:
                files = self.content[int(key)].files
                return self._paged(asked, [self._file(int(key), name) for name in files])
            case ["wiki", "api", "v2", "attachments", key]:
                return self._attachment(key)
            case ["wiki", "api", "v2", "folders", key] if key in self.folders:
                return Answer(body={"id": key, "type": "folder", **_above(self.folders[key])})
            case ["wiki", "download", "attachments", key, name]:
                return Answer(body=self.content[int(key)].files[name])
            case ["wiki", "rest", "api", *rest]:
                return self._v1(asked, rest)
        return Answer(status=404, body=_missing())

    def _v1(self, asked: Asked, rest: list[str]) -> Answer:
        match rest:
            case ["content", key, "restriction", "byOperation", "read"]:
                one = self.content.get(int(key))
                if one is None and key in self.folders:
                    return Answer(body=self._restriction(asked, (), ()))
                if one is None or one.is_secretive:
                    return Answer(status=404 if one is None else 403, body=_missing())
                return Answer(body=self._restriction(asked, one.users, one.groups))
            case ["user"]:
                return Answer(body=self._user(asked.query["accountId"].removeprefix("acc-")))
            case ["group"]:
                return Answer(body=_v1_page(asked, [{"type": "group", "name": k, "id": k} for k in self.groups]))
            case ["group", key, "membersByGroupId"]:
                if key not in self.groups:
                    return Answer(status=404, body=_missing())
                return Answer(body=_v1_page(asked, [self._user(one) for one in self.groups[key]]))
        return Answer(status=404, body=_missing())

    def _paged(self, asked: Asked, found: list[dict[str, Any]]) -> Answer:
        cursor = asked.query.get("cursor", "")
        if cursor and not cursor.startswith("after:"):
            return Answer(status=400, body={"errors": [{"status": 400, "code": "INVALID_REQUEST_PARAMETER"}]})
        after = cursor.removeprefix("after:")
        start = next((i + 1 for i, one in enumerate(found) if str(one["id"]) == after), 0)
        n = min(int(asked.query.get("limit", "25")), self.page_size)
        some = found[start : start + n]
        links = {"base": f"{self.server.url}/wiki"}
        if start + n < len(found):
            links["next"] = f"{asked.path}?limit={n}&cursor=after%3A{some[-1]['id']}"
        return Answer(body={"results": some, "_links": links})

    def _space(self, key: str) -> dict[str, Any]:
        return {"id": key, "key": self.spaces[key], "name": self.spaces[key].title(), "status": "current"}

    def _space_permissions(self, asked: Asked, key: str) -> Answer:
        if key in self.secretive_spaces:
            return Answer(status=403, body=_missing())
        read = {"key": "read", "targetType": "space"}
        found = [
            {"id": f"r{one}", "principal": {"type": "group", "id": one}, "operation": read}
            for one in self.space_groups[key]
        ]
        found.append(
            {
                "id": "w",
                "principal": {"type": "user", "id": "acc-eve"},
                "operation": {"key": "create", "targetType": "page"},
            }
        )
        return self._paged(asked, found)

    def _record(self, one: Content) -> dict[str, Any]:
        return {
            "id": str(one.key),
            "status": one.status,
            "title": one.title,
            "spaceId": next(key for key, name in self.spaces.items() if name == one.space),
            "createdAt": "2024-01-02T03:04:05.678Z",
            "version": {"createdAt": "2024-02-03T04:05:06.789Z", "message": "", "number": one.version},
            "body": {},
            "_links": {"webui": f"/spaces/{one.space}/{one.kind}/{one.key}"},
            **(_above(one.parent) if one.kind == "pages" else {}),
        }

    def _whole(self, one: Content, asked: Asked) -> dict[str, Any]:
        assert asked.query.get("body-format") in ("storage", None)
        found = self._record(one)
        if "body-format" in asked.query:
            found["body"] = {"storage": {"representation": "storage", "value": one.storage}}
        if asked.query.get("include-labels") == "true":
            results = [{"id": str(i), "name": name, "prefix": "global"} for i, name in enumerate(one.labels)]
            found["labels"] = {"results": results, "meta": {"hasMore": False}, "_links": {}}
        return found

    def _file(self, key: int, name: str) -> dict[str, Any]:
        return {
            "id": f"att{key}-{name}",
            "status": "current",
            "title": name,
            "mediaType": "application/pdf",
            "fileSize": len(self.content[key].files[name]),
            "downloadLink": f"/download/attachments/{key}/{name}?version=1&api=v2",
            "version": {"number": 1, "createdAt": "2024-02-03T04:05:06.789Z"},
            "_links": {"webui": f"/pages/viewpageattachments.action?pageId={key}"},
        }

    def _attachment(self, key: str) -> Answer:
        page, _, name = key.removeprefix("att").partition("-")
        one = self.content.get(int(page))
        if one is None or name not in one.files:
            return Answer(status=404, body=_missing())
        return Answer(body=self._file(int(page), name))

    def _restriction(self, asked: Asked, users: tuple[str, ...], groups: tuple[str, ...]) -> dict[str, Any]:
        return {
            "operation": "read",
            "restrictions": {
                "user": _v1_page(asked, [self._user(one) for one in users]),
                "group": _v1_page(asked, [{"type": "group", "name": one, "id": one} for one in groups]),
            },
            "_links": {},
        }

    def _user(self, name: str) -> dict[str, Any]:
        email = "" if name in self.hidden_addresses else f"{name.title()}@Example.org"
        return {"type": "known", "accountId": f"acc-{name}", "email": email, "displayName": name.title()}


def _v1_page(asked: Asked, found: list[dict[str, Any]]) -> dict[str, Any]:
    start, limit = int(asked.query.get("start", "0")), int(asked.query.get("limit", "100"))
    some = found[start : start + limit]
    return {"results": some, "start": start, "limit": limit, "size": len(some)}


def _above(parent: tuple[str, str] | None) -> dict[str, Any]:
    return {"parentId": parent[1] if parent else None, "parentType": parent[0] if parent else None}


def _missing() -> dict[str, Any]:
    return {"errors": [{"status": 404, "code": "NOT_FOUND", "title": "Not Found", "detail": None}]}


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
