"""A real HTTP server on loopback whose answers a test decides, and which remembers what it was asked."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request. `target` is path and query as sent; `path` and `query` are decoded. `at_s`: monotonic clock."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back. `body` is sent as it is when bytes, else as JSON. `drop` closes the connection instead."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(kw_only=True)
class Fault:
    """Answers given instead of the vendor's own to requests whose target matches.

    Attributes:
        after: so many matching requests are served first.
        times: so many get the fault; None: all that follow.
    """

    pattern: re.Pattern[str]
    answer: Callable[[Asked], Answer]
    after: int = 0
    times: int | None = None

    def strikes(self, asked: Asked) -> bool:
        if not self.pattern.search(asked.target):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class VendorServer:
    """Serves `answer` until it is left; `url` is where."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Requests)
        self._server.daemon_threads = True
        self._server.vendor = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> VendorServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(
        self, pattern: str, answer: Answer | Callable[[Asked], Answer], *, after: int = 0, times: int | None = None
    ) -> Fault:
        """Answer requests that match `pattern` (a regular expression over path and query) so."""
        give = answer if callable(answer) else lambda _: answer
        fault = Fault(pattern=re.compile(pattern), answer=give, after=after, times=times)
        self.faults.append(fault)
        return fault

    def matching(self, pattern: str) -> list[Asked]:
        """Requests so far whose target matches."""
        return [one for one in self.asked if re.search(pattern, one.target)]

    def serve(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            fault = next((one for one in self.faults if one.strikes(asked)), None)
        return fault.answer(asked) if fault is not None else self.answer(asked)


class _Server(ThreadingHTTPServer):
    vendor: VendorServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is what some tests are about; anything else is a fault of theirs."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _do(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        asked = Asked(
            method=self.command,
            target=self.path,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
            at_s=time.monotonic(),
        )
        answer = self.server.vendor.serve(asked)
        if answer.drop:
            self.close_connection = True
            return
        raw = answer.raw
        kind = "application/octet-stream" if isinstance(answer.body, bytes) else "application/json"
        headers = {"Content-Type": kind, "Content-Length": str(len(raw)), **answer.headers}
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def do_GET(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def do_HEAD(self) -> None:
        self._do()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Say nothing: what was asked is remembered."""
