"""A gateway on a port of its own, in a thread, over an open workspace."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import uvicorn

from llmops.errors import NotFoundError
from llmops.gateway.app import create_app
from llmops.records import Trace
from llmops.workspace.opened import Workspace

T = TypeVar("T")
TOKEN = "the-owner's-token"


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A running gateway; `http` speaks to it without a key."""

    url: str
    workspace: Workspace
    http: httpx.Client

    def ask(self, route: str, question: str = "When does the library open?", **extra: Any) -> httpx.Response:
        body = {"model": route, "messages": [{"role": "user", "content": question}], **extra}
        return self.http.post("/v1/chat/completions", json=body)

    def trace(self, inference_id: str) -> Trace:
        """The trace of an inference, waited for: a cancelled one is written when its last station closes."""
        return eventually(lambda: self._find(inference_id), f"no trace of {inference_id}")

    def newest(self, route: str) -> Trace:
        self.workspace.writer.flush()
        return self.workspace.traces.latest(1, route)[0]

    def count(self, route: str) -> int:
        """How many traces of a route the ledger holds."""
        self.workspace.writer.flush()
        return len(self.workspace.traces.latest(1000, route))

    def _find(self, inference_id: str) -> Trace | None:
        self.workspace.writer.flush()
        try:
            return self.workspace.traces.get(inference_id)
        except NotFoundError:
            return None


def eventually(find: Callable[[], T | None], otherwise: str, within_s: float = 10) -> T:
    """What `find` finds, tried again until it finds something true."""
    until = time.monotonic() + within_s
    while True:
        if found := find():
            return found
        assert time.monotonic() < until, otherwise
        time.sleep(0.02)


@contextlib.contextmanager
def run_gateway(workspace: Workspace, *, is_local: bool = True) -> Iterator[Gateway]:
    app = create_app(workspace, token=TOKEN, is_local=is_local)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            eventually(lambda: server.started, "the gateway did not start")
            with httpx.Client(base_url=url, timeout=30) as http:
                yield Gateway(url=url, workspace=workspace, http=http)
        finally:
            server.should_exit = True
            thread.join(20)
