"""Who may call what: one pure-ASGI middleware, no database call."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llmops.errors import ForbiddenError, LlmopsError, TooLargeError, UnauthenticatedError
from llmops.gateway.errors import response_to
from llmops.records import EVERYONE, Caller
from llmops.workspace.keys import KeyBook

MAX_BODY_BYTES = 10_000_000
_OPEN_PATHS = frozenset(("/", "/healthz", "/readyz", "/favicon.ico"))
_LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
_ASKING_ROLES = frozenset(("app", "prompt-engineer", "ml-engineer", "admin"))
_SOURCE_PATHS = frozenset(("/api/documents", "/api/ingest/events"))
_ANONYMOUS = Caller()
_OWNER = Caller(name="owner", role="admin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Doors:
    """What the middleware decides by.

    Attributes:
        token: the owner's, for the CLI on this machine.
        is_local: the gateway listens on loopback only, where no key is needed until there is one.
    """

    keys: KeyBook
    token: str
    is_local: bool

    @property
    def are_open(self) -> bool:
        return self.is_local and self.keys.is_empty


class Access:
    """Checks host, origin, key, role and declared size, and leaves the `Caller` in the request's state.

    An administrator may ask with the eyes of others (`X-Llmops-Principals: a,b`, `X-Llmops-Tenant: t`); nobody
    else's headers count.
    """

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope.setdefault("state", {})["caller"] = self._admit(scope, Headers(scope=scope))
            except LlmopsError as error:
                await response_to(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> Caller:
        path: str = scope["path"]
        self._check_browser(scope["method"], headers)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            raise TooLargeError(f"the body has {length} bytes; at most {MAX_BODY_BYTES} are read")
        if path in _OPEN_PATHS or path.startswith("/console/"):
            return _ANONYMOUS
        caller = self._caller(headers)
        if caller.role == "admin" and (asked := headers.get("x-llmops-principals")) is not None:
            caller = replace(caller, principals=tuple(dict.fromkeys((*asked.split(","), EVERYONE))))
        if caller.role == "admin" and (tenant := headers.get("x-llmops-tenant")) is not None:
            caller = replace(caller, tenant=tenant)
        if caller.role == "source":
            if path not in _SOURCE_PATHS or scope["method"] != "POST":
                raise ForbiddenError("a key with the role 'source' may only send documents and events")
            return caller
        if path.startswith("/api/") and caller.role != "admin":
            raise ForbiddenError(f"{path} is for administrators; use a key with the role 'admin'")
        if scope["method"] == "POST" and caller.role not in _ASKING_ROLES:
            raise ForbiddenError(
                f"a key with the role {caller.role!r} may only read; ask for one with the role 'app'"
            )
        return caller

    def _caller(self, headers: Headers) -> Caller:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() == "bearer" and secret:
            if secrets.compare_digest(secret.encode(), self._doors.token.encode()):
                return _OWNER
            if caller := self._doors.keys.caller(secret):
                return caller
        if self._doors.are_open:
            return _ANONYMOUS  # embedded on loopback; OpenAI clients send some key anyway
        problem = "this API key is not valid" if secret else "an API key is needed"
        raise UnauthenticatedError(
            f"{problem}; send 'Authorization: Bearer <key>' (`llmops key create` makes one)"
        )

    def _check_browser(self, method: str, headers: Headers) -> None:
        """A page of another site must not reach a gateway that asks for no key."""
        host = headers.get("host", "")
        if self._doors.are_open and _host_name(host) not in _LOOPBACK:
            raise ForbiddenError(
                f"the host {host!r} is not this machine's loopback; make an API key to serve others"
            )
        origin = headers.get("origin")
        if origin and method not in ("GET", "HEAD") and origin.partition("://")[2] != host:
            raise ForbiddenError(f"requests from pages of {origin!r} are not accepted")


def _host_name(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller
