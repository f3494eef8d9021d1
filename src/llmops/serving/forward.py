"""A route without a prompt forwards: bytes to the endpoint and back, a trace and usage taken on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Literal

import orjson

from llmops.clients.chat import OpenAIChat
from llmops.clients.sse import data_of
from llmops.errors import ConfigurationError, LlmopsError
from llmops.records import Usage
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
    try:
        with inference.station("forward", messages=body.get("messages")) as span:
            async with endpoint.send(orjson.dumps({**body, "model": endpoint.model})) as response:
                raw = await response.read()
            value = _completion(raw, endpoint)
            inference.ttft_ms = inference.elapsed_ms
            _count(inference, route, value.get("usage"))
            span.output = {"choices": value["choices"]}
    except LlmopsError as error:
        record(inference.finish("error", str(error)))
        raise
    except asyncio.CancelledError:
        record(inference.finish("cancelled"))
        raise
    record(inference.finish("ok"))
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
    asked = bool(isinstance(options, dict) and options.get("include_usage"))
    sent = {**body, "model": endpoint.model, "stream_options": {**options, "include_usage": True}}
    seen: list[bytes] = []
    status: Literal["ok", "error", "cancelled"] = "cancelled"
    problem = ""
    try:
        with inference.station("forward", messages=body.get("messages")) as span:
            try:
                async with endpoint.send(orjson.dumps(sent)) as response:
                    async for batch in response.batches():
                        kept = [event for event in batch if _keep(event, asked, seen, inference, route)]
                        if kept:
                            yield b"\n\n".join(kept) + b"\n\n"
                if not seen or seen[-1] != _DONE:
                    raise endpoint.cut_off()
                status = "ok"
            finally:
                span.output = {"text": _text(seen)}
    except LlmopsError as error:
        status, problem = "error", str(error)
        raise
    finally:
        if seen and seen[-1] == _DONE:
            status = "ok"  # a caller who hangs up after the last event has had it all
        record(inference.finish(status, problem))


def _keep(event: bytes, asked: bool, seen: list[bytes], inference: Inference, route: Route) -> bool:
    """Take note of one event; False for the usage event that only we asked for."""
    data = data_of(event)
    if not data:
        return True
    seen.append(data)
    if not inference.ttft_ms and b'"content":"' in data.replace(b'"content": "', b'"content":"').replace(
        b'"content":""', b""
    ):
        inference.ttft_ms = inference.elapsed_ms
    if b'"usage"' not in data or data == _DONE:
        return True
    value = _json_object(data)
    usage = value.get("usage")
    if not usage:
        return True
    _count(inference, route, usage)
    return asked or bool(value.get("choices"))


def _text(seen: list[bytes]) -> str:
    """What the caller was sent, put together after the fact."""
    choices = (choice for data in seen if data != _DONE for choice in _json_object(data).get("choices") or ())
    return "".join((choice.get("delta") or {}).get("content") or "" for choice in choices)


def _completion(raw: bytes, endpoint: OpenAIChat) -> dict[str, Any]:
    value = _json_object(raw)
    if not isinstance(value.get("choices"), list):
        raise endpoint.nonsense(raw)
    return value


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _count(inference: Inference, route: Route, usage: Any) -> None:
    if isinstance(usage, dict):
        n_in, n_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if isinstance(n_in, int) and isinstance(n_out, int):
            inference.usage = Usage(input_tokens=n_in, output_tokens=n_out)
            inference.cost_usd = route.cost_usd(inference.usage)
