"""A model endpoint on a real socket that does what a test tells it to, well or badly."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Handler = Callable[["Exchange"], None]


@dataclass(kw_only=True)
class Exchange:
    """One request that arrived, and the connection to answer it on."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: socket.socket

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def head(self, *, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """A head without a length: the body ends with the connection."""
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def answer(self, body: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.head(status=status, kind=kind, Content_Length=str(len(body)), **headers)
        self.send(body)

    def json(self, value: Any, *, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(value).encode(), status=status, **headers)

    def event(self, value: Any) -> None:
        self.send(event(value))

    def left_within(self, seconds: float) -> bool:
        """True when the other side closes the connection in time."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if not readable:
            return False
        try:
            return self.connection.recv(1) == b""
        except OSError:
            return True


@dataclass(kw_only=True)
class Upstream:
    """The listening socket; `handler` answers each request in a thread of its own."""

    handler: Handler = field(default=lambda exchange: exchange.json({}, status=500))
    requests: list[Exchange] = field(default_factory=list)
    url: str = ""
    connections: int = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        # A client that leaves in the middle is what many tests are about.
        with connection, contextlib.suppress(OSError):
            while (exchange := read_request(connection)) is not None:
                self.requests.append(exchange)
                self.handler(exchange)
                if exchange.headers.get("x-keep") != "alive":
                    return


@contextlib.contextmanager
def open_upstream() -> Iterator[Upstream]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Upstream(url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        thread = threading.Thread(target=upstream.serve, args=(listener,), daemon=True)
        thread.start()
        yield upstream
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def read_request(connection: socket.socket) -> Exchange | None:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65_536)
        if not piece:
            return None
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    method, path, _ = first.split(" ")
    return Exchange(
        method=method, path=path, headers=headers, body=json.loads(body or b"{}"), connection=connection
    )


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def piece(content: Any = None, *, finish: str | None = None, **extra: Any) -> dict[str, Any]:
    """One `chat.completion.chunk`."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return head | {"choices": [choice]} | extra


def usage_event(tokens: tuple[int, int]) -> dict[str, Any]:
    return piece() | {"choices": [], "usage": usage(tokens)}


def usage(tokens: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}


def stream_of(*pieces: str, finish: str | None = "stop", tokens: tuple[int, int] | None = (11, 7)) -> bytes:
    """A whole event stream, as vLLM sends it."""
    events = [event(piece(text)) for text in pieces]
    if finish is not None:
        events.append(event(piece(finish=finish)))
    if tokens is not None:
        events.append(event(usage_event(tokens)))
    return b"".join(events) + DONE


def answering(*pieces: str, finish: str = "stop", tokens: tuple[int, int] | None = (11, 7)) -> Handler:
    """Answers well: at once, or as a stream when asked to."""

    def handle(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            exchange.head()
            exchange.send(stream_of(*pieces, finish=finish, tokens=tokens))
            return
        message = {"role": "assistant", "content": "".join(pieces)}
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        value = {"id": "up-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
        exchange.json(value | ({} if tokens is None else {"usage": usage(tokens)}))

    return handle


def refusing(status: int, message: str, **headers: str) -> Handler:
    """Answers with an error in OpenAI's shape."""
    return lambda exchange: exchange.json({"error": {"message": message}}, status=status, **headers)


def streaming(*data: bytes, then: Handler = lambda _: None, kind: str = "text/event-stream") -> Handler:
    """Sends these bytes, does `then`, and closes the connection."""

    def handle(exchange: Exchange) -> None:
        exchange.head(kind=kind)
        for part in data:
            exchange.send(part)
        then(exchange)

    return handle


def hang(exchange: Exchange) -> None:
    """Says nothing more until the other side gives up."""
    exchange.left_within(20)
