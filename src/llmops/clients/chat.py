"""Any OpenAI-compatible chat endpoint (vLLM first), over aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
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
_LAST_WORDS_S = 0.05
_MAX_TOKENS = 2**31  # what a column of the ledger holds
_DONE = b"[DONE]"
_KNOWN = frozenset(("temperature", "top_p", "max_tokens", "seed", "stop", "presence_penalty", "frequency_penalty"))
_KEY_CURE = "set the variable that api_key_env names in serving/models.yaml"
_CURES = {
    401: _KEY_CURE,
    403: _KEY_CURE,
    404: "are base_url and model right in serving/models.yaml?",
    429: "try again later",
    503: "try again",
}


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
        self._base_url = base_url.rstrip("/")
        self._url = f"{self._base_url}/chat/completions"
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.timeouts = timeouts or Timeouts()
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
            response = await self._post(body)
            async with response:
                wrapped = EndpointResponse(self, response)
                if response.status >= 300:
                    raise await self._rejected(response, wrapped)
                yield wrapped

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        """The response once its head is there; following a redirect could carry the conversation elsewhere."""
        limit = asyncio.timeout(self.timeouts.first_byte_s)
        try:
            async with limit:
                return await self._open().post(self._url, data=body, headers=self._headers, allow_redirects=False)
        except aiohttp.ServerTimeoutError:
            raise
        except TimeoutError:
            raise self.too_late(limit, f"no answer within {self.timeouts.first_byte_s:g} s") from None

    async def check(self) -> str:
        """Ask for `/models`: "" when the endpoint answers, or one sentence on why it does not."""
        url = f"{self._base_url}/models"
        try:
            with self._mapped():
                async with (
                    asyncio.timeout(self.timeouts.connect_s),
                    self._open().get(url, headers=self._headers) as r,
                ):
                    if r.status == 200:
                        return ""
                    return f"model endpoint {self.name!r} answers {url} with status {r.status}"
        except TimeoutError:
            return f"model endpoint {self.name!r} at {url} does not answer within {self.timeouts.connect_s:g} s"
        except (EndpointUnreachableError, EndpointTimeoutError, EndpointProtocolError) as error:
            return str(error)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(
                total=self.timeouts.total_s, sock_connect=self.timeouts.connect_s, sock_read=None
            )
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self._session

    def _deltas(self, event: bytes) -> Iterator[Delta]:
        data = data_of(event)
        if not data or data == _DONE:
            return
        try:
            chunk = orjson.loads(data)
            if error := chunk.get("error"):
                raise self.broke_off(error)
            for choice in chunk["choices"]:
                text, finish_reason = choice["delta"].get("content") or "", choice.get("finish_reason")
                if not isinstance(text, str) or not isinstance(finish_reason, str | None):
                    raise self.nonsense(data)
                yield Delta(text=text, finish_reason=finish_reason)
            if usage := read_usage(chunk.get("usage")):
                yield Delta(usage=usage)
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
        cure = _CURES.get(response.status, "look at its log" if response.status >= 500 else "")
        if response.status < 400:
            said, cure = f"it redirects to {response.headers.get('Location')!r}", "write that as its base_url"
        problem = f"model endpoint {self.name!r} refused the request ({response.status}): {said}"
        return EndpointRejectedError(
            f"{problem.rstrip('.')}; {cure}" if cure else problem,
            endpoint=self.name,
            status=response.status,
            retry_after=response.headers.get("Retry-After"),
        )

    def broke_off(self, error: Any) -> EndpointProtocolError:
        """What an endpoint says in the middle of a stream when it cannot go on."""
        return EndpointProtocolError(
            f"model endpoint {self.name!r} broke off: {_message(error)}; look at its log", endpoint=self.name
        )

    def too_late(self, limit: asyncio.Timeout, what: str) -> EndpointTimeoutError:
        """The limit that ran out: ours for this wait, or the one for the whole answer."""
        return self.too_slow(what if limit.expired() else f"not done within {self.timeouts.total_s:g} s")

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
            raise self.too_slow(f"no connection within {self.timeouts.connect_s:g} s") from error
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

    def __init__(self, endpoint: OpenAIChat, response: aiohttp.ClientResponse) -> None:
        self._endpoint, self._response = endpoint, response

    @property
    def is_stream(self) -> bool:
        return self._response.content_type == "text/event-stream"

    async def pieces(self) -> AsyncIterator[bytes]:
        """Bytes as they arrive."""
        idle_s = self._endpoint.timeouts.idle_s
        while True:
            limit = asyncio.timeout(idle_s)
            try:
                async with limit:
                    piece = await self._response.content.readany()
            except TimeoutError:
                raise self._endpoint.too_late(limit, f"silent for {idle_s:g} s") from None
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
        """Whole server-sent events, those together that arrived together, up to `[DONE]`.

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
                    if data_of(batch[-1]) == _DONE:
                        await self._see_the_end()
                        return
        except EventTooLargeError as error:
            problem = f"model endpoint {self._endpoint.name!r} sent {error}"
            raise EndpointProtocolError(f"{problem}; look at its log", endpoint=self._endpoint.name) from error
        if splitter.rest:
            yield [splitter.rest]

    async def _see_the_end(self) -> None:
        """Nothing more is expected; a body seen to its end leaves a connection that can be used again."""
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._response.content.readany()


def read_usage(value: Any) -> Usage | None:
    """An OpenAI `usage` object, or None where it is absent or says something else."""
    match value:
        case {"prompt_tokens": int(n_in), "completion_tokens": int(n_out)} if (
            0 <= n_in < _MAX_TOKENS and 0 <= n_out < _MAX_TOKENS
        ):
            return Usage(input_tokens=n_in, output_tokens=n_out)
        case _:
            return None


def _message(error: Any) -> str:
    value = error.get("message") if isinstance(error, dict) else error
    return str(value or "no reason given")[:500]
