"""Any OpenAI-compatible chat endpoint (vLLM first), over aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from llmops.clients.sse import EventSplitter, EventTooLargeError, data_of
from llmops.errors import (
    EndpointProtocolError,
    EndpointRejectedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
)
from llmops.records import Delta, Message, Usage

_MAX_BODY_BYTES = 64_000_000
_KEEP_ALIVE_S = 4.0  # uvicorn, and so vLLM, closes an idle connection after 5 s
_KNOWN = frozenset(("temperature", "top_p", "max_tokens", "seed", "stop", "presence_penalty", "frequency_penalty"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, for the first byte, between two pieces, and in all."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 900.0


class OpenAIChat:
    """One endpoint; its connections are kept open and shared by all requests of one event loop.

    Args:
        base_url: up to and including `/v1`.
        model: what the endpoint calls it.
        api_key: sent as a bearer token, or "".
    """

    def __init__(
        self, *, name: str, base_url: str, model: str, api_key: str = "", timeouts: Timeouts | None = None
    ) -> None:
        self.name, self.model = name, model
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeouts = timeouts or Timeouts()
        self._session: aiohttp.ClientSession | None = None

    async def stream(
        self, messages: Sequence[Message], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Delta, None]:
        """Deltas of one answer, as `ChatModel.stream`."""
        body = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            **{name: value for name, value in parameters.items() if name in _KNOWN},
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        finish_reason: str | None = None
        async with self.send(orjson.dumps(body)) as response:
            async for event in response.events():
                for delta in self._deltas(event):
                    finish_reason = delta.finish_reason or finish_reason
                    yield delta
        if finish_reason is None:
            raise self.cut_off()

    @asynccontextmanager
    async def send(self, body: bytes) -> AsyncIterator[EndpointResponse]:
        """POST raw JSON bytes and hand over the response as it arrives.

        Raises:
            EndpointError: it cannot be reached, is too slow, or refuses.
        """
        with self._mapped():
            try:
                async with asyncio.timeout(self._timeouts.first_byte_s):
                    response = await self._open().post(self._url, data=body, headers=self._headers)
            except TimeoutError:
                raise self.too_slow(f"no answer within {self._timeouts.first_byte_s:g} s") from None
            async with response:
                wrapped = EndpointResponse(self, response, self._timeouts)
                if response.status >= 400:
                    raise await self._rejected(response, wrapped)
                yield wrapped

    async def check(self) -> str:
        """Ask for `/models`: "" when the endpoint answers, or one sentence on why it does not."""
        url = self._url.replace("/chat/completions", "/models")
        try:
            with self._mapped():
                async with (
                    asyncio.timeout(self._timeouts.connect_s),
                    self._open().get(url, headers=self._headers) as r,
                ):
                    if r.status == 200:
                        return ""
                    return f"model endpoint {self.name!r} answers {url} with status {r.status}"
        except TimeoutError:
            return f"model endpoint {self.name!r} at {url} does not answer within {self._timeouts.connect_s:g} s"
        except (EndpointUnreachableError, EndpointTimeoutError, EndpointProtocolError) as error:
            return str(error)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(
                total=self._timeouts.total_s, sock_connect=self._timeouts.connect_s, sock_read=None
            )
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self._session

    def _deltas(self, event: bytes) -> Iterator[Delta]:
        data = data_of(event)
        if not data or data == b"[DONE]":
            return
        try:
            chunk = orjson.loads(data)
            if error := chunk.get("error"):
                raise EndpointProtocolError(
                    f"model endpoint {self.name!r} broke off: {_message(error)}", endpoint=self.name
                )
            usage = chunk.get("usage")
            for choice in chunk["choices"]:
                yield Delta(text=choice["delta"].get("content") or "", finish_reason=choice.get("finish_reason"))
            if usage:
                yield Delta(
                    usage=Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"])
                )
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise self.nonsense(data) from error

    def nonsense(self, data: bytes) -> EndpointProtocolError:
        shown = data[:80].decode("utf-8", "replace")
        problem = f"model endpoint {self.name!r} answered with something that is not a chat completion: {shown!r}"
        return EndpointProtocolError(f"{problem}; is {self._url} an OpenAI-compatible API?", endpoint=self.name)

    async def _rejected(
        self, response: aiohttp.ClientResponse, wrapped: EndpointResponse
    ) -> EndpointRejectedError:
        body = (await wrapped.read())[:10_000]
        try:
            value = orjson.loads(body)
            said = _message(value.get("error", value)) if isinstance(value, dict) else str(value)
        except orjson.JSONDecodeError:
            said = body[:200].decode("utf-8", "replace").strip() or response.reason or "no reason given"
        return EndpointRejectedError(
            f"model endpoint {self.name!r} refused the request ({response.status}): {said}",
            endpoint=self.name,
            status=response.status,
            retry_after=response.headers.get("Retry-After"),
        )

    def too_slow(self, what: str) -> EndpointTimeoutError:
        return EndpointTimeoutError(f"model endpoint {self.name!r}: {what}; try again", endpoint=self.name)

    def cut_off(self) -> EndpointProtocolError:
        return EndpointProtocolError(
            f"model endpoint {self.name!r} cut the answer off before its end; try again", endpoint=self.name
        )

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """aiohttp's errors as ours, most specific first."""
        try:
            yield
        except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError) as error:
            raise self.too_slow("it does not accept a connection in time") from error
        except aiohttp.ClientConnectorError as error:
            problem = f"model endpoint {self.name!r} cannot be reached at {self._url} ({error.strerror or error})"
            raise EndpointUnreachableError(
                f"{problem}; start it, or mend its base_url in serving/models.yaml", endpoint=self.name
            ) from error
        except aiohttp.InvalidURL as error:
            problem = f"model endpoint {self.name!r} has no valid base_url ({self._url!r})"
            raise EndpointUnreachableError(f"{problem}; mend serving/models.yaml", endpoint=self.name) from error
        except aiohttp.ClientResponseError as error:
            problem = f"model endpoint {self.name!r} does not speak HTTP as expected ({error.message})"
            raise EndpointProtocolError(f"{problem}; is {self._url} right?", endpoint=self.name) from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as error:
            raise self.cut_off() from error


