"""Responses that are still being made: work and events for a client that may leave at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from typing import TypeVar

import anyio
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
_CLIENT_LEFT = 499  # nginx's word for it; nobody is there to read it


async def while_connected(request: Request, work: Awaitable[T]) -> T | Response:
    """The result of `work`, or a response for nobody when the client left first: the work is then cancelled."""
    with anyio.CancelScope() as scope:
        watcher = asyncio.create_task(_cancel_when_left(request.receive, scope))
        try:
            return await work
        finally:
            watcher.cancel()
    return Response(status_code=_CLIENT_LEFT)


async def _cancel_when_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


class StreamResponse(Response):
    """Sends pieces as they come; when the client leaves, the generator is closed at once.

    Args:
        pieces: an async generator, already past its first item where an error should still be a status.
    """

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(None, media_type=media_type, headers={"Cache-Control": "no-cache", **headers})
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when_left, receive, group.cancel_scope)
            async with aclosing(self._pieces) as pieces:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            group.cancel_scope.cancel()


async def after_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The first piece, which was waited for so that an early error is a status, and then the rest."""
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
