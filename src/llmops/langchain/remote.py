"""The line behind HTTP: a gateway that `llmops up` runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from llmops.errors import (
    BusyError,
    EndpointError,
    EndpointProtocolError,
    EndpointRejectedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
    ForbiddenError,
    LlmopsError,
    MissingExtraError,
    NotFoundError,
    RequestError,
    TooLargeError,
    UnauthenticatedError,
)

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 120.0
_LONGEST_PAUSE_S = 10.0
_BUSY = (429, 503)
_REFUSALS: dict[int, type[LlmopsError]] = {
    400: RequestError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    413: TooLargeError,
    422: RequestError,
    503: BusyError,
}
_DONE = "[DONE]"


class RemoteLine:
    """Calls a gateway. A connection is opened for each asynchronous call, and kept open between the others.

    Args:
        api_key: a key of `llmops key create`; "" for a gateway of this machine.
        principals: what an administrator's key asks with instead of its own.

    Raises:
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        principals: tuple[str, ...],
        timeout_s: float | None,
        max_retries: int,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("httpx", "langchain") from error
        self.place = base_url.rstrip("/").removesuffix("/v1")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        headers |= {"x-llmops-principals": ",".join(principals)} if principals else {}
        timeout = httpx.Timeout(timeout_s or _TIMEOUT_S, connect=10)
        verify = httpx.create_ssl_context()  # made once: it takes longer than a search
        self._settings: dict[str, Any] = {
            "base_url": self.place,
            "headers": headers,
            "timeout": timeout,
            "verify": verify,
        }
        self._n_tries = 1 + max(0, max_retries)
        self._client = httpx.Client(**self._settings)
        self._httpx = httpx
        weakref.finalize(self, self._client.close)  # LangChain closes nothing

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """As `Line.complete`."""
        return self._ask("/v1/chat/completions", body)

    async def acomplete(self, body: dict[str, Any]) -> dict[str, Any]:
        """As `Line.complete`."""
        return await self._aask("/v1/chat/completions", body)

    def search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search."""
        return self._hits(self._ask("/v1/search", body))

    async def asearch(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search."""
        return self._hits(await self._aask("/v1/search", body))

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """As `Line.stream`."""
        with self._said():
            for n in range(1, self._n_tries + 1):
                with self._client.stream("POST", "/v1/chat/completions", json=_streamed(body)) as response:
                    if response.status_code == 200:
                        yield from self._events(response.iter_lines())
                        return
                    response.read()
                time.sleep(self._pause(response, n))

    async def astream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """As `Line.stream`."""
        with self._said():
            async with self._httpx.AsyncClient(**self._settings) as client:
                for n in range(1, self._n_tries + 1):
                    async with client.stream("POST", "/v1/chat/completions", json=_streamed(body)) as response:
                        if response.status_code == 200:
                            async for line in response.aiter_lines():
                                event, is_last = self._event(line)
                                if event is not None:
                                    yield event
                                if is_last:
                                    return
                            raise self._cut_off()
                        await response.aread()
                    await asyncio.sleep(self._pause(response, n))

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._said():
            for n in range(1, self._n_tries + 1):
                response = self._client.post(path, json=body)
                if response.status_code == 200:
                    return self._object(response.content)
                time.sleep(self._pause(response, n))
        raise AssertionError("the last try is answered or raises")

    async def _aask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._said():
            async with self._httpx.AsyncClient(**self._settings) as client:
                for n in range(1, self._n_tries + 1):
                    response = await client.post(path, json=body)
                    if response.status_code == 200:
                        return self._object(response.content)
                    await asyncio.sleep(self._pause(response, n))
        raise AssertionError("the last try is answered or raises")

    def _pause(self, response: httpx.Response, n_tries: int) -> float:
        """Seconds to wait before the next try.

        Raises:
            LlmopsError: there is none: what the gateway said.
        """
        status = response.status_code
        if status not in _BUSY or n_tries >= self._n_tries:
            raise self._refusal(status, _message(response.content), response.headers.get("retry-after"))
        asked = response.headers.get("retry-after", "")
        return min(float(asked) if asked.isdecimal() else 2.0 ** (n_tries - 1), _LONGEST_PAUSE_S)

    def _refusal(self, status: int, said: str, retry_after: str | None = None) -> LlmopsError:
        message = f"{self.place} answered {status}: {said or 'without a reason'}"
        if (kind := _REFUSALS.get(status)) is not None:
            return kind(said or message)
        return EndpointRejectedError(message, endpoint=self.place, status=status, retry_after=retry_after)

    def _events(self, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
        for line in lines:
            event, is_last = self._event(line)
            if event is not None:
                yield event
            if is_last:
                return
        raise self._cut_off()

    def _event(self, line: str) -> tuple[dict[str, Any] | None, bool]:
        """The event of a line, and whether it was the last.

        Raises:
            LlmopsError: the answer broke off.
        """
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if not data or data == _DONE:
            return None, data == _DONE
        event = self._object(data.encode())
        if error := event.get("error"):
            said = error.get("message") if isinstance(error, dict) else error
            raise EndpointProtocolError(f"{self.place} broke off its answer: {said}", endpoint=self.place)
        return event, False

    def _object(self, raw: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            problem = f"{self.place} answered no JSON object; is it an llmops gateway?"
            raise EndpointProtocolError(problem, endpoint=self.place)
        return value

    def _hits(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        hits = answer.get("hits")
        if not isinstance(hits, list):
            problem = f"{self.place} answered no hits; is it an llmops gateway?"
            raise EndpointProtocolError(problem, endpoint=self.place)
        return hits

    def _cut_off(self) -> EndpointError:
        return EndpointProtocolError(f"{self.place} cut its answer off; try again", endpoint=self.place)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """httpx's errors as ours."""
        try:
            yield
        except self._httpx.TimeoutException as error:
            raise EndpointTimeoutError(
                f"{self.place} did not answer in time; try again", endpoint=self.place
            ) from error
        except self._httpx.RemoteProtocolError as error:
            raise self._cut_off() from error
        except (self._httpx.TransportError, self._httpx.InvalidURL) as error:
            problem = f"{self.place} cannot be reached ({error}); is llmops up running there?"
            raise EndpointUnreachableError(problem, endpoint=self.place) from error


def _streamed(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


def _message(raw: bytes) -> str:
    """What a gateway says in an error."""
    with contextlib.suppress(orjson.JSONDecodeError):
        match orjson.loads(raw):
            case {"error": {"message": str(message)}}:
                return message
    return ""
