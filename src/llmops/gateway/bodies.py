"""Reading request bodies: within limits, and with one sentence for what is wrong."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from llmops.errors import RequestError, TooLargeError
from llmops.gateway.access import MAX_BODY_BYTES

Model = TypeVar("Model", bound=BaseModel)
_SHOWN_CHARACTERS = 100


async def read_model(request: Request, kind: type[Model]) -> Model:
    """The body as a `kind`.

    Raises:
        TooLargeError: more than 10 MB.
        RequestError: it is not one; names the field.
    """
    value = await read_object(request)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise RequestError(first_problem(error)) from error


def body_of_kind(kind: type[BaseModel]) -> dict[str, Any]:
    """How OpenAPI describes a body that `read_model` reads."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def first_problem(error: ValidationError) -> str:
    """What is wrong with the first field that is wrong."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "missing":
            return f"{field!r} is missing"
        case "extra_forbidden":
            return f"{field!r} is no field of this request; leave it out"
        case _:
            shown = repr(first["input"])
            shown = shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
            return f"{field!r}: {first['msg'].removeprefix('Value error, ')}, not {shown}"


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        TooLargeError: more than 10 MB.
        RequestError: no JSON, or no object.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise TooLargeError(f"the body has more than {MAX_BODY_BYTES} bytes")
        parts.append(part)
    try:
        value = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON ({error}); send a JSON object") from error
    if not isinstance(value, dict):
        raise RequestError(f"the body must be a JSON object, not a {type(value).__name__}")
    return value
