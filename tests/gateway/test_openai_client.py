"""The official `openai` client against the gateway, and what happens when a client leaves."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway.running import Gateway, eventually
from tests.gateway.upstream import Exchange, Upstream, answering, event, hang, piece, refusing, streaming

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "When does the library open?"}]


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def extra(value: Any, name: str) -> Any:
    """A field that OpenAI's own API does not have."""
    return (value.model_extra or {})[name]


def test_models_are_the_routes(client: openai.OpenAI, gateway: Gateway) -> None:
    models = client.models.list().data
    assert {model.id for model in models} == set(gateway.workspace.files.routes)
    assert {(model.object, model.owned_by) for model in models} == {("model", "llmops")}
    assistant = next(model for model in models if model.id == "assistant")
    assert extra(assistant, "examples") == ["What is this workspace?"]


def test_an_answer_with_its_citations(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="assistant", messages=QUESTION)
    choice = answer.choices[0]
    assert choice.message.content is not None
    assert choice.message.content.startswith("The library opens at nine in the morning")
    assert "[1]" in choice.message.content
    assert choice.finish_reason == "stop"
    assert answer.model == "assistant"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert extra(answer, "inference_id").startswith("inf_")
    (citation,) = extra(answer, "citations")
    assert (citation["number"], citation["uri"]) == (1, "library.md")


def test_a_stream_with_citations_and_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="assistant", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    whole = client.chat.completions.create(model="assistant", messages=QUESTION)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {extra(chunk, "inference_id") for chunk in chunks} == {extra(chunks[0], "inference_id")}
    *_, last, counted = chunks
    assert last.choices[0].finish_reason == "stop"
    assert extra(last, "citations") == extra(whole, "citations")
    assert (counted.choices, counted.usage) == ([], whole.usage)


@pytest.mark.parametrize("route", ["rag", "forward"])
def test_a_stream_without_usage_has_none(client: openai.OpenAI, upstream: Upstream, route: str) -> None:
    chunks = list(client.chat.completions.create(model=route, messages=QUESTION, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_the_raw_response_names_the_inference(client: openai.OpenAI, gateway: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model="assistant", messages=QUESTION)
    assert raw.headers["x-inference-id"] == extra(raw.parse(), "inference_id")
    assert gateway.trace(raw.headers["x-inference-id"]).status == "ok"


def test_parameters_of_our_own_go_into_the_extra_body(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": "Who wrote the Odyssey?"}],
        extra_body={"unknown_answer": "No idea.", "threshold": 1.0},
    )
    assert answer.choices[0].message.content == "No idea."
    assert extra(answer, "citations") == []


def test_errors_have_the_classes_that_callers_catch(client: openai.OpenAI, upstream: Upstream) -> None:
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="no route 'gpt-4'; there is: assistant, "):
        create(model="gpt-4", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="has its own system prompt"):
        create(model="assistant", messages=[{"role": "system", "content": "Be a pirate."}, *QUESTION])
    with pytest.raises(
        openai.BadRequestError, match="'temperature': Input should be less than or equal to 2, not 7"
    ):
        create(model="assistant", messages=QUESTION, temperature=7)
    upstream.handler = refusing(429, "slow down")
    with pytest.raises(openai.RateLimitError, match="slow down"):
        create(model="rag", messages=QUESTION)
    with pytest.raises(openai.InternalServerError, match="cannot be reached") as caught:
        create(model="rag-dead", messages=QUESTION)
    assert caught.value.status_code == 502


def test_an_error_in_the_middle_of_a_stream_is_raised(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.handler = streaming(event(piece("It op")))
    for route in ("rag", "forward"):
        text: list[str] = []
        with pytest.raises(openai.APIError, match="cut the answer off before its end"):
            for chunk in client.chat.completions.create(model=route, messages=QUESTION, stream=True):
                text.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 (what came before the error counts)
        assert text == ["It op"]


# A client that leaves


class Watched:
    """Sends the given events, then waits for the other side to close; `left` says whether it did."""

    def __init__(self, *events: bytes) -> None:
        self._events = events
        self.left: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.arrived: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def __call__(self, exchange: Exchange) -> None:
        self.arrived.put(True)
        if self._events:
            exchange.head()
        for data in self._events:
            exchange.send(data)
        self.left.put(exchange.left_within(10))


@pytest.mark.parametrize("route", ["rag", "forward"])
def test_leaving_in_mid_stream_ends_the_request_to_the_endpoint(
    client: openai.OpenAI, gateway: Gateway, upstream: Upstream, route: str
) -> None:
    watched = upstream.handler = Watched(event(piece("It opens")))
    with client.chat.completions.create(model=route, messages=QUESTION, stream=True) as stream:
        first = next(iter(stream))
        assert first.choices[0].delta.content == "It opens"
    assert watched.left.get(timeout=10)
    trace = gateway.trace(stream.response.headers["x-inference-id"])
    assert (trace.status, trace.error) == ("cancelled", "")
    assert trace.spans[-1].output["text"] == "It opens"


@pytest.mark.parametrize("route", ["rag", "forward"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_leaving_before_the_first_text_ends_it_too(
    gateway: Gateway, upstream: Upstream, route: str, stream: bool
) -> None:
    watched = upstream.handler = Watched()
    before = gateway.count(route)
    body = {"model": route, "messages": QUESTION, "stream": stream}
    with (
        httpx.Client(base_url=gateway.url, timeout=httpx.Timeout(10, read=0.3)) as impatient,
        pytest.raises(httpx.ReadTimeout, match="timed out"),
    ):
        impatient.post("/v1/chat/completions", json=body)
    assert watched.arrived.get(timeout=10)
    assert watched.left.get(timeout=10)
    eventually(lambda: gateway.count(route) == before + 1, "no trace of the cancelled request")
    assert gateway.newest(route).status == "cancelled"


def test_leaving_after_the_last_event_changes_nothing(
    client: openai.OpenAI, gateway: Gateway, upstream: Upstream
) -> None:
    for route in ("rag", "forward"):
        stream = client.chat.completions.create(model=route, messages=QUESTION, stream=True)
        for chunk in stream:
            if chunk.choices and chunk.choices[0].finish_reason:
                break
        stream.close()
        assert gateway.trace(stream.response.headers["x-inference-id"]).status == "ok"


def test_a_client_that_leaves_at_once_harms_nobody(gateway: Gateway, upstream: Upstream) -> None:
    """Half a request, then silence: the next caller is served as if nothing had been."""
    upstream.handler = hang
    address = gateway.url.removeprefix("http://").split(":")
    for sent in (b"", b"POST /v1/chat/completions HTTP/1.1\r\n", b"nonsense\r\n\r\n"):
        with socket.create_connection((address[0], int(address[1])), timeout=5) as connection:
            connection.sendall(sent)
    upstream.handler = answering("Fine.")
    assert gateway.ask("rag").status_code == 200
