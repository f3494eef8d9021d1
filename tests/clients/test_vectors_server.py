"""What only a server asks of its store: request forms, and sentences for what goes wrong on the way."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from llmops.clients.protocols import Filter
from llmops.clients.vectors import open_store
from llmops.clients.vectors.server import ServerStore
from llmops.errors import BusyError, ConfigurationError, NotFoundError, StorageError
from llmops.settings import Settings
from tests.clients.test_vectors_contract import EVERYTHING, point

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning"),
]

Reply = Callable[[str, str], tuple[int, Any]]


class Recording(ThreadingHTTPServer):
    """A loopback server that answers with `reply(method, path)` and keeps what it was asked."""

    daemon_threads = True
    reply: Reply

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, str | None]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Recording

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = json.loads(body) if body else None
        self.server.asked.append((self.command, self.path, sent, self.headers.get("api-key")))
        status, answer = self.server.reply(self.command, self.path.partition("?")[0])
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)
        except BrokenPipeError:
            self.close_connection = True  # the client had no more patience: what its test is about

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing on standard error."""


@contextmanager
def server(reply: Reply) -> Iterator[Recording]:
    with Recording() as made:
        made.reply = reply
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def ok(result: Any) -> tuple[int, Any]:
    return 200, {"result": result, "status": "ok", "time": 0.001}


def refusing(status: int, message: str = "") -> Reply:
    return lambda *_: (status, {"status": {"error": message}, "time": 0.0})


def test_a_server_that_is_not_there_is_named_with_its_setting() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    store = ServerStore(url, timeout_s=2)
    with pytest.raises(StorageError, match=rf"{url}' cannot be reached .*: start it, or mend LLMOPS_QDRANT_URL"):
        store.count("handbook", where=EVERYTHING)
    with pytest.raises(StorageError, match="cannot be reached"):
        store.collections()
    store.close()


def test_a_server_that_does_not_answer_is_given_up() -> None:
    def slow(method: str, path: str) -> tuple[int, Any]:
        time.sleep(1.5)
        return ok({"count": 1})

    with server(slow) as there:
        store = ServerStore(there.url, timeout_s=1)
        with pytest.raises(StorageError, match=r"did not answer within 1 s: check the server"):
            store.count("handbook", where=EVERYTHING)
        store.close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_setting_and_is_not_shown(status: int) -> None:
    with server(refusing(status, "Invalid api-key")) as there:
        store = ServerStore(there.url, "very-secret")
        with pytest.raises(ConfigurationError, match="set LLMOPS_QDRANT_API_KEY") as caught:
            store.upsert("handbook", [point(1)])
        assert "very-secret" not in str(caught.value)
        assert there.asked[-1][3] == "very-secret"
        store.close()


@pytest.mark.parametrize(
    ("status", "message", "error", "sentence"),
    [
        (429, "slow down", BusyError, "over its limit: try again"),
        (507, "disk is full", StorageError, r"cannot serve collection 'handbook' \(status 507: .*disk is full"),
        (400, "Wrong input: odd", StorageError, "status 400: .*Wrong input: odd.*see the server's log"),
        (404, "nothing here", StorageError, "does not answer like Qdrant: check LLMOPS_QDRANT_URL"),
    ],
)
def test_what_a_server_refuses_is_said_in_one_sentence(
    status: int, message: str, error: type[Exception], sentence: str
) -> None:
    with server(refusing(status, message)) as there:
        store = ServerStore(there.url)
        with pytest.raises(error, match=sentence):
            store.count("handbook", where=EVERYTHING)
        store.close()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b'{"result": 3}'])
def test_a_server_that_is_no_qdrant_is_recognised(body: bytes) -> None:
    with server(lambda *_: (200, body)) as there:
        store = ServerStore(there.url)
        with pytest.raises(StorageError, match="does not answer like Qdrant: check LLMOPS_QDRANT_URL"):
            store.count("handbook", where=EVERYTHING)
        store.close()


def test_a_collection_unknown_to_the_server_names_those_it_has() -> None:
    def reply(method: str, path: str) -> tuple[int, Any]:
        if path == "/collections":
            return ok({"collections": [{"name": "wiki"}, {"name": "docs"}]})
        return refusing(404, "Not found: Collection `handbook` doesn't exist!")(method, path)

    with server(reply) as there:
        store = ServerStore(there.url)
        with pytest.raises(NotFoundError, match=r"'handbook' \(there is: 'docs', 'wiki'\); run `llmops ingest`"):
            store.count("handbook", where=EVERYTHING)
        store.close()


