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

from llmops.clients.protocols import Filter, Quantization, SearchSettings, StoreSettings
from llmops.clients.vectors import open_store
from llmops.clients.vectors.server import ServerStore
from llmops.errors import BusyError, ConfigurationError, NotFoundError, StorageError
from llmops.settings import Settings
from tests.clients.test_vectors_contract import EVERYTHING, point

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
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


def making(method: str, path: str) -> tuple[int, Any]:
    """What a server answers while a collection is made on it."""
    if path.endswith("/exists"):
        return ok({"exists": False})
    return ok({"operation_id": 1, "status": "completed"} if path.endswith("/index") else True)


def created(settings: StoreSettings | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body that makes a collection, and the schema of each payload index."""
    with server(making) as there:
        store = ServerStore(there.url)
        store.create("handbook", dimension=384, metadata={"embedder": "minilm"}, settings=settings)
        store.close()
        made, *indexes, finished = there.asked[1:]
    assert made[:2] == ("PUT", "/collections/handbook")
    assert {path for _, path, _, _ in indexes} == {"/collections/handbook/index?wait=true"}
    assert finished[:2] == ("PATCH", "/collections/handbook")
    assert finished[2]["metadata"] == {"embedder": "minilm", "llmops": "made"}
    return made[2], {body["field_name"]: body["field_schema"] for _, _, body, _ in indexes}


def test_create_asks_for_vectors_idf_indexes_and_metadata() -> None:
    body, indexes = created(None)
    assert body == {
        "vectors": {"dense": {"size": 384, "distance": "Cosine"}},
        "sparse_vectors": {"bm25": {"modifier": "idf"}},
        "metadata": {"llmops": "making"},
    }
    tenant = {"type": "keyword", "is_tenant": True}
    keyword = {"type": "keyword"}
    assert indexes == {"tenant": tenant, "acl": keyword, "document_id": keyword}


def test_settings_for_scale_become_arguments_of_the_collection() -> None:
    settings = StoreSettings(
        shard_number=12,
        replication_factor=2,
        write_consistency_factor=2,
        on_disk_vectors=True,
        on_disk_payload=True,
        on_disk_words=True,
        on_disk_indexes=True,
        quantization="int8",
        quantile=0.995,
        quantized_in_ram=True,
        hnsw_m=24,
        hnsw_ef_construct=200,
        indexing_threshold_kb=50_000,
        index_fields={"lang": "keyword", "year": "number"},
    )
    body, indexes = created(settings)
    assert body["vectors"] == {"dense": {"size": 384, "distance": "Cosine", "on_disk": True}}
    assert (body["shard_number"], body["replication_factor"], body["write_consistency_factor"]) == (12, 2, 2)
    assert body["on_disk_payload"] is True
    assert body["quantization_config"] == {"scalar": {"type": "int8", "quantile": 0.995, "always_ram": True}}
    assert body["hnsw_config"] == {"m": 24, "ef_construct": 200}
    assert body["optimizers_config"] == {"indexing_threshold": 50_000}
    assert body["sparse_vectors"] == {"bm25": {"modifier": "idf", "index": {"on_disk": True}}}
    on_disk = {"type": "keyword", "on_disk": True}
    assert indexes == {
        "tenant": {"type": "keyword", "is_tenant": True, "on_disk": True},
        "acl": on_disk,
        "document_id": on_disk,
        "metadata.lang": on_disk,
        "metadata.year": {"type": "float", "on_disk": True},
    }


@pytest.mark.parametrize(
    ("quantization", "asked"),
    [
        ("none", None),
        ("turbo8", {"turbo": {"always_ram": False, "bits": "bits8"}}),
        ("turbo4", {"turbo": {"always_ram": False, "bits": "bits4"}}),
        ("binary", {"binary": {"always_ram": False}}),
        ("product", {"product": {"compression": "x32", "always_ram": False}}),
    ],
)
def test_each_kind_of_codes_has_its_form(quantization: Quantization, asked: dict[str, Any] | None) -> None:
    settings = StoreSettings(quantization=quantization, quantized_in_ram=False, product_compression=32)
    body, _ = created(settings)
    assert body.get("quantization_config") == asked


def test_a_compression_that_no_server_knows_is_refused_before_anything_is_made() -> None:
    with server(making) as there:
        store = ServerStore(there.url)
        with pytest.raises(ConfigurationError, match="product_compression is 5: use one of 4, 8, 16, 32, 64"):
            store.create(
                "handbook",
                dimension=4,
                metadata={},
                settings=StoreSettings(quantization="product", product_compression=5),
            )
        store.close()
        assert there.asked == []


def test_the_in_process_form_takes_the_settings_too() -> None:
    client = QdrantClient(":memory:")
    store = ServerStore("memory", client=client)
    settings = StoreSettings(shard_number=3, quantization="turbo4", hnsw_m=8, on_disk_vectors=True)
    store.create("handbook", dimension=4, metadata={}, settings=settings)
    store.upsert("handbook", [point(1)])
    dense, _ = store.search(
        "handbook",
        dense=point(1).dense,
        sparse=None,
        limit=1,
        where=EVERYTHING,
        settings=SearchSettings(hnsw_ef=64),
    )
    assert [hit.chunk_id for hit in dense] == [point(1).chunk.chunk_id]
    store.close()


def test_a_search_says_how_codes_are_read_and_whose_words_are_counted() -> None:
    with server(lambda *_: ok([{"points": []}, {"points": []}])) as there:
        store = ServerStore(there.url)
        for where, settings in (
            (Filter(principals=("staff",)), None),
            (
                Filter(principals=("staff",), tenant="acme"),
                SearchSettings(exact=True, hnsw_ef=99, rescore=False, oversampling=3.0),
            ),
        ):
            store.search(
                "handbook", dense=point(1).dense, sparse=point(1).sparse, limit=5, where=where, settings=settings
            )
        store.close()
        [plain, tenant] = [{s["using"]: s for s in body["searches"]} for _, _, body, _ in there.asked]
    assert plain["dense"]["params"]["quantization"] == {"rescore": True, "oversampling": 2.0}
    assert plain["bm25"].get("params") is None
    assert (tenant["dense"]["params"]["exact"], tenant["dense"]["params"]["hnsw_ef"]) == (True, 99)
    assert tenant["dense"]["params"]["quantization"]["rescore"] is False
    own = {"must": [{"key": "tenant", "match": {"value": "acme"}}]}
    assert tenant["bm25"]["params"]["idf"]["corpus"] == own
    [acl, of_tenant] = tenant["dense"]["filter"]["must"]
    assert (acl["key"], acl["match"]) == ("acl", {"any": ["\x1f4:acmestaff"]})
    assert (of_tenant["key"], of_tenant["match"]) == ("tenant", {"any": ["acme"]})


def test_access_is_set_on_the_payload_alone_and_waited_for() -> None:
    record = {"id": "00000000-0000-0000-0000-000000000001", "payload": {"tenant": "acme"}}

    def reply(method: str, path: str) -> tuple[int, Any]:
        if path.endswith("/scroll"):
            return ok({"points": [record], "next_page_offset": None})
        return ok({"operation_id": 1, "status": "completed"})

    with server(reply) as there:
        store = ServerStore(there.url)
        store.set_access("handbook", "guide", acl=["board"])
        store.delete_documents("handbook", [f"d{n}" for n in range(100)])
        store.close()
        asked, changed, *deletes = there.asked
    assert (asked[1], asked[2]["with_payload"], asked[2]["with_vector"]) == (
        "/collections/handbook/points/scroll",
        ["tenant"],
        False,
    )
    assert changed[1] == "/collections/handbook/points/payload?wait=true"
    assert changed[2]["payload"] == {"acl": ["\x1f4:acmeboard"]}
    [of_document, of_tenant] = changed[2]["filter"]["must"]
    assert of_tenant == {"key": "tenant", "match": {"any": ["acme"]}}
    assert (of_document["key"], of_document["match"]) == ("document_id", {"any": ["guide"]})
    assert [len(body["filter"]["must"][0]["match"]["any"]) for _, _, body, _ in deletes] == [64, 36]


def test_documents_are_listed_without_texts_and_vectors() -> None:
    def reply(method: str, path: str) -> tuple[int, Any]:
        points = [{"id": n, "payload": {"document_id": f"d{n % 2}"}} for n in range(1, 4)]
        return ok({"points": points, "next_page_offset": None})

    with server(reply) as there:
        store = ServerStore(there.url)
        assert store.document_ids("handbook") == {"d1": 2, "d0": 1}
        store.close()
        [(_, _, body, _)] = there.asked
    assert (body["with_payload"], body["with_vector"]) == (["document_id"], False)


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