class EndpointResponse:
    """A response under way: read it whole, in pieces, or event by event; each wait has its limit."""

    def __init__(self, endpoint: OpenAIChat, response: aiohttp.ClientResponse, timeouts: Timeouts) -> None:
        self._endpoint, self._response, self._timeouts = endpoint, response, timeouts

    @property
    def is_stream(self) -> bool:
        return self._response.content_type == "text/event-stream"

    async def pieces(self) -> AsyncIterator[bytes]:
        """Bytes as they arrive."""
        while True:
            try:
                async with asyncio.timeout(self._timeouts.idle_s):
                    piece = await self._response.content.readany()
            except TimeoutError:
                raise self._endpoint.too_slow(f"silent for {self._timeouts.idle_s:g} s") from None
            if not piece:
                return
            yield piece

    async def read(self) -> bytes:
        """The whole body, at most 64 MB."""
        parts, size = [], 0
        async for piece in self.pieces():
            size += len(piece)
            if size > _MAX_BODY_BYTES:
                raise EndpointProtocolError(
                    f"model endpoint {self._endpoint.name!r} answered more than {_MAX_BODY_BYTES} bytes",
                    endpoint=self._endpoint.name,
                )
            parts.append(piece)
        return b"".join(parts)

    async def events(self) -> AsyncIterator[bytes]:
        """Whole server-sent events, one by one."""
        async for batch in self.batches():
            for event in batch:
                yield event

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Whole server-sent events, those together that arrived together.

        Raises:
            EndpointProtocolError: the body is no event stream.
        """
        if not self.is_stream:
            raise self._endpoint.nonsense(await self.read())
        splitter = EventSplitter()
        try:
            async for piece in self.pieces():
                if batch := list(splitter.feed(piece)):
                    yield batch
        except EventTooLargeError as error:
            raise self._endpoint.nonsense(splitter.rest) from error
        if splitter.rest:
            yield [splitter.rest]


def _message(error: Any) -> str:
    value = error.get("message") if isinstance(error, dict) else error
    return str(value or "no reason given")[:500]
