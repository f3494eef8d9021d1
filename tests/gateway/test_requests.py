"""Requests that are not as they should be: each is answered in OpenAI's error shape."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.gateway.running import TOKEN, Gateway
from tests.gateway.test_endpoints import assert_error

POSTS = ("/v1/chat/completions", "/v1/search", "/v1/feedback", "/api/ingest", "/api/eval")
OWNER = {"Authorization": f"Bearer {TOKEN}"}
LIMIT = 10_000_000
posts = pytest.mark.parametrize("path", POSTS)


@posts
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the body is not JSON"),
        (b"hello", "the body is not JSON"),
        (b'{"model": ', "the body is not JSON"),
        (b'{"query": "\\ud800"}', "the body is not JSON"),
        (b"\xff\xfe{}", "the body is not JSON"),
        (b"[1, 2]", "the body must be a JSON object, not a list"),
        (b'"text"', "the body must be a JSON object, not a str"),
        (b"null", "the body must be a JSON object"),
        (b"[" * 100_000, "the body is not JSON"),
    ],
    ids=lambda value: str(value[:12]),
)
def test_a_body_that_is_no_json_object(gateway: Gateway, path: str, content: bytes, said: str) -> None:
    response = gateway.http.post(path, content=content, headers=OWNER)
    assert_error(response, 400, "invalid_request_error", said)


@posts
def test_the_content_type_does_not_matter(gateway: Gateway, path: str) -> None:
    """`curl -d` says it sends a form; what counts is what stands in it."""
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"):
        response = gateway.http.post(path, content=b'{"no": 1}', headers={**OWNER, "Content-Type": kind})
        assert_error(response, 400, "invalid_request_error", "'")
        assert "the body" not in response.text


@posts
def test_a_body_that_says_it_is_too_large_is_not_read(gateway: Gateway, path: str) -> None:
    address = urlsplit(gateway.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=20) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {LIMIT + 1}\r\n"
        connection.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body has 10000001 bytes; at most 10000000 are read" in answer


@posts
def test_a_body_that_turns_out_too_large_is_not_kept(gateway: Gateway, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(11):
            yield b" " * 1_000_000

    response = gateway.http.post(path, content=pieces(), headers=OWNER)
    assert_error(response, 413, "invalid_request_error", "the body has more than 10000000 bytes")


def test_a_body_of_nearly_the_limit_is_read(gateway: Gateway) -> None:
    content = b'{"query": "fees", "collection": "docs"}'.ljust(LIMIT)
    assert gateway.http.post("/v1/search", content=content).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": 5}, "'query': Input should be a valid string, not 5"),
        ({"query": None}, "'query': Input should be a valid string, not None"),
        ({"k": 0}, "'k': Input should be greater than or equal to 1, not 0"),
        ({"k": 101}, "'k': Input should be less than or equal to 100, not 101"),
        ({"k": "many"}, "'k': Input should be a valid integer"),
        ({"k": 1.5}, "'k': Input should be a valid integer"),
        ({"collection": ["docs"]}, "'collection': Input should be a valid string"),
        ({"route": 5}, "'route': Input should be a valid string"),
        ({"filter": "uri=x"}, "'filter': Input should be a valid dictionary"),
        ({"filter": {"a": ["x" * 100_000]}, "k": "x" * 100_000}, "'k'"),
        ({"top_k": 3}, "'top_k' is no field of this request; leave it out"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_field_of_a_search_is_checked(gateway: Gateway, body: dict[str, object], said: str) -> None:
    response = gateway.http.post("/v1/search", json={"query": "fees", "collection": "docs"} | body)
    assert len(assert_error(response, 400, "invalid_request_error", said)) < 400


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v2/models/x/infer", "/console/../app.py", "/console/none.js", "/api"]
)
def test_an_unknown_path(gateway: Gateway, path: str) -> None:
    response = gateway.http.get(path, headers=OWNER)
    assert response.status_code == 404
    assert "no such pa" in response.json()["error"]["message"]


def test_a_path_for_another_method_names_the_right_one(gateway: Gateway) -> None:
    for method, path, right in (("GET", "/v1/search", "POST"), ("POST", "/v1/models", "GET"), ("PUT", "/", "GET")):
        response = gateway.http.request(method, path, headers=OWNER)
        said = f"{method} is not for '{path}'; use {right}"
        assert_error(response, 405, "invalid_request_error", said)
        assert response.headers["allow"] == right


def test_an_unknown_route_names_those_there_are(gateway: Gateway) -> None:
    response = gateway.ask("asistant")
    assert_error(response, 404, "not_found_error", "no route 'asistant'; there is: assistant, forward, ")


def test_many_callers_at_once_each_get_their_own_answer(gateway: Gateway) -> None:
    questions = [
        "When does the library open?",
        "What does a late book cost?",
        "How many seats has the reading room?",
    ]
    alone = [gateway.ask("assistant", q).json()["choices"][0]["message"]["content"] for q in questions]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda q: gateway.ask("assistant", q).json(), questions * 8))
    assert [value["choices"][0]["message"]["content"] for value in together] == alone * 8
    assert len({value["inference_id"] for value in together}) == 24