def test_create_asks_for_vectors_idf_indexes_and_metadata() -> None:
    def reply(method: str, path: str) -> tuple[int, Any]:
        if path.endswith("/exists"):
            return ok({"exists": False})
        return ok({"operation_id": 1, "status": "completed"} if path.endswith("/index") else True)

    with server(reply) as there:
        store = ServerStore(there.url)
        store.create("handbook", dimension=384, metadata={"embedder": "minilm"})
        store.close()
        made, *indexes, finished = there.asked[1:]
    assert made[:2] == ("PUT", "/collections/handbook")
    assert made[2]["vectors"] == {"dense": {"size": 384, "distance": "Cosine"}}
    assert made[2]["sparse_vectors"] == {"bm25": {"modifier": "idf"}}
    assert [(path, body) for _, path, body, _ in indexes] == [
        ("/collections/handbook/index?wait=true", {"field_name": name, "field_schema": "keyword"})
        for name in ("acl", "document_id")
    ]
    assert finished[:2] == ("PATCH", "/collections/handbook")
    assert finished[2]["metadata"] == {"embedder": "minilm", "llmops": "made"}


def test_both_searches_travel_in_one_request_that_carries_the_callers_principals() -> None:
    hit = {"id": "00000000-0000-0000-0000-000000000001", "version": 1, "score": 0.5}
    with server(lambda *_: ok([{"points": [hit]}, {"points": []}])) as there:
        store = ServerStore(there.url)
        dense, sparse = store.search(
            "handbook",
            dense=point(1).dense,
            sparse=point(1).sparse,
            limit=10,
            where=Filter(principals=("everyone", "staff"), metadata={"draft": False}),
        )
        store.close()
        [(method, path, body, _)] = there.asked
    assert ([h.chunk_id for h in dense], sparse) == ([hit["id"]], [])
    assert (method, path) == ("POST", "/collections/handbook/points/query/batch")
    by_vector = {search["using"]: search for search in body["searches"]}
    assert set(by_vector) == {"dense", "bm25"}
    for search in by_vector.values():
        assert search["with_payload"] is False
        assert search["limit"] >= 10
        [acl, draft] = search["filter"]["must"]
        assert (acl["key"], acl["match"]) == ("acl", {"any": ["everyone", "staff"]})
        assert (draft["key"], draft["range"]["gte"], draft["range"]["lte"]) == ("metadata.draft", 0, 0)


def test_writes_wait_until_they_are_applied_and_travel_in_slices() -> None:
    with server(lambda *_: ok({"operation_id": 1, "status": "completed"})) as there:
        store = ServerStore(there.url)
        store.upsert("handbook", [point(n) for n in range(1, 131)])
        store.delete_document("handbook", "guide", keep=[point(1).chunk.chunk_id])
        store.close()
        *upserts, delete = there.asked
    assert [len(body["points"]) for _, _, body, _ in upserts] == [64, 64, 2]
    assert all("wait=true" in path for _, path, _, _ in there.asked)
    only = delete[2]["filter"]
    assert (only["must"][0]["key"], only["must"][0]["match"]) == ("document_id", {"any": ["guide"]})
    assert only["must_not"] == [{"has_id": [point(1).chunk.chunk_id]}]


def test_no_principals_are_never_left_to_the_server_to_understand() -> None:
    def reply(method: str, path: str) -> tuple[int, Any]:
        return refusing(404, "Not found: Collection `handbook` doesn't exist!")(method, path)

    with server(lambda m, p: ok({"collections": []}) if p == "/collections" else reply(m, p)) as there:
        store = ServerStore(there.url)
        with pytest.raises(NotFoundError, match="no collection 'handbook'"):
            store.scroll("handbook", where=Filter(principals=()))
        assert all(method == "GET" for method, _, _, _ in there.asked)
        store.close()


def test_a_collection_that_a_killed_create_left_is_made_anew() -> None:
    client = QdrantClient(":memory:")
    vectors = {"dense": models.VectorParams(size=8, distance=models.Distance.COSINE)}
    client.create_collection("handbook", vectors_config=vectors, metadata={"llmops": "making"})
    client.create_collection("foreign", vectors_config=vectors)
    store = ServerStore("memory", client=client)
    store.create("handbook", dimension=4, metadata={"embedder": "minilm"})
    store.upsert("handbook", [point(1)])
    assert store.count("handbook", where=EVERYTHING) == 1
    metadata = client.get_collection("handbook").config.metadata
    assert metadata == {"embedder": "minilm", "llmops": "made"}
    with pytest.raises(ConfigurationError, match="'foreign' exists already: drop it first"):
        store.create("foreign", dimension=4, metadata={})
    store.close()


@pytest.mark.parametrize("url", ["ftp://example:21", "http://[::1"])
def test_an_address_that_is_none_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"LLMOPS_QDRANT_URL .*write it like http://HOST:6333"):
        ServerStore(url)


def test_a_password_in_the_address_is_never_shown() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ServerStore(f"http://user:hidden@127.0.0.1:{port}", timeout_s=2)
    with pytest.raises(StorageError, match=f"at 'http://127.0.0.1:{port}'") as caught:
        store.collections()
    assert "hidden" not in str(caught.value)
    store.close()


def test_the_setting_chooses_the_server(tmp_path: Path) -> None:
    store = open_store(Settings(qdrant_url="http://127.0.0.1:6333"), tmp_path / "vectors")
    assert isinstance(store, ServerStore)
    assert store.remote
    assert not (tmp_path / "vectors").exists()
    store.close()
