"""The rerank endpoint's door, against a real server on loopback that answers well, badly, late and not at all."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from llmops.clients.rerankers import EndpointReranker
from llmops.errors import (
    EndpointError,
    EndpointProtocolError,
    EndpointRejectedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
)
from llmops.records import Chunk

Handle = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def chunk(text: str, *headings: str) -> Chunk:
    return Chunk(
        chunk_id=text[:8],
        document_id="d",
        uri="d.md",
        title="",
        ordinal=0,
        text=text,
        start=0,
        end=len(text),
        heading_path=headings,
        locator="",
        n_tokens=5,
        acl=(),
    )


CHUNKS = [chunk("Lunch is at noon."), chunk("Badges cost five euros.", "Badges"), chunk("A badge is lost.")]


@dataclass
class RerankServer:
    """A real HTTP server; `handle` decides what it says, `seen` keeps what it was asked."""

    url: str
    handle: Handle
    seen: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    def reranker(self, **more: Any) -> EndpointReranker:
        return EndpointReranker(**{"url": self.url, "model": "a-reranker", "timeout_s": 5.0, **more})


@pytest.fixture
def server() -> Iterator[RerankServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.seen.append((dict(self.headers), body))
            made.handle(self, body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    made = RerankServer(url=f"http://127.0.0.1:{httpd.server_port}/v1/rerank", handle=by_length)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.let_go.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def answering(value: Any, status: int = 200, **headers: str) -> Handle:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda handler, _: send(handler, status, raw, **headers)


def by_length(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """As the servers do: best first, with the documents' indices."""
    results = [{"index": i, "relevance_score": float(len(text))} for i, text in enumerate(body["documents"])]
    ordered = sorted(results, key=lambda result: -float(result["relevance_score"]))[: body["top_n"]]
    send(handler, 200, json.dumps({"id": "x", "model": body["model"], "results": ordered}).encode())


def test_scores_come_in_the_order_of_the_passages(server: RerankServer) -> None:
    scores = server.reranker().score("badge", CHUNKS)
    assert scores == [len(one.embedded_text) for one in CHUNKS]
    ((headers, body),) = server.seen
    assert body == {
        "model": "a-reranker",
        "query": "badge",
        "documents": ["Lunch is at noon.", "Badges\nBadges cost five euros.", "A badge is lost."],
        "top_n": 3,
    }
    assert "Authorization" not in headers


def test_the_key_is_a_bearer_token(server: RerankServer) -> None:
    server.reranker(api_key="k-1").score("badge", CHUNKS)
    assert server.seen[0][0]["Authorization"] == "Bearer k-1"


def test_nothing_to_rank_asks_nobody(server: RerankServer) -> None:
    assert server.reranker().score("badge", []) == []
    assert server.seen == []


def test_what_the_server_leaves_out_comes_last_in_its_order(server: RerankServer) -> None:
    server.handle = answering({"results": [{"index": 2, "relevance_score": -4}]})
    first, second, third = server.reranker().score("badge", CHUNKS)
    assert third > first > second


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (429, b'{"error": {"message": "Slow down."}}', r"refused the request \(429\): Slow down; try again later"),
        (500, b"", r"refused the request \(500\): Internal Server Error; look at its log"),
        (503, b"loading", r"refused the request \(503\): loading; try again"),
        (401, b'{"message": "no key"}', r"\(401\): no key; set the variable that api_key_env names"),
        (404, b'{"detail": "Not Found"}', r"\(404\): Not Found; are url and model right\?"),
        (422, b'{"detail": [{"loc": ["top_n"]}]}', r"\(422\): \[\{'loc': \['top_n'\]\}\]"),
        (307, b"", r"\(307\): it redirects to 'http://elsewhere/'; write that as its url"),
    ],
)
def test_a_refusal_says_what_the_server_said(server: RerankServer, status: int, body: bytes, said: str) -> None:
    server.handle = answering(body, status, Retry_After="7", Location="http://elsewhere/")
    with pytest.raises(EndpointRejectedError, match=said) as caught:
        server.reranker().score("badge", CHUNKS)
    assert (caught.value.status, caught.value.retry_after) == (status, "7")
    assert caught.value.endpoint == "rerank:a-reranker"


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>hello</html>",
        b"",
        b"[]",
        b'{"results": null}',
        {"results": []},
        {"data": []},
        {"results": [{"index": 3, "relevance_score": 1}]},
        {"results": [{"index": -1, "relevance_score": 1}]},
        {"results": [{"index": True, "relevance_score": 1}]},
        {"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 2}]},
        {"results": [{"index": 0, "relevance_score": "1"}]},
        {"results": [{"index": 0, "relevance_score": None}]},
        {"results": [{"index": 0, "relevance_score": True}]},
        {"results": [{"index": 0}]},
        {"results": ["best"]},
        b'{"results": [{"index": 0, "relevance_score": NaN}]}',
        b'{"results": [{"index": 0, "relevance_score": 1e999}]}',
    ],
)
def test_nonsense_is_told(server: RerankServer, answer: Any) -> None:
    server.handle = answering(answer)
    with pytest.raises(EndpointProtocolError, match="answered with something that is not a ranking"):
        server.reranker().score("badge", CHUNKS)


def test_an_answer_that_breaks_off_is_told(server: RerankServer) -> None:
    def cut(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"results": [')
        handler.close_connection = True

    server.handle = cut
    with pytest.raises(EndpointProtocolError, match="broke off"):
        server.reranker().score("badge", CHUNKS)


def test_a_server_that_says_nothing_is_too_slow(server: RerankServer) -> None:

    def wait(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        server.let_go.wait(30)
        handler.close_connection = True

    server.handle = wait
    with pytest.raises(EndpointTimeoutError, match=r"did not answer within 0.1 s; try again, or raise timeout_s"):
        server.reranker(timeout_s=0.1).score("badge", CHUNKS)


def test_a_server_that_drips_is_too_slow(server: RerankServer) -> None:
    """Each byte comes in time, the whole does not."""

    def drip(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not server.let_go.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    server.handle = drip
    with pytest.raises(EndpointTimeoutError, match=r"did not answer within 0\.2 s"):
        server.reranker(timeout_s=0.2).score("badge", CHUNKS)


def test_a_flood_is_cut(server: RerankServer) -> None:
    server.handle = answering(b" " * 16_000_001)
    with pytest.raises(EndpointProtocolError, match="more than 16000000 bytes"):
        server.reranker().score("badge", CHUNKS)


def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reranker = EndpointReranker(url=f"http://127.0.0.1:{port}/rerank", model="m")
    with pytest.raises(EndpointUnreachableError, match=r"cannot be reached .* start it, or mend its url"):
        reranker.score("badge", CHUNKS)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://127.0.0.1:99999/"])
def test_a_wrong_address_is_told(url: str) -> None:
    with pytest.raises(EndpointError, match="rerank endpoint 'http://"):
        EndpointReranker(url=url, model="m").score("badge", CHUNKS)


def test_many_threads_share_the_connections(server: RerankServer) -> None:
    reranker = server.reranker()
    found: list[list[float]] = []
    threads = [threading.Thread(target=lambda: found.append(reranker.score("badge", CHUNKS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[len(one.embedded_text) for one in CHUNKS]] * 8
