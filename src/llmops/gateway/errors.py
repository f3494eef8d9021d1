"""Our errors as HTTP: the one place where a status is chosen, in OpenAI's error shape."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from llmops.errors import (
    BusyError,
    ConfigurationError,
    EndpointError,
    EndpointRejectedError,
    EndpointTimeoutError,
    ForbiddenError,
    LlmopsError,
    NotFoundError,
    PromotionRefusedError,
    RequestError,
    StorageError,
    TooLargeError,
    UnauthenticatedError,
)

# Most specific first.
_STATUS: tuple[tuple[type[LlmopsError], int, str], ...] = (
    (UnauthenticatedError, 401, "authentication_error"),
    (ForbiddenError, 403, "permission_error"),
    (NotFoundError, 404, "not_found_error"),
    (TooLargeError, 413, "invalid_request_error"),
    (BusyError, 503, "overloaded_error"),
    (RequestError, 400, "invalid_request_error"),
    (EndpointTimeoutError, 504, "endpoint_error"),
    (EndpointError, 502, "endpoint_error"),
    (PromotionRefusedError, 409, "promotion_refused"),
    (StorageError, 503, "storage_error"),
    (ConfigurationError, 500, "configuration_error"),
    (LlmopsError, 500, "server_error"),
)
# What an endpoint says about the caller's own request.
_PASSED_ON = {
    400: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_log = logging.getLogger("llmops.gateway")


def status_of(error: LlmopsError) -> tuple[int, str]:
    """HTTP status and OpenAI error type."""
    if isinstance(error, EndpointRejectedError) and error.status in _PASSED_ON:
        return error.status, _PASSED_ON[error.status]
    return next((status, kind) for cls, status, kind in _STATUS if isinstance(error, cls))


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def body_of(error: LlmopsError) -> dict[str, Any]:
    return error_body(str(error), status_of(error)[1], type(error).__name__.removesuffix("Error"))


def response_to(error: LlmopsError) -> Response:
    status, _ = status_of(error)
    headers = {}
    if isinstance(error, EndpointRejectedError) and error.retry_after:
        headers["Retry-After"] = error.retry_after
    elif isinstance(error, BusyError):
        headers["Retry-After"] = "1"
    elif isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    return json_response(body_of(error), status=status, headers=headers)


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status_code=status, headers=headers, media_type="application/json")


def install(app: FastAPI) -> None:
    """Every error leaves in one shape, and none with a traceback."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, LlmopsError)
        return response_to(error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = error.detail
        if error.status_code == 404:
            said = f"no such path {request.url.path!r}; see /openapi.json"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            said = f"{request.method} is not for {request.url.path!r}; use {allowed}"
        body = error_body(str(said), "invalid_request_error")
        return json_response(body, status=error.status_code, headers=dict(error.headers or {}))

    async def unexpected(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        said = "the gateway failed on this request; its log says why"
        return json_response(error_body(said, "server_error"), status=500)

    app.add_exception_handler(LlmopsError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
