"""A client that costs little beside what it measures: raw HTTP/1.1 over kept-alive loopback connections."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import orjson

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One response: when its first byte and its last came, counted from the request."""

    status: int
    n_bytes: int
    first_ms: float
    last_ms: float


class Connection(asyncio.Protocol):
    """One request at a time; the response ends by its length or with the last chunk."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport
        self._done: asyncio.Future[Reply] | None = None
        self._buffer = bytearray()
        self._started = self._first_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are of no asyncio class

    def data_received(self, data: bytes) -> None:
        if self._done is None or self._done.done():
            return
        if not self._first_at:
            self._first_at = time.perf_counter()
        self._buffer += data
        if not self._is_whole():
            return
        ended = time.perf_counter()
        reply = Reply(
            status=int(self._buffer[9:12]),
            n_bytes=len(self._buffer),
            first_ms=(self._first_at - self._started) * 1000,
            last_ms=(ended - self._started) * 1000,
        )
        self._done.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionResetError(f"the connection was closed in a response ({exc})"))

    async def ask(self, request: bytes) -> Reply:
        self._done = asyncio.get_running_loop().create_future()
        self._buffer, self._first_at, self._started = bytearray(), 0.0, time.perf_counter()
        self._transport.write(request)
        return await self._done

    def close(self) -> None:
        self._transport.close()

    def _is_whole(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self._buffer, 0, end)
        if length is not None:
            return len(self._buffer) >= end + 4 + int(length[1])
        return self._buffer.endswith(b"0\r\n\r\n")


def chat_request(base_url: str, body: dict[str, object], api_key: str = "") -> bytes:
    """The bytes of a POST to `/chat/completions` under `base_url`."""
    parts, content = urlsplit(base_url), orjson.dumps(body)
    authorization = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
    head = (
        f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def load(base_url: str, requests: Sequence[bytes], concurrency: int) -> list[Reply]:
    """All requests, `concurrency` at a time, each connection taking the next one.

    Raises:
        RuntimeError: a response was not a success.
    """
    loop, parts = asyncio.get_running_loop(), urlsplit(base_url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    made = [await loop.create_connection(Connection, host, port) for _ in range(concurrency)]
    waiting = iter(requests)
    replies: list[Reply] = []
    try:
        await asyncio.gather(*(_work(connection, waiting, replies) for _, connection in made))
    finally:
        for _, connection in made:
            connection.close()
    return replies


async def _work(connection: Connection, waiting: Iterator[bytes], replies: list[Reply]) -> None:
    for request in waiting:
        reply = await connection.ask(request)
        if reply.status != 200:
            raise RuntimeError(f"a request was answered with status {reply.status}")
        replies.append(reply)
