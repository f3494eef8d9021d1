"""A Slack workspace: the Web API's methods as the vendor documents them."""

from __future__ import annotations

from typing import Any

from tests.ingestion.sources.vendors.server import Answer, Asked, VendorServer

TOKEN = "xoxb-SECRET-TOKEN"


class Workspace:
    """Channels by id, messages by channel (replies too), people by id; `page_size` caps what one answer holds."""

    def __init__(self, page_size: int = 2) -> None:
        self.page_size = page_size
        self.token = TOKEN
        self.error = "token_expired"
        self.channels: dict[str, dict[str, Any]] = {"C1": channel("C1", "general")}
        self.messages: dict[str, list[dict[str, Any]]] = {"C1": []}
        self.members: dict[str, list[str]] = {}
        self.users: dict[str, dict[str, Any]] = {f"U{name.upper()}": user(name) for name in ("ann", "bob", "cat")}
        self.server = VendorServer(self.answer)

    def answer(self, asked: Asked) -> Answer:
        method = asked.path.removeprefix("/api/")
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return refused(self.error)
        key = asked.query.get("channel", "")
        if key and key not in self.channels:
            return refused("channel_not_found")
        match method:
            case "auth.test":
                return Answer(body={"ok": True, "url": "https://acme.slack.example/", "team_id": "T0ACME"})
            case "users.list":
                return self._paged(asked, "members", list(self.users.values()))
            case "conversations.list":
                kinds = asked.query["types"].split(",")
                found = [one for one in self.channels.values() if _kind(one) in kinds]
                if asked.query["exclude_archived"] == "true":
                    found = [one for one in found if not one["is_archived"]]
                return self._paged(asked, "channels", found)
            case "conversations.members":
                return self._paged(asked, "members", self.members.get(key, []))
            case "conversations.history":
                return self._history(asked, key)
            case "conversations.replies":
                return self._replies(asked, key)
        return refused("unknown_method")

    def _history(self, asked: Asked, key: str) -> Answer:
        if not self.channels[key]["is_member"]:
            return refused("not_in_channel")
        oldest, latest = asked.query.get("oldest", "0"), asked.query.get("latest", "inf")
        is_inclusive = asked.query.get("inclusive") == "true"

        def within(ts: str) -> bool:
            at = float(ts)
            return float(oldest) < at < float(latest) or (is_inclusive and at in (float(oldest), float(latest)))

        found = [one for one in self.messages[key] if within(one["ts"]) and not _is_reply(one)]
        found.sort(key=lambda one: float(one["ts"]), reverse=True)
        return self._paged(asked, "messages", [self._counted(key, one) for one in found])

    def _replies(self, asked: Asked, key: str) -> Answer:
        ts = asked.query["ts"]
        found = [one for one in self.messages[key] if ts in (one["ts"], one.get("thread_ts"))]
        if not any(one["ts"] == ts for one in found):
            return refused("thread_not_found")
        found.sort(key=lambda one: float(one["ts"]))
        return self._paged(asked, "messages", [self._counted(key, one) for one in found])

    def _counted(self, key: str, one: dict[str, Any]) -> dict[str, Any]:
        replies = [r for r in self.messages[key] if r.get("thread_ts") == one["ts"] != r["ts"]]
        if not replies:
            return one
        latest = max((r["ts"] for r in replies), key=float)
        return {**one, "thread_ts": one["ts"], "reply_count": len(replies), "latest_reply": latest}

    def _paged(self, asked: Asked, field: str, found: list[Any]) -> Answer:
        cursor = asked.query.get("cursor", "")
        if cursor and not cursor.startswith("next:"):
            return refused("invalid_cursor")
        start, n = (
            int(cursor.removeprefix("next:") or 0),
            min(int(asked.query.get("limit", "100")), self.page_size),
        )
        more = start + n < len(found)
        metadata = {"next_cursor": f"next:{start + n}" if more else ""}
        return Answer(
            body={"ok": True, field: found[start : start + n], "has_more": more, "response_metadata": metadata}
        )


def channel(key: str, name: str, **fields: Any) -> dict[str, Any]:
    base = {
        "id": key,
        "name": name,
        "is_channel": True,
        "is_private": False,
        "is_archived": False,
        "is_member": True,
    }
    return {**base, **fields}


def user(name: str, **fields: Any) -> dict[str, Any]:
    profile = {"real_name": name.title(), "display_name": name, "email": f"{name.title()}@acme.example"}
    return {
        "id": f"U{name.upper()}",
        "team_id": "T0ACME",
        "name": name,
        "deleted": False,
        "profile": profile,
        **fields,
    }


def refused(error: str) -> Answer:
    return Answer(body={"ok": False, "error": error})


def _is_reply(one: dict[str, Any]) -> bool:
    return one.get("thread_ts", one["ts"]) != one["ts"] and one.get("subtype") != "thread_broadcast"


def _kind(one: dict[str, Any]) -> str:
    return "private_channel" if one["is_private"] else "public_channel"
