"""Requests to an embeddings endpoint: a loop in a thread of its own, retries, and waiting when told to wait."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import math
import random
import threading
import time
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from llmops.errors import (
    EndpointError,
    EndpointProtocolError,
    EndpointRejectedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
)

T = TypeVar("T")
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses after which the same request may succeed."""
_BUSY = frozenset((429, 503))
"""Statuses that speak of the endpoint and not of the request: all requests wait."""
_LONGEST_WAIT_S = 120.0
_LAST_WORDS_S = 5.0
_TOLD_BYTES = 300
_KEY_CURE = "set the variable that embed.api_key_env names"
_CURES = {
    401: _KEY_CURE,
    403: _KEY_CURE,
    404: "are embed.base_url and embed.model right?",
    429: "try again later, or lower embed.n_concurrent",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a request may take.

    Attributes:
        n_attempts: sendings before its error counts.
        timeout_s: of one sending.
        total_s: of all of them and the waits between; None for no limit beyond theirs.
    """

    n_attempts: int
    timeout_s: float
    total_s: float | None = None


class _Line:
    """A loop in a daemon thread, the connections that live in it, and how many lists may use them at a time."""

    def __init__(self, n_connections: int) -> None:
        self.free = asyncio.Semaphore(n_connections)
        self._n_connections = n_connections
        self._session: aiohttp.ClientSession | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_turn, args=(self._loop,), name="embedding-endpoint", daemon=True).start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=2 * self._n_connections + 8, keepalive_timeout=4.0)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    def close(self) -> None:
        if not self._loop.is_closed():
            self.submit(self._end()).result(_LAST_WORDS_S)
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


class Sender:
    """Posts JSON to one URL from any thread.

    Args:
        endpoint: its name, for errors.
        n_connections: kept open for lists; a question has a connection of its own.
    """

    def __init__(self, url: str, *, endpoint: str, api_key: str, n_connections: int) -> None:
        self._url, self._endpoint = url, endpoint
        self.said = f"embedding endpoint {endpoint!r} at {url}"
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._n_connections = n_connections
        self._not_before = 0.0
        self._opening = threading.Lock()
        self._line: _Line | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin work in the loop; its future may be waited for, or cancelled, on any thread."""
        with self._opening:
            if self._line is None:
                self._line = _Line(self._n_connections)
                weakref.finalize(self, self._line.close)  # also at the end of the process
            return self._line.submit(work)

    def close(self) -> None:
        """Close the connections and end the thread; a later request begins anew."""
        with self._opening:
            line, self._line = self._line, None
        if line is not None:
            line.close()

    async def post(self, body: bytes, *, most_bytes: int, patience: Patience, is_query: bool) -> bytes:
        """The body of the answer, at most `most_bytes` of it.

        A question does not stand in line behind the lists, and it does not wait longer than its patience.

        Raises:
            EndpointError: after the last attempt, or at once where another would change nothing.
        """
        started = time.monotonic()
        if (line := self._line) is None:
            raise EndpointUnreachableError(f"{self.said} was closed", endpoint=self._endpoint)
        for attempt in range(1, patience.n_attempts + 1):
            try:
                async with contextlib.nullcontext() if is_query else line.free:
                    await self._pause(patience, started)
                    timeout_s = min(patience.timeout_s, max(_left_s(patience, started), 0.001))
                    return await self._once(line, body, most_bytes, timeout_s)
            except EndpointError as error:
                wait_s = _wait_s(error, attempt)
                is_late = wait_s > _left_s(patience, started)
                if attempt == patience.n_attempts or is_late or not _may_pass(error):
                    raise
                if isinstance(error, EndpointRejectedError) and error.status in _BUSY:
                    self._not_before = max(self._not_before, time.monotonic() + wait_s)
                else:
                    await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _pause(self, patience: Patience, started: float) -> None:
        """Wait as long as the endpoint asked of all, or refuse where that is longer than this request has."""
        wait_s = self._not_before - time.monotonic()
        if wait_s > _left_s(patience, started):
            raise EndpointRejectedError(
                f"{self.said} is busy and asked us to wait; {_CURES[429]}",
                endpoint=self._endpoint,
                status=429,
                retry_after=f"{wait_s:.0f}",
            )
        await asyncio.sleep(wait_s)

    async def _once(self, line: _Line, body: bytes, most_bytes: int, timeout_s: float) -> bytes:
        try:
            async with (
                asyncio.timeout(timeout_s),
                # A redirect could carry key and texts elsewhere.
                line.session().post(
                    self._url, data=body, headers=self._headers, allow_redirects=False
                ) as response,
            ):
                if response.status >= 300:
                    told = await response.content.read(_TOLD_BYTES)
                    raise self._rejected(response.status, told, response.headers.get("Retry-After"))
                return await self._whole(response, most_bytes)
        except (aiohttp.ClientError, ConnectionError) as error:  # before TimeoutError: connecting has its own
            problem = f"{self.said} cannot be reached ({str(error) or type(error).__name__})"
            raise EndpointUnreachableError(f"{problem}; is it running?", endpoint=self._endpoint) from error
        except TimeoutError as error:
            problem = (
                f"{self.said} did not answer within {timeout_s:.3g} s; raise embed.timeout_s or lower its load"
            )
            raise EndpointTimeoutError(problem, endpoint=self._endpoint) from error

    async def _whole(self, response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
        pieces, size = [], 0
        async for piece in response.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > most_bytes:
                problem = f"{self.said} answers with more than {most_bytes} bytes"
                raise EndpointProtocolError(f"{problem}; is embed.dimension right?", endpoint=self._endpoint)
        return b"".join(pieces)

    def _rejected(self, status: int, body: bytes, retry_after: str | None) -> EndpointRejectedError:
        told = " ".join(body.decode("utf-8", "replace").split())
        cure = f"; {_CURES[status]}" if status in _CURES else ""
        return EndpointRejectedError(
            f"{self.said} answered {status}{f' ({told})' if told else ''}{cure}",
            endpoint=self._endpoint,
            status=status,
            retry_after=retry_after,
        )


def _left_s(patience: Patience, started: float) -> float:
    """Seconds until `total_s` are over."""
    return math.inf if patience.total_s is None else patience.total_s - (time.monotonic() - started)


def _may_pass(error: EndpointError) -> bool:
    if isinstance(error, EndpointRejectedError):
        return error.status in _PASSING
    return isinstance(error, EndpointUnreachableError | EndpointTimeoutError)


def _wait_s(error: EndpointError, attempt: int) -> float:
    """What the endpoint asks for, or a growing time with chance in it, so that clients do not return together."""
    told = retry_after_s(error.retry_after) if isinstance(error, EndpointRejectedError) else None
    return min(told, _LONGEST_WAIT_S) if told is not None else min(0.5 * 2**attempt, 30.0) * random.uniform(0.5, 1)


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a `Retry-After`, a number or a date; None where it says nothing that can be read."""
    if header is None:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
