"""`GET /v1/models`, `POST /v1/search` and `POST /v1/feedback`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from llmops.errors import RequestError
from llmops.gateway import wire
from llmops.gateway.access import caller_of
from llmops.gateway.bodies import body_of_kind, read_model
from llmops.gateway.errors import json_response
from llmops.gateway.instruments import Instruments
from llmops.records import Feedback
from llmops.retrieval import RetrievalSpec
from llmops.workspace.opened import Workspace

router = APIRouter()
_MAX_VALUE_CHARACTERS = 1_000


class SearchBody(BaseModel):
    """What to look for, in one collection or with a route's retrieval settings."""

    model_config = ConfigDict(extra="forbid")

    query: str
    collection: str | None = None
    route: str | None = None
    k: int = Field(default=8, ge=1, le=100)
    filter: dict[str, JsonValue] = {}


class FeedbackBody(BaseModel):
    """What a person or a system says about one answer."""

    model_config = ConfigDict(extra="forbid")

    inference_id: str = Field(min_length=1, max_length=64)
    name: str = Field(default="thumb", pattern=r"^[a-z][a-z0-9_]{0,63}$")
    value: bool | float | str = Field(description="True or false, a number, or a text.")
    comment: str = Field(default="", max_length=10_000)
    correction: str = Field(default="", max_length=50_000)

    @field_validator("value", mode="before")
    @classmethod
    def _is_plain(cls, value: object) -> object:
        is_plain = isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
        if not is_plain or (isinstance(value, str) and len(value) > _MAX_VALUE_CHARACTERS):
            raise ValueError(
                f"give true, false, a number, or a text of at most {_MAX_VALUE_CHARACTERS} characters"
            )
        return value


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The routes, as OpenAI lists models."""
    workspace: Workspace = request.app.state.workspace
    data = [
        {
            "id": route.name,
            "object": "model",
            "created": 0,
            "owned_by": "llmops",
            "description": route.description,
            "examples": list(route.examples),
        }
        for route in workspace.files.routes.values()
    ]
    return json_response({"object": "list", "data": data})


@router.post("/v1/search", openapi_extra=body_of_kind(SearchBody))
async def search(request: Request) -> Response:
    """The best passages that the caller may read."""
    workspace: Workspace = request.app.state.workspace
    body = await read_model(request, SearchBody)
    spec = search_spec(workspace, route=body.route, collection=body.collection)
    caller, metadata = caller_of(request), body.filter or None
    find = partial(workspace.search, body.query, spec=spec, caller=caller, k=body.k, metadata=metadata)  # type: ignore[arg-type]  # checked by the store
    hits = await to_thread.run_sync(find)
    return json_response({"collection": spec.collection, "hits": [wire.hit(hit) for hit in hits]})


def search_spec(workspace: Workspace, *, route: str | None, collection: str | None) -> RetrievalSpec:
    """The settings of the route named, or the defaults on a collection; the only one there is needs no name."""
    if route is not None:
        spec = workspace.files.route(route).retrieval
        if spec is None:
            raise RequestError(f"route {route!r} has no retrieval; name a collection")
        return spec
    if collection is not None:
        return RetrievalSpec(collection=workspace.files.pipeline(collection).name)
    names = sorted(workspace.files.pipelines)
    if len(names) != 1:
        raise RequestError(f"name a collection: there is {', '.join(names) or 'none'}")
    return RetrievalSpec(collection=names[0])


@router.post("/v1/feedback", openapi_extra=body_of_kind(FeedbackBody))
async def feedback(request: Request) -> Response:
    """Stored before it is acknowledged."""
    body = await read_model(request, FeedbackBody)
    workspace: Workspace = request.app.state.workspace
    instruments: Instruments = request.app.state.instruments
    given = Feedback(**body.model_dump(), caller=caller_of(request).name)
    feedback_id = await to_thread.run_sync(workspace.feedback.add, given)
    instruments.feedback(given.name)
    done: dict[str, Any] = {"feedback_id": feedback_id, "inference_id": given.inference_id}
    return json_response(done)
