"""A route without a prompt forwards: bytes to the endpoint and back, a trace and usage taken on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmops.clients.chat import OpenAIChat, read_usage
from llmops.clients.sse import data_of
from llmops.errors import ConfigurationError, EndpointProtocolError, LlmopsError
from llmops.serving.route import Record, Route
from llmops.tracing import Inference

_DONE = b"[DONE]"


def endpoint_of(route: Route) -> OpenAIChat:
    if not isinstance(route.model, OpenAIChat):
        raise ConfigurationError(f"route {route.name!r} forwards, but endpoint {route.model.name!r} is embedded")
    return route.model


async def forward(route: Route, body: dict[str, Any], inference: Inference, record: Record) -> dict[str, Any]:
    """The endpoint's own response object, with `inference_id` added.

    Raises:
        EndpointError: it failed or refused.
    """
    endpoint = endpoint_of(route)
    with _recorded(inference, record), inference.station("forward", messages=body.get("messages")) as span:
        async with endpoint.send(orjson.dumps({**body, "model": endpoint.model})) as response:
            raw = await response.read()
        value = _json_object(raw)
        if value is None or not isinstance(value.get("choices"), list):
            raise endpoint.nonsense(raw)
        inference.ttft_ms = inference.elapsed_ms
        _count(inference, route, value.get("usage"))
        span.output = {"choices": value["choices"]}
    return {**value, "inference_id": inference.inference_id}


async def forward_stream(
    route: Route, body: dict[str, Any], inference: Inference, record: Record
) -> AsyncGenerator[bytes, None]:
    """The endpoint's events as they arrive; usage is always asked for, and left out if the caller did not ask.

    Raises:
        EndpointError: as the first item or in the middle.
    """
    endpoint = endpoint_of(route)
    options = body.get("stream_options") or {}
    sent = {**body, "model": endpoint.model, "stream_options": {**options, "include_usage": True}}
    passing = _Passing(endpoint=endpoint, route=route, inference=inference, asked=options.get("include_usage"))
    with (
        _recorded(inference, record, passing),
        inference.station("forward", messages=body.get("messages")) as span,
    ):
        try:
            async with endpoint.send(orjson.dumps(sent)) as response:
                async for batch in response.batches():
                    if kept := passing.take(batch):
                        yield kept
                    if passing.failure is not None:
                        raise passing.failure
            if not passing.is_done:
                raise endpoint.cut_off()
        finally:
            span.output = {"text": "".join(passing.text)}


@dataclass(kw_only=True, slots=True)
class _Passing:
    """What goes by in one stream."""

    endpoint: OpenAIChat
    route: Route
    inference: Inference
    asked: Any
    text: list[str] = field(default_factory=list)
    failure: EndpointProtocolError | None = None
    is_done: bool = False

    def take(self, batch: Sequence[bytes]) -> bytes:
        """The events that the caller gets: up to a failure, and without the usage that only we asked for."""
        kept = []
        for event in batch:
            if self._is_wanted(data_of(event)):
                kept.append(event + b"\n\n")
            if self.failure is not None:
                break
        return b"".join(kept)

    def _is_wanted(self, data: bytes) -> bool:
        if not data:
            return True
        if data == _DONE:
            self.is_done = True
            return True
        value = _json_object(data)
        if value is None:
            self.failure = self.endpoint.nonsense(data)
            return False
        if error := value.get("error"):
            self.failure = self.endpoint.broke_off(error)
            return False
        self._hear(value.get("choices"))
        usage = value.get("usage")
        _count(self.inference, self.route, usage)
        return not usage or bool(self.asked or value.get("choices"))

    def _hear(self, choices: Any) -> None:
        for choice in choices if isinstance(choices, list) else ():
            match choice:
                case {"delta": {"content": str(text)}} if text:
                    self.inference.ttft_ms = self.inference.ttft_ms or self.inference.elapsed_ms
                    self.text.append(text)


@contextmanager
def _recorded(inference: Inference, record: Record, passing: _Passing | None = None) -> Iterator[None]:
    """The trace leaves however the work ends; a caller who hangs up after the last event has had it all."""
    try:
        yield
    except LlmopsError as error:
        record(inference.finish("error", str(error)))
        raise
    except (GeneratorExit, asyncio.CancelledError):
        record(inference.finish("ok" if passing is not None and passing.is_done else "cancelled"))
        raise
    except Exception as error:
        record(inference.finish("error", f"{type(error).__name__}: {error}"))
        raise
    record(inference.finish("ok"))


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _count(inference: Inference, route: Route, usage: Any) -> None:
    if (used := read_usage(usage)) is not None:
        inference.usage = used
        inference.cost_usd = route.cost_usd(used)
