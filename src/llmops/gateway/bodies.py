"""Reading request bodies within limits."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request

from llmops.errors import RequestError, TooLargeError
from llmops.gateway.access import MAX_BODY_BYTES


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
