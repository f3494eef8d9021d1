"""Forwarding: what passes through unchanged, what is noted on the way, and one trace however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.clients.chat import OpenAIChat
from llmops.clients.extractive import ExtractiveChat
from llmops.clients.protocols import ChatModel, Embedder
from llmops.errors import ConfigurationError, EndpointProtocolError, EndpointRejectedError
from llmops.records import Caller, Trace, Usage
from llmops.serving.answer import open_inference
from llmops.serving.forward import endpoint_of, forward, forward_stream
from llmops.serving.route import Route
from llmops.serving.spec import Price, RouteSpec
from tests.gateway.upstream import (
    DONE,
    Upstream,
    answering,
    event,
    hang,
    open_upstream,
    piece,
    refusing,
    stream_of,
    streaming,
    usage_event,
)

BODY: dict[str, Any] = {"model": "assistant", "messages": [{"role": "user", "content": "x"}]}
PRICE = Price(input_usd_per_million_tokens=1_000_000, output_usd_per_million_tokens=2_000_000)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Upstream]:
    with open_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(scripted: Upstream) -> Upstream:
    scripted.requests.clear()
    return scripted


def route_on(model: ChatModel) -> Route:
    spec = RouteSpec(name="assistant", description="Forwards.", model="up")
    return Route(spec=spec, model=model, price=PRICE, prompt=None, retriever=None, spec_hashes={})


@asynccontextmanager
async def route_to(upstream: Upstream) -> AsyncIterator[Route]:
    model = OpenAIChat(name="up", base_url=upstream.url, model="some-model")
    try:
        yield route_on(model)
    finally:
        await model.close()


def forwarded(upstream: Upstream, body: dict[str, Any], traces: list[Trace]) -> dict[str, Any]:
    async def work() -> dict[str, Any]:
        async with route_to(upstream) as route:
            return await forward(route, body, open_inference(route, Caller()), traces.append)

    return asyncio.run(work())


def streamed(upstream: Upstream, body: dict[str, Any], traces: list[Trace], seen: list[bytes]) -> None:
    async def work() -> None:
        async with route_to(upstream) as route:
            inference = open_inference(route, Caller())
            async for part in forward_stream(route, body, inference, traces.append):
                seen.append(part)  # noqa: PERF401 (what came before an error counts)

    asyncio.run(work())


def test_a_whole_answer_passes_with_our_id(upstream: Upstream) -> None:
    upstream.handler = answering("Yes.", tokens=(3, 2))
    traces: list[Trace] = []
    value = forwarded(upstream, BODY | {"temperature": 0.5}, traces)
    (trace,) = traces
    assert value["inference_id"] == trace.inference_id
    assert value["choices"][0]["message"]["content"] == "Yes."
    assert upstream.requests[0].body == BODY | {"model": "some-model", "temperature": 0.5}
    assert (trace.status, trace.usage, trace.cost_usd) == ("ok", Usage(input_tokens=3, output_tokens=2), 7.0)
    assert trace.spans[0].input == {"messages": BODY["messages"]}
    assert trace.spans[0].output == {"choices": value["choices"]}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"vendor": 1}])
def test_usage_is_asked_for_and_kept_from_who_did_not_ask(upstream: Upstream, options: Any) -> None:
    upstream.handler = answering("Yes.", tokens=(3, 2))
    traces: list[Trace] = []
    seen: list[bytes] = []
    streamed(upstream, BODY | {"stream": True, "stream_options": options}, traces, seen)
    assert upstream.requests[0].body["stream_options"] == {**(options or {}), "include_usage": True}
    assert b"".join(seen) == stream_of("Yes.", tokens=None)
    assert traces[0].usage == Usage(input_tokens=3, output_tokens=2)


def test_who_asked_for_usage_gets_it(upstream: Upstream) -> None:
    upstream.handler = answering("Yes.", tokens=(3, 2))
    seen: list[bytes] = []
    streamed(upstream, BODY | {"stream": True, "stream_options": {"include_usage": True}}, [], seen)
    assert b"".join(seen) == stream_of("Yes.", tokens=(3, 2))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(min_size=1, max_size=8), max_size=4), sizes=st.lists(st.integers(1, 90), max_size=30)
)
def test_what_leaves_and_what_is_noted_do_not_depend_on_the_cuts(
    upstream: Upstream, texts: list[str], sizes: list[int]
) -> None:
    stream = b"".join(event(piece(text)) for text in texts) + event(usage_event((3, 2))) + DONE
    parts = []
    for size in sizes:
        parts.append(stream[:size])
        stream = stream[size:]
    upstream.handler = streaming(*(part for part in [*parts, stream] if part))
    traces: list[Trace] = []
    seen: list[bytes] = []
    streamed(upstream, BODY | {"stream": True}, traces, seen)
    assert b"".join(seen) == b"".join(event(piece(text)) for text in texts) + DONE
    assert traces[0].spans[0].output == {"text": "".join(texts)}
    assert traces[0].usage == Usage(input_tokens=3, output_tokens=2)


def test_text_before_an_error_event_leaves_and_the_error_is_raised(upstream: Upstream) -> None:
    upstream.handler = streaming(
        event(piece("half")) + event({"error": "no memory"}) + event(piece("more")) + DONE
    )
    traces: list[Trace] = []
    seen: list[bytes] = []
    with pytest.raises(EndpointProtocolError, match="'up' broke off: no memory; look at its log"):
        streamed(upstream, BODY | {"stream": True}, traces, seen)
    assert b"".join(seen) == event(piece("half"))
    assert [(trace.status, trace.spans[0].output) for trace in traces] == [("error", {"text": "half"})]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_traced_once(upstream: Upstream, stream: bool) -> None:
    upstream.handler = refusing(429, "slow down", Retry_After="3")
    traces: list[Trace] = []
    with pytest.raises(EndpointRejectedError, match="slow down") as caught:
        if stream:
            streamed(upstream, BODY | {"stream": True}, traces, [])
        else:
            forwarded(upstream, BODY, traces)
    assert (caught.value.status, caught.value.retry_after) == (429, "3")
    assert [(trace.status, trace.error) for trace in traces] == [("error", str(caught.value))]


def test_a_bug_is_traced_too(upstream: Upstream) -> None:
    traces: list[Trace] = []
    with pytest.raises(TypeError, match="not JSON serializable"):
        forwarded(upstream, BODY | {"messages": object()}, traces)
    assert [trace.status for trace in traces] == ["error"]


@pytest.mark.parametrize(("data", "status"), [(event(piece("a")), "cancelled"), (stream_of("a"), "ok")])
def test_leaving_is_cancelled_only_before_the_last_event(upstream: Upstream, data: bytes, status: str) -> None:
    upstream.handler = streaming(data, then=hang)
    traces: list[Trace] = []

    async def leave() -> None:
        async with route_to(upstream) as route:
            stream = forward_stream(route, BODY | {"stream": True}, open_inference(route, Caller()), traces.append)
            await anext(stream)
            await stream.aclose()

    asyncio.run(leave())
    assert [trace.status for trace in traces] == [status]


def test_an_embedded_model_cannot_be_forwarded_to(embedder: Embedder) -> None:
    route = route_on(ExtractiveChat(name="default", embedder=embedder))
    with pytest.raises(ConfigurationError, match="route 'assistant' forwards, but endpoint 'default' is embedded"):
        endpoint_of(route)
