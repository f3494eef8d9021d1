"""`POST /v1/chat/completions`: a route answers, streaming or not."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from llmops.errors import LlmopsError, RequestError
from llmops.gateway import wire
from llmops.gateway.access import caller_of
from llmops.gateway.bodies import first_problem, read_object
from llmops.gateway.errors import body_of, json_response
from llmops.gateway.streams import StreamResponse, after_first, while_connected
from llmops.prompts.spec import Parameters
from llmops.records import Answer, Caller, Delta
from llmops.serving.answer import Question, answer, open_inference, stream_answer
from llmops.serving.conversation import read_conversation
from llmops.serving.forward import forward, forward_stream
from llmops.serving.route import Route
from llmops.workspace.opened import Workspace

router = APIRouter()
_DONE = b"data: [DONE]\n\n"
_UNSUPPORTED = ("tools", "functions", "logprobs", "response_format", "audio", "modalities")
_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string", "description": "A route's name."},
                        "messages": {"type": "array", "items": {"type": "object"}},
                        "stream": {"type": "boolean"},
                        "filter": {"type": "object", "description": "Metadata that every passage must match."},
                    },
                }
            }
        },
    }
}


@router.post("/v1/chat/completions", openapi_extra=_SCHEMA)
async def chat_completions(request: Request) -> Response:
    """OpenAI's chat API; `model` names a route. RAG routes add `citations` and `inference_id`."""
    workspace: Workspace = request.app.state.workspace
    body = await read_object(request)
    name = body.get("model")
    if not isinstance(name, str):
        raise RequestError("'model' must be the name of a route; GET /v1/models lists them")
    stream = body.get("stream", False)
    if not isinstance(stream, bool):
        raise RequestError(f"'stream' must be true or false, not {stream!r}")
    if not isinstance(body.get("stream_options"), dict | None):
        raise RequestError("'stream_options' must be an object such as {'include_usage': true}")
    route = workspace.route(name)
    if workspace.writer.is_full:
        await to_thread.run_sync(workspace.writer.wait_for_room)
    if route.prompt is None:
        return await _forward(route, body, stream, request)
    question = _question(route, body, caller_of(request))
    if stream:
        return await _stream(route, question, body, request)
    result = await while_connected(request, answer(route, question, workspace.record))
    if isinstance(result, Response):
        return result
    headers = {"x-inference-id": result.inference_id}
    return json_response(wire.completion(result), headers=headers)


def _question(route: Route, body: dict[str, Any], caller: Caller) -> Question:
    conversation = read_conversation(
        body.get("messages"), route=route.name, history_turns=route.spec.history_turns
    )
    for field in _UNSUPPORTED:
        if body.get(field):
            raise RequestError(f"{field!r} is not available on route {route.name!r}, which answers with citations")
    if body.get("n") not in (None, 1):
        raise RequestError(f"'n' must be 1 on route {route.name!r}")
    metadata = body.get("filter")
    if metadata is not None and not isinstance(metadata, dict):
        raise RequestError("'filter' must be an object of metadata fields and conditions")
    return Question(conversation=conversation, caller=caller, parameters=_parameters(body), metadata=metadata)


def _parameters(body: dict[str, Any]) -> dict[str, Any]:
    """The caller's own model parameters, checked like a prompt's."""
    given = {name: body[name] for name in Parameters.model_fields if body.get(name) is not None}
    if body.get("max_completion_tokens") is not None:
        given["max_tokens"] = body["max_completion_tokens"]
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    try:
        return Parameters.model_validate(given, strict=False).given()
    except ValidationError as error:
        raise RequestError(first_problem(error)) from error


async def _stream(route: Route, question: Question, body: dict[str, Any], request: Request) -> Response:
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    inference = open_inference(route, question.caller)
    items = stream_answer(route, question, inference, request.app.state.workspace.record)
    return await _event_response(
        request, _events(items, inference.inference_id, route.name, with_usage), inference.inference_id
    )


async def _event_response(request: Request, events: AsyncGenerator[bytes, None], inference_id: str) -> Response:
    """The first event is waited for, so that an early error is a status."""
    first = await while_connected(request, anext(events))
    if isinstance(first, Response):
        return first
    headers = {"x-inference-id": inference_id}
    pieces = after_first(first, events)
    return StreamResponse(pieces, media_type="text/event-stream", headers=headers, encode=_data)


async def _events(
    items: AsyncGenerator[Delta | Answer, None], inference_id: str, route: str, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Server-sent events; an error before the first text is raised, a later one is an event."""
    created = int(time.time())
    began = False

    def event(delta: dict[str, Any] | None, finish: str | None = None, **extra: Any) -> bytes:
        chunk = wire.chunk_event(inference_id, route, created, delta=delta, finish_reason=finish)
        return _data({**chunk, **extra})

    async with aclosing(items):
        try:
            async for item in items:
                if isinstance(item, Delta):
                    role = {} if began else {"role": "assistant"}
                    began = True
                    yield event({**role, "content": item.text})
                elif isinstance(item, Answer):
                    extra = {"groundedness": item.groundedness, "guardrails": wire.findings(item)}
                    last = event({}, item.completion.finish_reason, citations=wire.citations(item), **extra)
                    usage = event(None, usage=wire.usage(item.completion.usage)) if with_usage else b""
                    yield last + usage + _DONE
        except LlmopsError as error:
            if not began:
                raise
            yield _data(body_of(error))


async def _forward(route: Route, body: dict[str, Any], stream: bool, request: Request) -> Response:
    record = request.app.state.workspace.record
    inference = open_inference(route, caller_of(request))
    if stream:
        events = _with_error_event(forward_stream(route, body, inference, record))
        return await _event_response(request, events, inference.inference_id)
    result = await while_connected(request, forward(route, body, inference, record))
    if isinstance(result, Response):
        return result
    return json_response(result, headers={"x-inference-id": inference.inference_id})


async def _with_error_event(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    began = False
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                began = True
                yield piece
        except LlmopsError as error:
            if not began:
                raise
            yield _data(body_of(error))


def _data(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
