"""Running the gateway: a port of our own, and a clean end on Ctrl-C."""

from __future__ import annotations

import errno
import gc
import ipaddress
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from llmops.errors import ConfigurationError, StorageError
from llmops.gateway.app import create_app
from llmops.workspace.opened import Workspace
from llmops.workspace.queues import OWNER_ID, open_jobs

if TYPE_CHECKING:
    from llmops.jobs.engine import Jobs

_GRACE_S = 5
_QUEUES_OPEN_S = 30
_log = logging.getLogger("llmops.gateway")
_SWITCH_S = 0.001  # the trace writer gives the interpreter back to the event loop this soon; Python's own is 5 ms
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where a client on this machine finds us


def serve(workspace: Workspace, *, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it; `on_ready` gets the URL once the port is open.

    Raises:
        ConfigurationError: the port is taken, or the address is not loopback and no API key exists.
    """
    if not _is_loopback(host) and workspace.keys.is_empty:
        problem = f"{host!r} can be reached from other machines and there is no API key"
        raise ConfigurationError(f"{problem}; make one with `llmops key create NAME`, or keep --host 127.0.0.1")
    with _listen(host, port) as listener, _Queues(workspace) as queues:
        token = secrets.token_urlsafe(32)
        app = create_app(workspace, token=token, is_local=_is_loopback(host), queues=queues.get)
        shown = _LOOPBACK_OF.get(host, host)
        shown = f"[{shown}]" if ":" in shown else shown
        url = f"http://{shown}:{listener.getsockname()[1]}"
        if workspace.ownership is not None:
            workspace.ownership.announce(url=url, token=token)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here reads a client's address
            timeout_graceful_shutdown=_GRACE_S,
        )
        # uvicorn shuts down on a signal and then raises it again; both of ours end here, in good order.
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            queues.open_soon()
            _Server(config, lambda: on_ready(url)).run(sockets=[listener])
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGTERM, before)


class _Queues:
    """The job queues with the worker of this process; they open while the gateway starts, which need not wait."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._opening = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llmops-queues")
        self._jobs: Future[Jobs] | None = None

    def open_soon(self) -> None:
        """Begin to open them; an error is raised by who asks for them, and logged."""
        embedded = self._workspace.ownership is not None
        work = partial(open_jobs, self._workspace, worker_id=OWNER_ID if embedded else "")
        self._jobs = self._opening.submit(work)
        self._jobs.add_done_callback(_tell_failure)

    def get(self) -> Jobs:
        """The queues, once they are open."""
        if self._jobs is None:
            raise StorageError("the job queues are not open")
        return self._jobs.result(timeout=_QUEUES_OPEN_S)

    def __enter__(self) -> _Queues:
        return self

    def __exit__(self, *_: object) -> None:
        if self._jobs is not None and self._jobs.exception() is None:
            self._jobs.result().close()
        self._opening.shutdown()


def _tell_failure(opened: Future[Jobs]) -> None:
    if not opened.cancelled() and (error := opened.exception()) is not None:
        _log.warning("no scheduled or queued ingestion will run here: %s", error)


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded now lives as long as the process: a full collection over it stops all requests for 0.1 s.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(_SWITCH_S)
        if self.started:
            self._on_ready()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            problem = f"port {port} on {host} is in use; stop what uses it or pass --port"
        elif number == errno.EACCES:
            problem = f"port {port} may not be opened by this user; pass a --port above 1023"
        else:
            problem = f"cannot listen on {host}:{port} ({error}); pass another --host or --port"
        raise ConfigurationError(problem) from error
