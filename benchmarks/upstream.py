"""A model endpoint that costs next to nothing: what is left of a request's time is the gateway's.

    python benchmarks/upstream.py        prints its port, serves until it is ended

It reads no more of a request than its path and length, and answers bytes made beforehand: about 1 KB of
completion, or a stream of 66 chunks, in one write under `/v1` and one every millisecond under `/paced/v1`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import orjson
import uvloop

N_CHUNKS = 66
PACE_S = 0.001
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_WORDS = "The handbook says that a workspace keeps its state in one folder, and that an upgrade never loses it. "
_ABOUT = {"id": "chatcmpl-0", "created": 0, "model": "mock"}
_USAGE = {"prompt_tokens": 20, "completion_tokens": N_CHUNKS, "total_tokens": 20 + N_CHUNKS}


def completion() -> bytes:
    """A whole response, head included."""
    choice = {"index": 0, "message": {"role": "assistant", "content": _WORDS * 8}, "finish_reason": "stop"}
    body = orjson.dumps({**_ABOUT, "object": "chat.completion", "choices": [choice], "usage": _USAGE})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream() -> list[bytes]:
    """The parts of a chunked response: head and first event, one event each, and the end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = [_event([_choice({"content": " word"}, None)]) for _ in range(N_CHUNKS - 2)]
    events += [_event([_choice({}, "stop")]), _event([], usage=_USAGE)]
    return [head + events[0], *events[1:], b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


def _choice(delta: dict[str, str], finish_reason: str | None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    chunk = {**_ABOUT, "object": "chat.completion.chunk", "choices": choices, **more}
    event = b"data: " + orjson.dumps(chunk) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


COMPLETION, STREAM = completion(), stream()
STREAM_AT_ONCE = b"".join(STREAM)


class Endpoint(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are of no asyncio class
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self._buffer = b""
        if b'"stream":true' not in body:
            self._transport.write(COMPLETION)
        elif b"/paced/" in head.partition(b"\r\n")[0]:
            self._write_paced(0)
        else:
            self._transport.write(STREAM_AT_ONCE)

    def _write_paced(self, n: int) -> None:
        if n == len(STREAM) or self._transport.is_closing():
            return
        self._transport.write(STREAM[n])
        asyncio.get_running_loop().call_later(PACE_S, self._write_paced, n + 1)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        uvloop.run(serve())
    except KeyboardInterrupt:
        sys.exit(0)
