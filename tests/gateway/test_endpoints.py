"""What a caller gets, and what the ledger keeps, when the model endpoint answers well, badly, or not at all."""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.running import Gateway
from tests.gateway.upstream import (
    DONE,
    Exchange,
    Handler,
    Upstream,
    answering,
    event,
    hang,
    piece,
    refusing,
    stream_of,
    streaming,
)

ROUTES = ("rag", "forward")
both = pytest.mark.parametrize("route", ROUTES)


def events_of(text: str) -> list[Any]:
    """The data of each event; `[DONE]` stays a string."""
    data = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
    return [part if part == "[DONE]" else json.loads(part) for part in data]


def text_of(events: list[Any]) -> str:
    chunks = (e for e in events if e != "[DONE]" and "error" not in e)
    return "".join(c["delta"].get("content") or "" for e in chunks for c in e["choices"])


def assert_error(response: httpx.Response, status: int, kind: str, *parts: str) -> str:
    """The response is an error in OpenAI's shape, one line that contains `parts`; returns its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == kind
    for part in parts:
        assert part in error["message"]
    message: str = error["message"]
    assert "\n" not in message
    assert "Traceback" not in message
    return message


# An endpoint that answers


@both
def test_an_answer_arrives_whole(gateway: Gateway, upstream: Upstream, route: str) -> None:
    response = gateway.ask(route)
    assert response.status_code == 200
    value = response.json()
    assert value["object"] == "chat.completion"
    assert value["choices"][0]["message"] == {"role": "assistant", "content": "It opens at nine [1]."}
    assert value["choices"][0]["finish_reason"] == "stop"
    assert value["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert response.headers["x-inference-id"] == value["inference_id"]
    trace = gateway.trace(value["inference_id"])
    assert (trace.status, trace.error, trace.route, trace.caller) == ("ok", "", route, "anonymous")
    assert (trace.usage.input_tokens, trace.usage.output_tokens) == (11, 7)
    assert trace.cost_usd == pytest.approx(11 * 0.001 + 7 * 0.002)
    assert 0 < trace.ttft_ms <= trace.duration_ms


@both
def test_an_answer_arrives_as_a_stream(gateway: Gateway, upstream: Upstream, route: str) -> None:
    response = gateway.ask(route, stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert text_of(events) == "It opens at nine [1]."
    assert events[-1] == "[DONE]"
    assert [c["finish_reason"] for e in events[:-1] for c in e["choices"] if c["finish_reason"]] == ["stop"]
    assert not any(e.get("usage") for e in events[:-1])
    trace = gateway.trace(response.headers["x-inference-id"])
    assert (trace.status, trace.usage.output_tokens) == ("ok", 7)
    assert trace.cost_usd > 0


@both
def test_usage_comes_in_the_last_event_when_asked_for(gateway: Gateway, upstream: Upstream, route: str) -> None:
    response = gateway.ask(route, stream=True, stream_options={"include_usage": True})
    *_, last, done = events_of(response.text)
    assert (last["choices"], last["usage"]["total_tokens"], done) == ([], 18, "[DONE]")
    assert upstream.requests[-1].body["stream_options"] == {"include_usage": True}


@both
def test_an_endpoint_that_does_not_count_costs_nothing(gateway: Gateway, upstream: Upstream, route: str) -> None:
    upstream.handler = answering("Nine.", tokens=None)
    for stream in (False, True):
        response = gateway.ask(route, stream=stream)
        trace = gateway.trace(response.headers["x-inference-id"])
        assert (trace.status, trace.usage.input_tokens, trace.cost_usd) == ("ok", 0, 0)


def test_forwarding_changes_the_model_and_nothing_else(gateway: Gateway, upstream: Upstream) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    gateway.ask("forward", tools=tools, n=2, temperature=9, vendor={"a": [1, None]})
    sent = upstream.requests[-1].body
    assert sent == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "When does the library open?"}],
        "tools": tools,
        "n": 2,
        "temperature": 9,
        "vendor": {"a": [1, None]},
    }


def test_forwarding_passes_events_on_unread(gateway: Gateway, upstream: Upstream) -> None:
    odd = event({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}], "vendor": "x"})
    ping = b": keep-alive\n\n"
    sent = [ping, odd, event(piece("a")), event({"kind": "pause"}), event(piece(finish="stop")), DONE]
    upstream.handler = streaming(*sent)
    assert gateway.ask("forward", stream=True).content == b"".join(sent)


def test_usage_on_a_chunk_with_text_is_not_taken_away(gateway: Gateway, upstream: Upstream) -> None:
    upstream.handler = streaming(event(piece("a", usage={"prompt_tokens": 3, "completion_tokens": 1})), DONE)
    response = gateway.ask("forward", stream=True)
    assert text_of(events_of(response.text)) == "a"
    assert gateway.trace(response.headers["x-inference-id"]).usage.input_tokens == 3


@both
def test_a_slow_stream_reaches_the_caller_piece_by_piece(gateway: Gateway, upstream: Upstream, route: str) -> None:
    """The second piece is sent only after the caller has the first: nothing is held back until the end."""

    def one_by_one(exchange: Exchange) -> None:
        exchange.head()
        exchange.event(piece("first. "))
        assert seen_first.wait(10)
        exchange.event(piece("second."))
        exchange.send(stream_of())

    seen_first = threading.Event()
    upstream.handler = one_by_one
    body = {"model": route, "messages": [{"role": "user", "content": "When?"}], "stream": True}
    text = ""
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
        for part in response.iter_text():
            text += part
            if "first." in text:
                seen_first.set()
    assert text_of(events_of(text)) == "first. second."


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 600), max_size=8), crlf=st.booleans(), route=st.sampled_from(ROUTES))
def test_an_answer_does_not_depend_on_where_the_network_cut(
    gateway: Gateway, upstream: Upstream, cuts: list[int], crlf: bool, route: str
) -> None:
    stream = stream_of("Ab neun", " Uhr früh [1", "] – täglich.")
    stream = stream.replace(b"\n", b"\r\n") if crlf else stream
    places = [0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]
    parts = [stream[start:end] for start, end in itertools.pairwise(places)]
    upstream.handler = streaming(*parts)
    events = events_of(gateway.ask(route, stream=True).text)
    assert text_of(events) == "Ab neun Uhr früh [1] – täglich."
    assert events[-1] == "[DONE]"


# An endpoint that fails before the first text: a status

HTML: Handler = lambda e: e.answer(b"<html>nginx</html>", kind="text/html")  # noqa: E731 (one of a table)
FAILURES: dict[str, tuple[Handler, int, str, str]] = {
    "drops the connection": (
        lambda _: None,
        502,
        "endpoint_error",
        "cut the answer off before its end; try again",
    ),
    "answers HTML": (HTML, 502, "endpoint_error", "is http://127.0.0.1:"),
    "answers 400": (refusing(400, "too long"), 400, "invalid_request_error", "(400): too long"),
    "answers 401": (refusing(401, "no key"), 502, "endpoint_error", "(401): no key; set the variable"),
    "answers 404": (refusing(404, "no model"), 502, "endpoint_error", "are base_url and model right"),
    "answers 422": (refusing(422, "bad field"), 422, "invalid_request_error", "(422): bad field"),
    "answers 429": (refusing(429, "slow down"), 429, "rate_limit_error", "slow down; try again later"),
    "answers 500": (refusing(500, "boom"), 502, "endpoint_error", "(500): boom; look at its log"),
    "answers 503": (refusing(503, "loading"), 503, "overloaded_error", "loading; try again"),
    "redirects": (
        lambda e: e.answer(b"", status=302, Location="http://elsewhere/"),
        502,
        "endpoint_error",
        "write that as its base_url",
    ),
}


@both
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("handler", "status", "kind", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_before_the_first_text_is_a_status(
    gateway: Gateway,
    upstream: Upstream,
    route: str,
    stream: bool,
    handler: Handler,
    status: int,
    kind: str,
    said: str,
) -> None:
    upstream.handler = handler
    message = assert_error(gateway.ask(route, stream=stream), status, kind, "model endpoint 'scripted'", said)
    trace = gateway.newest(route)
    assert (trace.status, trace.error) == ("error", message)


@both
def test_retry_after_is_passed_on(gateway: Gateway, upstream: Upstream, route: str) -> None:
    upstream.handler = refusing(429, "slow down", Retry_After="17")
    assert gateway.ask(route).headers["retry-after"] == "17"


WRONG: dict[str, Handler] = {
    "no JSON": lambda e: e.answer(b"hello"),
    "a list": lambda e: e.json([1, 2]),
    "no choices": lambda e: e.json({"id": "x"}),
    "choices that are no list": lambda e: e.json({"choices": 5}),
    "an error with status 200": lambda e: e.json({"error": {"message": "no"}}),
    "nothing": lambda e: e.answer(b""),
}


@pytest.mark.parametrize("handler", WRONG.values(), ids=WRONG.keys())
def test_a_whole_answer_of_another_shape_is_not_forwarded(
    gateway: Gateway, upstream: Upstream, handler: Handler
) -> None:
    upstream.handler = handler
    assert_error(gateway.ask("forward"), 502, "endpoint_error", "something that is not a chat completion")
    assert gateway.newest("forward").status == "error"


WRONG_EVENTS: dict[str, bytes] = {
    "no JSON": event(b"hello"),
    "a list": event([1]),
    "cut JSON": event(b'{"choices":'),
}


@both
@pytest.mark.parametrize("data", WRONG_EVENTS.values(), ids=WRONG_EVENTS.keys())
def test_an_event_that_is_no_json_object_is_not_forwarded(
    gateway: Gateway, upstream: Upstream, route: str, data: bytes
) -> None:
    upstream.handler = streaming(data)
    assert_error(gateway.ask(route, stream=True), 502, "endpoint_error", "something that is not a chat completion")
    assert gateway.newest(route).status == "error"


@pytest.mark.parametrize(
    "chunk",
    [{"choices": 5}, {"choices": ["x"]}, {"choices": [{"delta": "x"}]}, {"choices": [{"delta": {"content": 5}}]}],
    ids=str,
)
def test_odd_chunks_are_forwarded_and_leave_a_trace(
    gateway: Gateway, upstream: Upstream, chunk: dict[str, Any]
) -> None:
    upstream.handler = streaming(event(chunk), event(piece("b", usage={"prompt_tokens": -1})), DONE)
    response = gateway.ask("forward", stream=True)
    assert events_of(response.text)[0] == chunk
    trace = gateway.trace(response.headers["x-inference-id"])
    assert trace.status == "ok"
    assert trace.spans[-1].output == {"text": "b"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_of_nothing_is_an_error_on_a_route_with_a_prompt(
    gateway: Gateway, upstream: Upstream, stream: bool
) -> None:
    upstream.handler = answering(tokens=(9, 0))
    assert_error(gateway.ask("rag", stream=stream), 502, "endpoint_error", "answered nothing at all")
    assert gateway.newest("rag").status == "error"


@pytest.mark.parametrize("route", ["rag-dead", "forward-dead"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_endpoint_that_is_not_there(gateway: Gateway, route: str, stream: bool) -> None:
    said = "model endpoint 'dead' cannot be reached at http://127.0.0.1:"
    message = assert_error(gateway.ask(route, stream=stream), 502, "endpoint_error", said, "start it, or mend")
    assert gateway.newest(route).error == message


@pytest.mark.parametrize("route", ["rag-hurried", "forward-hurried"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_endpoint_that_never_begins(gateway: Gateway, upstream: Upstream, route: str, stream: bool) -> None:
    upstream.handler = hang
    message = assert_error(gateway.ask(route, stream=stream), 504, "endpoint_error", "no answer within 0.4 s")
    trace = gateway.newest(route)
    assert (trace.status, trace.error) == ("error", message)


# An endpoint that fails in the middle: an event


MIDDLE: dict[str, tuple[Handler, str, str]] = {
    "ends without an end": (streaming(event(piece("It opens"))), "", "cut the answer off before its end"),
    "falls silent": (streaming(event(piece("It opens")), then=hang), "-hurried", "silent for 0.4 s; try again"),
    "reports an error": (
        streaming(event(piece("It opens")) + event({"error": {"message": "out of memory"}}), DONE),
        "",
        "broke off: out of memory",
    ),
    "begins to talk nonsense": (
        streaming(event(piece("It opens")) + event(b"<html>")),
        "",
        "something that is not a chat completion",
    ),
    "sends an event without end": (
        streaming(event(piece("It opens")), b"data: " + b"x" * 5_000_000),
        "",
        "an event of more than 4000000 bytes",
    ),
}


@both
@pytest.mark.parametrize(("handler", "variant", "said"), MIDDLE.values(), ids=MIDDLE.keys())
def test_a_failure_in_the_middle_is_an_event_and_no_end(
    gateway: Gateway, upstream: Upstream, route: str, handler: Handler, variant: str, said: str
) -> None:
    upstream.handler = handler
    response = gateway.ask(route + variant, stream=True)
    assert response.status_code == 200
    *before, last = events_of(response.text)
    assert text_of(before) == "It opens"
    assert said in last["error"]["message"]
    assert last["error"]["type"] == "endpoint_error"
    assert "[DONE]" not in response.text
    trace = gateway.trace(response.headers["x-inference-id"])
    assert (trace.status, trace.error) == ("error", last["error"]["message"])
    assert trace.spans[-1].output["text"] == "It opens"


@both
def test_a_whole_answer_is_never_a_short_one(gateway: Gateway, upstream: Upstream, route: str) -> None:
    def short(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            exchange.head()
            exchange.event(piece("It op"))
        else:
            exchange.head(kind="application/json", Content_Length="5000")
            exchange.send(b'{"choices": [')

    upstream.handler = short
    assert_error(gateway.ask(route), 502, "endpoint_error", "cut the answer off before its end; try again")
    assert gateway.newest(route).status == "error"


@both
def test_an_endpoint_that_stays_on_the_line_after_the_end(
    gateway: Gateway, upstream: Upstream, route: str
) -> None:
    upstream.handler = streaming(stream_of("All of it."), then=hang)
    response = gateway.ask(f"{route}-hurried", stream=True)
    assert events_of(response.text)[-1] == "[DONE]"
    assert gateway.trace(response.headers["x-inference-id"]).status == "ok"
