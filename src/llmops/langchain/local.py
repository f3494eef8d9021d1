"""The line in this process: over a workspace that is open as a notebook."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import orjson
from anyio import to_thread
from pydantic import ValidationError

from llmops.clients.sse import data_of
from llmops.errors import RequestError
from llmops.langchain import forms
from llmops.prompts.spec import Parameters
from llmops.records import EVERYONE, Caller, Delta
from llmops.retrieval import RetrievalSpec
from llmops.serving.answer import Question, answer, open_inference, stream_answer
from llmops.serving.conversation import read_conversation
from llmops.serving.forward import forward, forward_stream
from llmops.serving.route import Route
from llmops.workspace.notebook import Notebook

Event = dict[str, Any] | BaseException | None
_DONE = b"[DONE]"


class LocalLine:
    """Answers come from the notebook's own event loop, so that models keep their connections there."""

    place = "the open workspace"

    def __init__(self, notebook: Notebook, principals: tuple[str, ...]) -> None:
        # What a notebook has and does not offer yet: answers to whole conversations, and streams.
        self._workspace, self._portal = notebook._workspace, notebook._portal
        self._caller = Caller(
            name="langchain", role="admin", principals=tuple(dict.fromkeys((*principals, EVERYONE)))
        )

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """As `Line.complete`."""
        return self._portal.call(self._complete, body)

    async def acomplete(self, body: dict[str, Any]) -> dict[str, Any]:
        """As `Line.complete`, without holding a thread."""
        return await asyncio.wrap_future(self._portal.start_task_soon(self._complete, body))

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """As `Line.stream`; who leaves early cancels the answer."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        task = self._portal.start_task_soon(self._produce, body, events.put)
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            task.cancel()

    async def astream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """As `Line.stream`, without holding a thread."""
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        task = self._portal.start_task_soon(self._produce, body, put)
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            task.cancel()

    async def _produce(self, body: dict[str, Any], put: Callable[[Event], object]) -> None:
        """Hand events over, then None, or what went wrong."""
        try:
            async with aclosing(self._events(body)) as events:
                async for event in events:
                    put(event)
            put(None)
        except Exception as error:  # noqa: BLE001 (it is raised where the events are read)
            put(error)

    def search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search."""
        spec = self._search_spec(body.get("collection"), body.get("route"))
        found = self._workspace.search(
            body["query"], spec=spec, caller=self._caller, k=body["k"], metadata=body.get("filter")
        )
        return [forms.hit(hit) for hit in found]

    async def asearch(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search, from a thread."""
        return await to_thread.run_sync(self.search, body)

    def _search_spec(self, collection: str | None, route: str | None) -> RetrievalSpec:
        files = self._workspace.files
        if route is not None:
            if (spec := files.route(route).retrieval) is None:
                raise RequestError(f"route {route!r} has no retrieval; name a collection")
            return spec
        names = [files.pipeline(collection).name] if collection is not None else sorted(files.pipelines)
        if len(names) != 1:
            raise RequestError(f"name a collection: there is {', '.join(names) or 'none'}")
        return RetrievalSpec(collection=names[0])

    async def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        route = await self._route(body)
        if route.prompt is None:
            return await forward(route, body, open_inference(route, self._caller), self._workspace.record)
        return forms.completion(await answer(route, self._question(route, body), self._workspace.record))

    async def _events(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The chunks that the gateway would send."""
        route = await self._route(body)
        inference, record = open_inference(route, self._caller), self._workspace.record
        if route.prompt is None:
            asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
            async with aclosing(forward_stream(route, asked, inference, record)) as pieces:
                async for piece in pieces:
                    for event in piece.split(b"\n\n"):
                        if (data := data_of(event)) and data != _DONE:
                            yield orjson.loads(data)
            return
        async with aclosing(stream_answer(route, self._question(route, body), inference, record)) as items:
            async for item in items:
                if isinstance(item, Delta):
                    yield forms.piece(inference.inference_id, route.name, item.text)
                else:
                    yield forms.last_piece(item)

    async def _route(self, body: dict[str, Any]) -> Route:
        if self._workspace.writer.is_full:
            await to_thread.run_sync(self._workspace.writer.wait_for_room)
        return await to_thread.run_sync(self._workspace.route, body["model"])  # it may load an encoder

    def _question(self, route: Route, body: dict[str, Any]) -> Question:
        conversation = read_conversation(
            body["messages"], route=route.name, history_turns=route.spec.history_turns
        )
        given = {name: body[name] for name in Parameters.model_fields if body.get(name) is not None}
        try:
            parameters = Parameters.model_validate(given, strict=False).given()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise RequestError(f"{'.'.join(map(str, first['loc']))!r}: {first['msg']}") from error
        return Question(
            conversation=conversation, caller=self._caller, parameters=parameters, metadata=body.get("filter")
        )
