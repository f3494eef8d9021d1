"""Calls of Slack's Web API: `ok` tells success, `response_metadata.next_cursor` leads on, 429 has Retry-After."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmops.clients.web import Response, WebClient
from llmops.clients.web.response import AnswerError, seconds_to_wait
from llmops.errors import DocumentError, DocumentGoneError, SourceDeniedError, SourceError
from llmops.ingestion.sources.paging import every, records_of

_DENIED = frozenset(
    """access_denied account_inactive ekm_access_denied enterprise_is_restricted invalid_auth missing_scope
    no_permission not_allowed_token_type not_authed org_login_required team_access_not_granted token_expired
    token_revoked two_factor_setup_required""".split()
)
_GONE = frozenset(("channel_not_found", "message_not_found", "not_in_channel", "thread_not_found"))
_MAX_RATE_LIMITED = 5
_MAX_PAUSE_S = 60.0
_MAX_JSON_BYTES = 64_000_000


class SlackRefusedError(SourceError):
    """A method answered `ok: false`; `code` says why, in Slack's words."""

    def __init__(self, method: str, code: str) -> None:
        self.code = code
        super().__init__(f"Slack refuses {method} with {code!r}; see the method's errors in its documentation")


class SlackApi:
    """One workspace. Methods may be called from several threads."""

    def __init__(self, client: WebClient, base_url: str) -> None:
        self._client, self._base = client, base_url

    def team(self) -> tuple[str, str]:
        """Id and address of the workspace."""
        answer = self._call("auth.test", {})
        return str(answer.get("team_id") or ""), str(answer.get("url") or "")

    def users(self) -> list[dict[str, Any]]:
        """Everybody the token may see."""
        return [one for some, _ in self._all("users.list", "members", {"limit": "200"}) for one in some]

    def channels(self, *, private: bool, archived: bool) -> list[dict[str, Any]]:
        """Channels that the app is a member of, in the order of their ids."""
        types = "public_channel,private_channel" if private else "public_channel"
        params = {"types": types, "exclude_archived": str(not archived).lower(), "limit": "200"}
        found = {
            str(one["id"]): one
            for some, _ in self._all("conversations.list", "channels", params)
            for one in some
            if one.get("id") and one.get("is_member")
        }
        return [found[key] for key in sorted(found)]

    def members(self, channel: str) -> list[str]:
        """Ids of a channel's members; [] when the channel is gone."""
        found: list[str] = []
        cursor, seen = "", set[str]()
        while True:
            given = {"channel": channel, "limit": "200", **({"cursor": cursor} if cursor else {})}
            try:
                answer = self._call("conversations.members", given)
            except SlackRefusedError as error:
                if error.code in _GONE:
                    return []
                raise
            found += [one for one in answer.get("members") or () if isinstance(one, str)]
            cursor = _cursor(answer)
            if not cursor:
                return found
            if cursor in seen:
                raise SourceError(f"the listing of members of {channel} goes in a circle; try again later")
            seen.add(cursor)

    def history(
        self, channel: str, *, oldest: str, latest: str, limit: int
    ) -> Iterator[tuple[list[dict[str, Any]], str]]:
        """Messages between two moments (both exclusive, "" is open), newest first, without replies."""
        bounds = {"oldest": oldest, "latest": latest}
        params = {"channel": channel, "limit": str(limit), **{name: ts for name, ts in bounds.items() if ts}}
        yield from self._all("conversations.history", "messages", params)

    def one_day(self, channel: str, oldest: str, latest: str, *, max_bytes: int) -> list[dict[str, Any]]:
        """As `history`, both ends inclusive, for one document."""
        params = {"channel": channel, "limit": "200", "oldest": oldest, "latest": latest, "inclusive": "true"}
        return self._document("conversations.history", params, max_bytes)

    def replies(self, channel: str, thread: str, *, max_bytes: int) -> list[dict[str, Any]]:
        """A thread with the message it began with."""
        return self._document(
            "conversations.replies", {"channel": channel, "ts": thread, "limit": "200"}, max_bytes
        )

    def _document(self, method: str, params: Mapping[str, str], max_bytes: int) -> list[dict[str, Any]]:
        """All messages of one document, its failures told as the document's own.

        Raises:
            DocumentGoneError: channel or thread are gone.
            DocumentError: it is larger than `max_bytes`, or broken.
        """
        n_bytes = 0

        def ask(cursor: str) -> tuple[list[dict[str, Any]], str]:
            nonlocal n_bytes
            given = {**params, **({"cursor": cursor} if cursor else {})}
            at_most = min(max_bytes, _MAX_JSON_BYTES)
            response = self._client.document(f"{self._base}/{method}", params=given, max_bytes=at_most)
            n_bytes += len(response.body)
            if n_bytes > max_bytes:
                raise DocumentError(f"the conversation is larger than {max_bytes:,} bytes; raise max_file_bytes")
            answer = self._checked(method, response)
            return records_of(answer, "messages", method), _cursor(answer)

        try:
            return [one for some, _ in every(method, ask, lambda one: str(one.get("ts"))) for one in some]
        except SlackRefusedError as error:
            if error.code in _GONE:
                raise DocumentGoneError(f"the conversation is not there any more ({error.code})") from error
            raise DocumentError(str(error)) from error
        except AnswerError as error:
            raise DocumentError(str(error)) from error

    def _all(
        self, method: str, field: str, params: Mapping[str, str]
    ) -> Iterator[tuple[list[dict[str, Any]], str]]:
        def ask(cursor: str) -> tuple[list[dict[str, Any]], str]:
            answer = self._call(method, {**params, **({"cursor": cursor} if cursor else {})})
            return records_of(answer, field, method), _cursor(answer)

        yield from every(method, ask, lambda one: str(one.get("ts") or one.get("id")))

    def _call(self, method: str, params: Mapping[str, str]) -> dict[str, Any]:
        for n in range(_MAX_RATE_LIMITED):
            response = self._client.get(f"{self._base}/{method}", params=params)
            if response.status in (401, 403):
                raise SourceDeniedError(f"{response.shown} refuses our token ({response.status}); check it")
            if response.status != 200:
                raise SourceError(f"{response.shown} answered {response.status}; is base_url right?")
            try:
                return self._checked(method, response)
            except SlackRefusedError as error:
                if error.code not in ("ratelimited", "rate_limited") or n + 1 == _MAX_RATE_LIMITED:
                    raise
                asked = seconds_to_wait(response.headers)
                self._client.pause(min(2.0**n if asked is None else asked, _MAX_PAUSE_S))
        raise AssertionError("the last try either returns or raises")

    def _checked(self, method: str, response: Response) -> dict[str, Any]:
        answer = response.json()
        if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
            raise AnswerError(f"the answer to {method} is no JSON object of Slack's; is base_url right?")
        if not answer["ok"]:
            code = str(answer.get("error") or "unknown_error")[:60]
            if code in _DENIED:
                raise SourceDeniedError(
                    f"Slack refuses our token for {method} ({code}); renew it or add the scope"
                )
            raise SlackRefusedError(method, code)
        return answer


def _cursor(answer: Mapping[str, Any]) -> str:
    metadata = answer.get("response_metadata")
    return str(metadata.get("next_cursor") or "") if isinstance(metadata, dict) else ""
