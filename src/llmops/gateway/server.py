"""Running the gateway: a port of our own, and a clean end on Ctrl-C."""

from __future__ import annotations

import errno
import gc
import ipaddress
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from llmops.errors import ConfigurationError
from llmops.gateway.app import create_app
from llmops.workspace.opened import Workspace

_GRACE_S = 5
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
    with _listen(host, port) as listener:
        token = secrets.token_urlsafe(32)
        app = create_app(workspace, token=token, is_local=_is_loopback(host))
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
            _Server(config, lambda: on_ready(url)).run(sockets=[listener])
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGTERM, before)


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
