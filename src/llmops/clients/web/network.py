"""The sockets below HTTP: connected to checked addresses, and never waiting past a deadline. Imports httpcore."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpcore

from llmops.clients.web.addresses import Guard


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to the very addresses that a guard checked: a name cannot change in between (DNS rebinding).

    `httpx` offers no public way to choose a connection's address; its own lower half, `httpcore`, does.

    Args:
        below: opens the sockets; it is given addresses only, never names.

    Attributes:
        deadline: `.at`, on the monotonic clock, for everything the calling thread does.
    """

    def __init__(self, guard: Guard, below: httpcore.NetworkBackend | None = None) -> None:
        self._guard = guard
        self._below = below or httpcore.SyncBackend()
        self.deadline = Deadline()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first of the host's addresses that answers."""
        try:
            addresses = self._guard.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host!r} cannot be resolved") from error
        failure: Exception | None = None
        for address in addresses:
            try:
                stream = self._below.connect_tcp(
                    address,
                    port,
                    timeout=self.deadline.within(timeout, httpcore.ConnectTimeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return BoundedStream(stream, self.deadline)
        raise failure or httpcore.ConnectError(f"the name {host!r} has no address")

    def sleep(self, seconds: float) -> None:
        """Used by httpcore's own retries, which are switched off."""
        self._below.sleep(seconds)


class Deadline(threading.local):
    """Until when the calling thread may wait."""

    at: float = float("inf")

    def within(self, timeout: float | None, error: type[Exception]) -> float | None:
        """The smaller of `timeout` and what is left."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise error("the time for this request is used up")
        if timeout is None and left == float("inf"):
            return None
        return min(left, timeout) if timeout is not None else left


class BoundedStream(httpcore.NetworkStream):
    """A connection whose every step ends by the deadline: a server that drips cannot hold a thread."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As `httpcore.NetworkStream.read`."""
        return self._stream.read(max_bytes, self._deadline.within(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As `httpcore.NetworkStream.write`."""
        self._stream.write(buffer, self._deadline.within(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        """As `httpcore.NetworkStream.close`."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """TLS for the name that was asked for, not for the address."""
        left = self._deadline.within(timeout, httpcore.ConnectTimeout)
        return BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """As `httpcore.NetworkStream.get_extra_info`."""
        return self._stream.get_extra_info(info)


@cache
def _trusted() -> ssl.SSLContext:
    """The machine's certificate authorities; reading them takes longer than a request."""
    return ssl.create_default_context()


def open_pool(network: GuardedNetwork) -> httpcore.ConnectionPool:
    """Connections that are kept open for a while and shared by threads; never through a proxy."""
    return httpcore.ConnectionPool(
        ssl_context=_trusted(),
        max_connections=32,
        max_keepalive_connections=16,
        keepalive_expiry=4.0,  # many servers close an idle connection after 5 s
        retries=0,
        network_backend=network,
    )
