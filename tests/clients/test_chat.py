"""The chat endpoint's client against endpoints that answer well, badly, slowly, or not at all."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.clients.chat import OpenAIChat, Timeouts
from llmops.clients.sse import EventSplitter, EventTooLargeError, data_of
from llmops.errors import (
    EndpointError,
    EndpointProtocolError,
    EndpointRejectedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
)
from llmops.records import Delta, Message, Usage
from tests.gateway.upstream import (
    DONE,
    Exchange,
    Handler,
    Upstream,
    answering,
    closed_port,
    event,
    hang,
    open_upstream,
    piece,
    refusing,
    stream_of,
    streaming,
    usage_event,
)

T = TypeVar("T")
ASKED = (Message(role="system", content="Be brief."), Message(role="user", content="Grüße?"))
PATIENT = Timeouts(connect_s=5, first_byte_s=10, idle_s=10, total_s=30)
HURRIED = Timeouts(connect_s=0.3, first_byte_s=0.3, idle_s=0.3, total_s=5)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Upstream]:
    with open_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(scripted: Upstream) -> Upstream:
    scripted.requests.clear()
    scripted.connections = 0
    return scripted


def chat(url: str, timeouts: Timeouts = PATIENT, **more: Any) -> OpenAIChat:
    return OpenAIChat(name="vllm", base_url=url, model="some-model", timeouts=timeouts, **more)


def run(model: OpenAIChat, work: Callable[[OpenAIChat], Awaitable[T]]) -> T:
    """Work done in an event loop of its own, with the connections closed at its end."""

    async def whole() -> T:
        try:
            return await work(model)
        finally:
            await model.close()

    return asyncio.run(whole())


def ask(model: OpenAIChat, parameters: dict[str, Any] | None = None) -> list[Delta]:
    async def collect(m: OpenAIChat) -> list[Delta]:
        return [delta async for delta in m.stream(ASKED, parameters or {})]

    return run(model, collect)


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def failure(model: OpenAIChat) -> tuple[str, EndpointError]:
    """The text that came before an error, and the error."""
    text = ""

    async def collect(m: OpenAIChat) -> None:
        nonlocal text
        async for delta in m.stream(ASKED, {}):
            text += delta.text

    with pytest.raises(EndpointError, match="model endpoint 'vllm'") as caught:
        run(model, collect)
    return text, caught.value


def test_a_stream_becomes_deltas_with_finish_reason_and_usage(upstream: Upstream) -> None:
    upstream.handler = answering("Grüße", " dich", finish="length", tokens=(5, 2))
    deltas = ask(chat(upstream.url))
    assert text_of(deltas) == "Grüße dich"
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["length"]
    assert deltas[-1].usage == Usage(input_tokens=5, output_tokens=2)


def test_the_request_carries_what_the_endpoint_knows_and_nothing_else(upstream: Upstream) -> None:
    upstream.handler = answering("yes")
    given_ = {"temperature": 0.5, "max_tokens": 9, "stop": ["\n"], "max_sentences": 3, "unknown_answer": "?"}
    ask(chat(upstream.url + "/", api_key="secret"), given_)
    (request,) = upstream.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["content-type"] == "application/json"
    assert request.body == {
        "model": "some-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße?"}],
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ["\n"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_without_a_key_none_is_sent(upstream: Upstream) -> None:
    upstream.handler = answering("yes")
    ask(chat(upstream.url))
    assert "authorization" not in upstream.requests[0].headers


def test_usage_may_be_absent_or_null(upstream: Upstream) -> None:
    upstream.handler = streaming(event(piece("a", usage=None)), event(piece(finish="stop")), DONE)
    deltas = ask(chat(upstream.url))
    assert text_of(deltas) == "a"
    assert all(delta.usage is None for delta in deltas)


def test_usage_of_another_shape_costs_the_count_and_not_the_answer(upstream: Upstream) -> None:
    odd = piece(finish="stop", usage={"prompt_tokens": None, "completion_tokens": "7"})
    upstream.handler = streaming(event(piece("fine")), event(odd), DONE)
    deltas = ask(chat(upstream.url))
    assert text_of(deltas) == "fine"
    assert all(delta.usage is None for delta in deltas)


def test_an_empty_answer_is_an_answer(upstream: Upstream) -> None:
    upstream.handler = answering(tokens=(5, 0))
    deltas = ask(chat(upstream.url))
    assert text_of(deltas) == ""
    assert deltas[-1].usage == Usage(input_tokens=5, output_tokens=0)


def test_comments_and_unknown_fields_are_passed_over(upstream: Upstream) -> None:
    noise = b": keep-alive\n\nevent: message\nid: 3\n"
    upstream.handler = streaming(noise + event(piece("a")), b":\n\n", event(piece(finish="stop")), DONE)
    assert text_of(ask(chat(upstream.url))) == "a"


def test_carriage_returns_end_lines_too(upstream: Upstream) -> None:
    upstream.handler = streaming(stream_of("a\r\nb", "c").replace(b"\n", b"\r\n"))
    assert text_of(ask(chat(upstream.url))) == "a\r\nbc"


def test_the_last_event_may_lack_its_blank_line(upstream: Upstream) -> None:
    upstream.handler = streaming(event(piece("a")), event(piece(finish="stop")).rstrip())
    assert text_of(ask(chat(upstream.url))) == "a"


def test_many_pieces_arrive_in_order(upstream: Upstream) -> None:
    pieces = [f"{n} " for n in range(3000)]
    upstream.handler = answering(*pieces)
    assert text_of(ask(chat(upstream.url))) == "".join(pieces)


def test_a_connection_is_used_again(upstream: Upstream) -> None:
    def keep(exchange: Exchange) -> None:
        body = stream_of("a")
        exchange.headers["x-keep"] = "alive"
        exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    upstream.handler = keep

    async def thrice(model: OpenAIChat) -> list[str]:
        return [text_of([d async for d in model.stream(ASKED, {})]) for _ in range(3)]

    assert run(chat(upstream.url), thrice) == ["a", "a", "a"]
    assert upstream.connections == 1


def test_a_connection_that_the_endpoint_closed_in_the_meantime_does_no_harm(upstream: Upstream) -> None:
    def keep_and_close(exchange: Exchange) -> None:
        body = stream_of("a")
        exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    upstream.handler = keep_and_close

    async def twice(model: OpenAIChat) -> list[str]:
        first = text_of([d async for d in model.stream(ASKED, {})])
        await asyncio.sleep(0.2)
        return [first, text_of([d async for d in model.stream(ASKED, {})])]

    assert run(chat(upstream.url), twice) == ["a", "a"]


def test_leaving_a_stream_closes_the_connection_to_the_endpoint(upstream: Upstream) -> None:
    left: list[bool] = []
    upstream.handler = streaming(event(piece("a")), then=lambda exchange: left.append(exchange.left_within(10)))

    async def leave(model: OpenAIChat) -> str:
        stream = model.stream(ASKED, {})
        first = await anext(stream)
        await stream.aclose()
        while not left:
            await asyncio.sleep(0.01)
        return first.text

    assert run(chat(upstream.url), leave) == "a"
    assert left == [True]


def test_a_slow_stream_is_no_failure_while_it_moves(upstream: Upstream) -> None:
    def slowly(exchange: Exchange) -> None:
        exchange.head()
        for _ in range(5):
            exchange.event(piece("x"))
            exchange.left_within(0.1)
        exchange.send(stream_of())

    upstream.handler = slowly
    assert text_of(ask(chat(upstream.url, HURRIED))) == "xxxxx"


def test_a_refused_connection_says_where_nobody_listens() -> None:
    text, error = failure(chat(f"http://127.0.0.1:{closed_port()}/v1"))
    assert text == ""
    assert isinstance(error, EndpointUnreachableError)
    assert "cannot be reached at http://127.0.0.1:" in str(error)
    assert str(error).endswith("start it, or mend its base_url in serving/models.yaml")


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    _, error = failure(chat("http://no-such-host.invalid/v1"))
    assert isinstance(error, EndpointUnreachableError)


def test_an_address_that_is_none_is_unreachable() -> None:
    _, error = failure(chat("http://[half/v1"))
    assert isinstance(error, EndpointUnreachableError)
    assert "no valid base_url" in str(error)


def test_a_connection_that_is_not_accepted_in_time(upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        timeouts = Timeouts(connect_s=0.3, first_byte_s=10, idle_s=10, total_s=10)
        _, error = failure(chat(f"http://127.0.0.1:{address[1]}/v1", timeouts))
        for one in waiting:
            one.close()
    assert isinstance(error, EndpointTimeoutError)
    assert "no connection within 0.3 s" in str(error)


def test_an_endpoint_that_never_begins(upstream: Upstream) -> None:
    upstream.handler = hang
    text, error = failure(chat(upstream.url, HURRIED))
    assert (text, type(error)) == ("", EndpointTimeoutError)
    assert str(error) == "model endpoint 'vllm': no answer within 0.3 s; try again"


def test_an_endpoint_that_falls_silent(upstream: Upstream) -> None:
    upstream.handler = streaming(event(piece("half an")), then=hang)
    text, error = failure(chat(upstream.url, HURRIED))
    assert (text, type(error)) == ("half an", EndpointTimeoutError)
    assert str(error) == "model endpoint 'vllm': silent for 0.3 s; try again"


def test_an_endpoint_that_never_ends(upstream: Upstream) -> None:
    def trickle(exchange: Exchange) -> None:
        exchange.head()
        while not exchange.left_within(0.05):
            exchange.event(piece("x"))

    upstream.handler = trickle
    text, error = failure(chat(upstream.url, Timeouts(first_byte_s=5, idle_s=5, total_s=0.5)))
    assert text.startswith("x")
    assert isinstance(error, EndpointTimeoutError)
    assert str(error) == "model endpoint 'vllm': not done within 0.5 s; try again"


def test_silence_after_the_end_is_no_failure(upstream: Upstream) -> None:
    upstream.handler = streaming(stream_of("all of it"), then=hang)
    assert text_of(ask(chat(upstream.url, HURRIED))) == "all of it"


@pytest.mark.parametrize(
    "rest", [b"", event(piece(" one")), b'data: {"choices": [{"del'], ids=["at once", "after more", "in an event"]
)
def test_a_stream_without_its_end_is_never_a_short_answer(upstream: Upstream, rest: bytes) -> None:
    upstream.handler = streaming(event(piece("half")), rest)
    text, error = failure(chat(upstream.url))
    assert text.startswith("half")
    assert isinstance(error, EndpointProtocolError)


def test_a_chunked_body_cut_in_the_middle(upstream: Upstream) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.head(Transfer_Encoding="chunked")
        data = event(piece("half"))
        exchange.send(b"%x\r\n%s\r\n40\r\ndata" % (len(data), data))

    upstream.handler = cut
    text, error = failure(chat(upstream.url))
    assert (text, type(error)) == ("half", EndpointProtocolError)
    assert str(error) == "model endpoint 'vllm' cut the answer off before its end; try again"


def test_a_connection_that_is_dropped_without_a_word(upstream: Upstream) -> None:
    upstream.handler = lambda _: None
    _, error = failure(chat(upstream.url))
    assert isinstance(error, EndpointProtocolError)
    assert "cut the answer off" in str(error)


def test_an_endpoint_that_does_not_speak_http(upstream: Upstream) -> None:
    upstream.handler = lambda exchange: exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    _, error = failure(chat(upstream.url))
    assert isinstance(error, EndpointProtocolError)
    assert "does not speak HTTP as expected" in str(error)


NONSENSE: dict[str, Handler] = {
    "HTML": lambda e: e.answer(b"<html>Welcome to nginx!</html>", kind="text/html"),
    "JSON where a stream was asked for": lambda e: e.json({"choices": []}),
    "no JSON": streaming(event(b"hello")),
    "JSON cut short": streaming(event(b'{"choices": [')),
    "a list": streaming(event([1])),
    "a number": streaming(event(7)),
    "no choices": streaming(event({"id": "x"})),
    "choices of another type": streaming(event({"choices": 5})),
    "a choice of another type": streaming(event({"choices": ["x"]})),
    "no delta": streaming(event({"choices": [{"index": 0}]})),
    "a delta of another type": streaming(event({"choices": [{"delta": "x"}]})),
    "content of another type": streaming(event(piece(5))),
    "content in parts": streaming(event(piece([{"type": "text", "text": "x"}]))),
    "a finish reason of another type": streaming(event(piece("a")), event(piece(finish=3))),  # type: ignore[arg-type]  # wrong on purpose
}


@pytest.mark.parametrize("handler", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_called_nonsense(upstream: Upstream, handler: Handler) -> None:
    upstream.handler = handler
    _, error = failure(chat(upstream.url))
    assert isinstance(error, EndpointProtocolError)
    assert "something that is not a chat completion" in str(error)
    assert "is http://127.0.0.1:" in str(error)


def test_an_error_event_breaks_the_answer_off(upstream: Upstream) -> None:
    said = {"error": {"message": "CUDA out of memory", "code": 500}}
    upstream.handler = streaming(event(piece("half")), event(said), DONE)
    text, error = failure(chat(upstream.url))
    assert text == "half"
    assert str(error) == "model endpoint 'vllm' broke off: CUDA out of memory; look at its log"


def test_an_event_without_end_is_not_kept_in_memory(upstream: Upstream) -> None:
    def flood(exchange: Exchange) -> None:
        exchange.head()
        exchange.send(event(piece("a")) + b"data: " + b"x" * 5_000_000)
        exchange.left_within(10)

    upstream.handler = flood
    text, error = failure(chat(upstream.url))
    assert (text, type(error)) == ("a", EndpointProtocolError)
    assert "an event of more than 4000000 bytes" in str(error)


def test_an_event_of_a_few_megabytes_is_read(upstream: Upstream) -> None:
    upstream.handler = answering("x" * 3_000_000)
    assert len(text_of(ask(chat(upstream.url)))) == 3_000_000


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
def test_a_refusal_carries_status_and_reason(upstream: Upstream, status: int) -> None:
    upstream.handler = refusing(status, "because", Retry_After="7")
    _, error = failure(chat(upstream.url))
    assert isinstance(error, EndpointRejectedError)
    assert (error.status, error.retry_after) == (status, "7")
    assert f"refused the request ({status}): because" in str(error)


CURES = {401: "api_key_env", 403: "api_key_env", 404: "base_url and model", 500: "its log", 503: "try again"}


@pytest.mark.parametrize(("status", "cure"), CURES.items())
def test_a_refusal_that_the_operator_can_mend_says_where(upstream: Upstream, status: int, cure: str) -> None:
    upstream.handler = refusing(status, "because")
    _, error = failure(chat(upstream.url))
    assert cure in str(error)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "plain words"}', "plain words"),
        (b'{"message": "at the top"}', "at the top"),
        (b'{"error": {"message": null}}', "no reason given"),
        (b'"just text"', "just text"),
        (b"[]", "[]"),
        (b"upstream connect error", "upstream connect error"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "Whatever"),
    ],
)
def test_a_refusal_in_any_shape_has_a_reason(upstream: Upstream, body: bytes, said: str) -> None:
    upstream.handler = lambda exchange: exchange.answer(body, status=500)
    _, error = failure(chat(upstream.url))
    assert f"(500): {said}" in str(error)


def test_a_long_refusal_is_cut(upstream: Upstream) -> None:
    upstream.handler = refusing(500, "x" * 100_000)
    _, error = failure(chat(upstream.url))
    assert len(str(error)) < 1000


def test_a_redirect_is_not_followed_with_the_key(upstream: Upstream) -> None:
    with open_upstream() as other:
        other.handler = answering("stolen")
        elsewhere = f"{other.url}/chat/completions"
        upstream.handler = lambda exchange: exchange.answer(b"", status=307, Location=elsewhere)
        _, error = failure(chat(upstream.url, api_key="secret"))
        assert other.requests == []
    assert isinstance(error, EndpointRejectedError)
    assert error.status == 307
    assert str(error).endswith("/v1/chat/completions'; write that as its base_url")


def test_check_tells_a_working_endpoint_from_the_others(upstream: Upstream) -> None:
    upstream.handler = lambda exchange: exchange.json({"data": []})
    assert run(chat(upstream.url), OpenAIChat.check) == ""
    assert (upstream.requests[0].method, upstream.requests[0].path) == ("GET", "/v1/models")
    upstream.handler = refusing(401, "no key")
    assert "status 401" in run(chat(upstream.url), OpenAIChat.check)
    upstream.handler = hang
    assert "does not answer within 0.3 s" in run(chat(upstream.url, HURRIED), OpenAIChat.check)
    assert "cannot be reached" in run(chat(f"http://127.0.0.1:{closed_port()}/v1"), OpenAIChat.check)


def test_check_asks_beside_the_chat_whatever_the_host_is_called() -> None:
    with open_upstream() as upstream:
        upstream.handler = lambda exchange: exchange.json({"data": []})
        assert run(chat(upstream.url + "/chat/completions/v1"), OpenAIChat.check) == ""
        assert upstream.requests[0].path == "/v1/chat/completions/v1/models"


# Laws of the splitter: what comes out does not depend on where the network cut.

TEXTS = st.lists(st.text(max_size=20), max_size=6)


@given(texts=TEXTS, ends=st.sampled_from([b"\n", b"\r\n"]), cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_events_are_the_same_however_the_bytes_are_cut(texts: list[str], ends: bytes, cuts: list[int]) -> None:
    stream = stream_of(*texts).replace(b"\n", ends)
    splitter = EventSplitter()
    found: list[bytes] = []
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(places):
        found += splitter.feed(stream[start:end])
    values = [json.loads(data) for data in map(data_of, found) if data != b"[DONE]"]
    assert [v["choices"][0]["delta"]["content"] for v in values[:-2]] == texts
    assert values[-1] == usage_event((11, 7))
    assert splitter.rest == b""


@given(stream=st.binary(max_size=200), size=st.integers(1, 7))
def test_any_bytes_split_the_same_in_small_pieces_and_whole(stream: bytes, size: int) -> None:
    stream = stream.replace(b"\r", b"\n")
    whole, small = EventSplitter(), EventSplitter()
    expected = list(whole.feed(stream))
    found = [event for start in range(0, len(stream), size) for event in small.feed(stream[start : start + size])]
    assert [e.strip() for e in found] == [e.strip() for e in expected]
    assert small.rest == whole.rest


def test_data_over_several_lines_is_joined() -> None:
    assert data_of(b"event: x\ndata: a\ndata:b\n: comment") == b"a\nb"
    assert data_of(b": only a comment") == b""


def test_an_endless_event_raises() -> None:
    splitter = EventSplitter()
    with pytest.raises(EventTooLargeError, match="more than 4000000 bytes"):
        for _ in range(5):
            list(splitter.feed(b"x" * 1_000_000))
