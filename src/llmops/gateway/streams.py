"""Responses that are still being made: work and events for a client that may leave at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmops.errors import BusyError
from llmops.gateway.errors import body_of

T = TypeVar("T")
_CLIENT_LEFT = 499  # nginx's word for it; nobody is there to read it


async def while_connected(request: Request, work: Awaitable[T]) -> T | Response:
    """The result of `work`, or a response for nobody when the client left first: the work is then cancelled.

    Raises:
        BusyError: the server cancelled the work because it is stopping.
    """
    with anyio.CancelScope() as scope:
        watcher = asyncio.create_task(_cancel_when_left(request.receive, scope))
        try:
            return await work
        except asyncio.CancelledError:
            if scope.cancel_called:
                raise
            raise _stopping() from None
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
        encode: makes a piece of an error object: the last one when the server stops in the middle.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: Mapping[str, str],
        encode: Callable[[Any], bytes],
    ) -> None:
        super().__init__(None, media_type=media_type, headers={"Cache-Control": "no-cache", **headers})
        del self.headers["content-length"]
        self._pieces, self._encode = pieces, encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when_left, receive, group.cancel_scope)
            last = b""
            try:
                await self._send_pieces(send)
            except asyncio.CancelledError:
                if group.cancel_scope.cancel_called:
                    raise
                last = self._encode(body_of(_stopping()))
            await send({"type": "http.response.body", "body": last, "more_body": False})
            group.cancel_scope.cancel()

    async def _send_pieces(self, send: Send) -> None:
        async with aclosing(self._pieces) as pieces:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})


def _stopping() -> BusyError:
    """uvicorn cancels what still runs when the time for a graceful end is over; our callers hear why.

    The task's cancellation ends here: it has a last word to send.
    """
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
    return BusyError("the gateway is stopping; try again when it is back")


async def after_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The first piece, which was waited for so that an early error is a status, and then the rest."""
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
