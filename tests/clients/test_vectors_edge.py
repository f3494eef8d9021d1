"""What only the embedded store must do: own its folder, survive its process, and say what is broken."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmops.clients.protocols import Filter, Quantization, SearchSettings, StoreSettings
from llmops.clients.vectors import open_store
from llmops.clients.vectors.edge import EdgeStore
from llmops.clients.vectors.payload import to_payload
from llmops.errors import ConfigurationError, LlmopsError, NotFoundError, StorageError, WorkspaceBusyError
from llmops.records import ScoredId
from llmops.settings import Settings
from tests.clients.test_vectors_contract import EVERYTHING, chunk_id, point

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process that runs `code` where this one's packages are at hand."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def filled(directory: Path, n_points: int = 3, name: str = "handbook") -> None:
    store = EdgeStore(directory)
    store.create(name, dimension=4, metadata={"spec_hash": "abc"})
    store.upsert(name, [point(n) for n in range(1, n_points + 1)])
    store.close()


def test_points_are_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    filled(tmp_path, 100)
    store = open_store(Settings(), tmp_path)
    assert isinstance(store, EdgeStore)
    assert not store.remote
    assert store.collections() == ["handbook"]
    assert store.count("handbook", where=Filter(principals=("everyone",))) == 100
    _, [best] = store.search(
        "handbook", dense=None, sparse=point(1).sparse, limit=1, where=Filter(principals=("everyone",))
    )
    assert best.chunk_id == chunk_id(1)
    assert '"spec_hash": "abc"' in (tmp_path / "handbook" / "collection.json").read_text()
    store.close()


def test_a_second_process_is_refused_in_one_sentence(tmp_path: Path) -> None:
    filled(tmp_path)
    store = EdgeStore(tmp_path)
    code = """
import sys
from pathlib import Path
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import WorkspaceBusyError
try:
    EdgeStore(Path(sys.argv[1]))
except WorkspaceBusyError as error:
    print(error)
"""
    said, _ = python(code, tmp_path).communicate(timeout=60)
    assert f"in use by another process (process {os.getpid()}): stop it, or set LLMOPS_QDRANT_URL" in said
    with pytest.raises(WorkspaceBusyError, match="in use by another process"):
        EdgeStore(tmp_path)
    store.close()
    EdgeStore(tmp_path).close()


def test_a_collection_that_edge_itself_finds_locked_is_busy(tmp_path: Path) -> None:
    filled(tmp_path)
    import qdrant_edge

    other = qdrant_edge.EdgeShard.load(str(tmp_path / "handbook"))
    store = EdgeStore(tmp_path)
    with pytest.raises(WorkspaceBusyError, match="in use by another process"):
        store.count("handbook", where=EVERYTHING)
    other.close()
    assert store.count("handbook", where=EVERYTHING) == 3
    store.close()


@pytest.mark.parametrize("after_points", [64, 600, 2000])
def test_kill_9_in_the_middle_of_upserts_loses_no_acknowledged_point(tmp_path: Path, after_points: int) -> None:
    code = """
import sys
from pathlib import Path
from llmops.clients.vectors.edge import EdgeStore
from tests.clients.test_vectors_contract import point
store = EdgeStore(Path(sys.argv[1]))
store.create("handbook", dimension=4, metadata={})
for start in range(1, 1_000_000, 32):
    store.upsert("handbook", [point(n, dense=(1, n, 0, 0), text=f"text {n}") for n in range(start, start + 32)])
    print(start + 31, flush=True)
"""
    writer = python(code, tmp_path)
    assert writer.stdout is not None
    acknowledged = 0
    while acknowledged < after_points:
        acknowledged = int(writer.stdout.readline())
    time.sleep(0.003)
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate(timeout=60)
    acknowledged = max([acknowledged, *(int(line) for line in rest.split("\n")[:-1])])

    store = EdgeStore(tmp_path)
    found = {p.chunk.chunk_id: p for p in store.scroll("handbook", where=EVERYTHING)}
    for number in range(1, acknowledged + 1):
        sent = point(number, dense=(1, number, 0, 0), text=f"text {number}")
        back = found[chunk_id(number)]
        assert back.chunk == sent.chunk
        np.testing.assert_allclose(back.dense, sent.dense, atol=1e-6)
    assert len(found) <= acknowledged + 32
    store.close()


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05])
def test_kill_9_while_collections_are_made_and_dropped_leaves_whole_ones_only(
    tmp_path: Path, after_s: float
) -> None:
    code = """
import sys
from pathlib import Path
from llmops.clients.vectors.edge import EdgeStore
store = EdgeStore(Path(sys.argv[1]))
while True:
    store.create("handbook", dimension=4, metadata={})
    print("made", flush=True)
    store.drop("handbook")
"""
    worker = python(code, tmp_path)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "made\n"
    time.sleep(after_s)
    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=60)

    store = EdgeStore(tmp_path)
    if store.collections():
        store.upsert("handbook", [point(1)])
        assert store.count("handbook", where=EVERYTHING) == 1
        store.drop("handbook")
    store.create("handbook", dimension=4, metadata={})
    assert sorted(p.name for p in tmp_path.iterdir()) == [".owner", "handbook"]
    store.close()


def test_what_a_killed_create_or_drop_left_is_swept_and_blocks_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    shutil.copytree(tmp_path / "handbook", tmp_path / ".making-other")
    shutil.copytree(tmp_path / "handbook", tmp_path / ".removing-handbook")
    (tmp_path / ".making-other" / "edge_config.json").unlink()
    store = EdgeStore(tmp_path)
    assert store.collections() == ["handbook"]
    store.create("other", dimension=4, metadata={})
    store.drop("handbook")
    assert store.collections() == ["other"]
    store.close()


def broken(directory: Path, what: str) -> None:
    folder = directory / "handbook"
    match what:
        case "configuration":
            (folder / "edge_config.json").write_text("{nope")
        case "log":
            for file in (folder / "wal").glob("open-*"):
                file.write_bytes(b"garbage" * 1000)
        case "payload":
            for file in folder.glob("segments/*/payload_storage/config.json"):
                file.write_text("")
        case "vectors":
            for file in folder.glob("segments/*/vector_storage-dense/vectors/*"):
                file.write_bytes(b"")
        case "all":
            shutil.rmtree(folder)
            folder.mkdir()


@pytest.mark.parametrize("what", ["configuration", "log", "payload", "vectors", "all"])
def test_a_damaged_collection_is_named_with_its_cure_and_can_be_dropped(tmp_path: Path, what: str) -> None:
    filled(tmp_path)
    filled(tmp_path, name="other")
    broken(tmp_path, what)
    store = EdgeStore(tmp_path)
    cure = r"collection 'handbook' in .* is damaged .*: restore it or run `llmops ingest run NAME --rebuild`"
    with pytest.raises(StorageError, match=cure):
        store.count("handbook", where=EVERYTHING)
    assert store.count("other", where=EVERYTHING) == 3
    store.drop("handbook")
    store.create("handbook", dimension=4, metadata={})
    assert store.count("handbook", where=EVERYTHING) == 0
    store.close()


SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import ConfigurationError, LlmopsError, StorageError
from tests.clients.test_vectors_contract import EVERYTHING, point
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + sys.argv[2], "tmpfs", disk], check=True)
store, stored = None, 0
def attempt(call):
    try:
        return call()
    except LlmopsError as error:
        print(type(error).__name__, error)
store = EdgeStore(disk / "vectors")
if attempt(lambda: store.create("handbook", dimension=4, metadata={}) or True):
    def fill():
        global stored
        for start in range(1, 100_000, 64):
            store.upsert("handbook", [point(n, text="word " * 800) for n in range(start, start + 64)])
            stored += 64
    attempt(fill)
    print("stored", stored > 0, store.count("handbook", where=EVERYTHING) == stored)
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    attempt(lambda: EdgeStore(disk / "vectors"))
"""


def on_a_small_disk(directory: Path, size: str) -> str:
    """What `SMALL_DISK` prints on a file system of that size."""
    unshare = shutil.which("unshare")
    allowed = (
        unshare
        and not subprocess.run(
            [unshare, "-rm", "mount", "-t", "tmpfs", "tmpfs", str(directory)], capture_output=True
        ).returncode
    )
    if not allowed:
        pytest.skip("this system does not let us mount a small disk (unshare -rm)")
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", SMALL_DISK, str(directory), size],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_that_fills_up_stops_writes_before_it_kills_the_process(tmp_path: Path) -> None:
    full, kept, read_only = on_a_small_disk(tmp_path, "290m").splitlines()
    assert full.startswith("StorageError the disk of ")
    assert full.endswith("free some space and repeat; nothing that was stored is lost")
    assert kept == "stored True True"
    assert read_only.startswith("StorageError ")
    assert "cannot be written (Read-only file system)" in read_only


def test_a_disk_that_is_full_already_refuses_a_collection(tmp_path: Path) -> None:
    assert on_a_small_disk(tmp_path, "50m").startswith("StorageError the disk of ")


def test_searches_go_on_while_another_thread_ingests_and_a_third_drops(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    for name in ("handbook", "old"):
        store.create(name, dimension=4, metadata={})
        store.upsert(name, [point(n, dense=(1, n, 0, 0)) for n in range(1, 65)])
    failures: list[Exception] = []
    done = threading.Event()

    def search(name: str) -> None:
        try:
            while not done.wait(0.002):
                dense, _ = store.search(name, dense=point(1).dense, sparse=None, limit=3, where=EVERYTHING)
                assert [hit.chunk_id for hit in dense] == [chunk_id(1), chunk_id(2), chunk_id(3)]
        except (AssertionError, LlmopsError) as exc:
            failures.append(exc)

    threads = [threading.Thread(target=search, args=(name,)) for name in ("handbook", "handbook", "old")]
    for thread in threads:
        thread.start()
    for start in range(65, 2000, 64):
        store.upsert("handbook", [point(n, dense=(1, n, 0, 0)) for n in range(start, start + 64)])
    store.drop("old")
    done_at = time.monotonic() + 30
    while not failures and time.monotonic() < done_at:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert [type(exc) for exc in failures] == [NotFoundError], failures
    store.close()


def test_a_scroll_whose_store_is_closed_half_way_says_so(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    store = EdgeStore(tmp_path)
    points = store.scroll("handbook", where=EVERYTHING, batch=4)
    next(points)
    store.close()
    with pytest.raises(StorageError, match="is closed: open it again"):
        list(points)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vectors").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        EdgeStore(tmp_path / "vectors")


def test_a_point_that_llmops_did_not_write_is_named(tmp_path: Path) -> None:
    filled(tmp_path)
    import qdrant_edge

    shard = qdrant_edge.EdgeShard.load(str(tmp_path / "handbook"))
    alien = qdrant_edge.Point(chunk_id(9), {"dense": [1.0, 0.0, 0.0, 0.0]}, {"text": "alien"})
    shard.update(qdrant_edge.UpdateOperation.upsert_points([alien]))
    shard.close()
    store = EdgeStore(tmp_path)
    with pytest.raises(LlmopsError, match=f"point '{chunk_id(9)}' does not hold a chunk"):
        store.fetch("handbook", [chunk_id(9)], where=EVERYTHING)
    store.close()


def test_a_missing_engine_names_the_extra_and_importing_the_door_loads_none(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from llmops.clients.vectors import open_store
from llmops.errors import MissingExtraError
from llmops.settings import Settings
assert not {"qdrant_edge", "qdrant_client"} & set(sys.modules)
sys.modules["qdrant_edge"] = sys.modules["qdrant_client"] = None
for settings in (Settings(), Settings(qdrant_url="http://localhost:6333")):
    try:
        open_store(settings, Path(sys.argv[1]))
    except MissingExtraError as error:
        print(error)
"""
    said, trouble = python(code, tmp_path).communicate(timeout=60)
    assert said.splitlines() == [
        "'qdrant-edge-py' is not installed: run pip install 'llmops[ingest]'",
        "'qdrant-client' is not installed: run pip install 'llmops[ingest]'",
    ], trouble


def test_a_document_whose_access_was_taken_away_stays_hidden_after_kill_9(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from llmops.clients.vectors.edge import EdgeStore
from tests.clients.test_vectors_contract import point
store = EdgeStore(Path(sys.argv[1]))
store.create("handbook", dimension=4, metadata={})
store.upsert("handbook", [point(n, document=f"d{n}", tenant="acme") for n in range(1, 501)])
for n in range(1, 501):
    store.set_access("handbook", f"d{n}", acl=["board"])
    print(n, flush=True)
"""
    writer = python(code, tmp_path)
    assert writer.stdout is not None
    while int(writer.stdout.readline()) < 100:
        pass
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate(timeout=60)
    acknowledged = max([100, *(int(line) for line in rest.split("\n")[:-1])])
    store = EdgeStore(tmp_path)
    everyone, board = (Filter(principals=(name,), tenant="acme") for name in ("everyone", "board"))
    still_open = {p.chunk.document_id for p in store.scroll("handbook", where=everyone)}
    assert still_open.isdisjoint(f"d{n}" for n in range(1, acknowledged + 1))
    assert store.count("handbook", where=board) in (acknowledged, acknowledged + 1)
    store.close()


def as_made_before_tenants(directory: Path) -> None:
    """A collection with points 1 and 2 as llmops 0.1 wrote them: no tenant, no index for it, no later field."""
    import qdrant_edge as edge

    folder = directory / "handbook"
    folder.mkdir(parents=True)
    (folder / "collection.json").write_text('{"dimension": 4, "metadata": {}}')
    config = edge.EdgeConfig(
        vectors={"dense": edge.EdgeVectorParams(size=4, distance=edge.Distance.Cosine)},
        sparse_vectors={"bm25": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        wal_enabled=True,
    )
    shard = edge.EdgeShard.create(str(folder), config)
    for field in ("acl", "document_id"):
        shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
    later = ("tenant", "url", "context", "context_start", "n_context_tokens")
    for number in (1, 2):
        payload = to_payload(point(number, acl=("staff",)).chunk)
        assert payload["acl"] == ["staff"]
        vectors: dict[str, Any] = {"dense": [1.0, 0.0, 0.0, 0.0], "bm25": edge.SparseVector([number], [1.0])}
        stored = {key: value for key, value in payload.items() if key not in later}
        shard.update(edge.UpdateOperation.upsert_points([edge.Point(chunk_id(number), vectors, stored)]))
    shard.close()


def test_points_stored_before_there_were_tenants_belong_to_the_default_tenant(tmp_path: Path) -> None:
    as_made_before_tenants(tmp_path)
    store = EdgeStore(tmp_path)
    store.upsert("handbook", [point(3, acl=("staff",), tenant="acme")])
    default, acme = Filter(principals=("staff",)), Filter(principals=("staff",), tenant="acme")
    old = [p.chunk for p in store.scroll("handbook", where=default)]
    assert old == [point(1, acl=("staff",)).chunk, point(2, acl=("staff",)).chunk]
    assert (store.count("handbook", where=default), store.count("handbook", where=acme)) == (2, 1)
    dense, sparse = store.search("handbook", dense=point(1).dense, sparse=point(1).sparse, limit=5, where=default)
    assert [hit.chunk_id for hit in dense] == [chunk_id(1), chunk_id(2)]
    assert [hit.chunk_id for hit in sparse] == [chunk_id(1)]
    store.set_access("handbook", "guide", acl=["board"])
    assert store.count("handbook", where=default) == 0
    assert store.count("handbook", where=Filter(principals=("board",))) == 2
    store.close()


@pytest.mark.parametrize(
    ("quantization", "least"), [("auto", 0.99), ("turbo8", 0.99), ("turbo4", 0.98), ("binary", 0.85)]
)
def test_codes_find_nearly_what_an_exact_search_finds(
    tmp_path: Path, quantization: Quantization, least: float
) -> None:
    n_points, dimension = 3_000, 128
    rng = np.random.default_rng(3)
    topics = rng.normal(size=(60, dimension))
    vectors = topics[rng.integers(0, 60, n_points + 40)] + 0.6 * rng.normal(size=(n_points + 40, dimension))
    store = EdgeStore(tmp_path)
    settings = StoreSettings(
        quantization=quantization,
        on_disk_vectors=True,
        on_disk_payload=True,
        on_disk_words=True,
        on_disk_indexes=True,
    )
    store.create("codes", dimension=dimension, metadata={}, settings=settings)
    store.upsert("codes", [point(n + 1, dense=vector) for n, vector in enumerate(vectors[:n_points])])
    store.close()
    store = EdgeStore(tmp_path)

    def found(query: np.ndarray, settings: SearchSettings) -> set[str]:
        unit = (query / np.linalg.norm(query)).astype(np.float32)
        dense, _ = store.search("codes", dense=unit, sparse=None, limit=10, where=EVERYTHING, settings=settings)
        return {hit.chunk_id for hit in dense}

    def recall(settings: SearchSettings) -> float:
        exact = SearchSettings(exact=True)
        return float(np.mean([len(found(q, settings) & found(q, exact)) / 10 for q in vectors[n_points:]]))

    rescored = recall(SearchSettings(oversampling=4.0))
    assert rescored >= least
    assert recall(SearchSettings(rescore=False, oversampling=1.0)) < rescored, "the codes were not read"
    [back] = store.fetch("codes", [chunk_id(1)], where=EVERYTHING).values()
    np.testing.assert_allclose(back.dense, point(1, dense=vectors[0]).dense, atol=1e-6)
    store.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (StoreSettings(shard_number=2), "shard_number is 2 and the embedded vectors are one part"),
        (StoreSettings(replication_factor=3), "replication_factor is 3"),
        (StoreSettings(write_consistency_factor=2), "write_consistency_factor is 2 .*set LLMOPS_QDRANT_URL"),
        (StoreSettings(hnsw_m=16), "hnsw_m is 16 and the embedded vectors are searched without an index"),
        (StoreSettings(hnsw_ef_construct=100), "hnsw_ef_construct is 100"),
        (StoreSettings(indexing_threshold_kb=1), "indexing_threshold_kb is 1 "),
        (StoreSettings(quantization="int8"), "quantization 'int8' needs an index.*use 'turbo8' or 'turbo4'"),
        (StoreSettings(quantization="product"), "quantization 'product' needs an index"),
        (StoreSettings(index_fields={"a.b": "keyword"}), r"index_fields names 'a\.b'"),
    ],
)
def test_what_only_a_server_can_do_is_refused_in_one_sentence(
    tmp_path: Path, settings: StoreSettings, sentence: str
) -> None:
    store = EdgeStore(tmp_path)
    with pytest.raises(ConfigurationError, match=sentence):
        store.create("handbook", dimension=4, metadata={}, settings=settings)
    assert store.collections() == []
    store.create("handbook", dimension=4, metadata={}, settings=StoreSettings(shard_number=1))
    store.close()


def test_access_taken_away_while_a_collection_is_written_anew_stays_taken_away(tmp_path: Path) -> None:
    as_made_before_tenants(tmp_path)
    store = EdgeStore(tmp_path)
    store.upsert("handbook", [point(n, document=f"d{n}", acl=("staff",)) for n in range(3, 1_003)])
    compacting = threading.Thread(target=store.compact, args=("handbook",))
    compacting.start()
    for number in range(3, 103):
        store.set_access("handbook", f"d{number}", acl=["board"])
    compacting.join()
    store.set_access("handbook", "d103", acl=["board"])
    assert store.count("handbook", where=Filter(principals=("board",))) == 101
    assert store.count("handbook", where=Filter(principals=("staff",))) == 901
    _, hits = store.search(
        "handbook", dense=None, sparse=point(1).sparse, limit=1000, where=Filter(principals=("staff",))
    )
    assert len(hits) == 900
    store.close()


def test_thousands_of_principals_are_searched_for(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.create("handbook", dimension=4, metadata={})
    store.upsert("handbook", [point(n, acl=(f"group:{n}",)) for n in range(1, 101)])
    where = Filter(principals=tuple(f"group:{n}" for n in range(50, 10_000)))
    dense, sparse = store.search("handbook", dense=point(1).dense, sparse=point(1).sparse, limit=100, where=where)
    expected = [chunk_id(n) for n in range(50, 101)]
    assert [[hit.chunk_id for hit in hits] for hits in (dense, sparse)] == [expected, expected]
    store.close()


@pytest.mark.parametrize("limit", [1, 20, 200, 296, 400])
def test_a_caller_who_sees_most_finds_what_a_walk_through_all_she_sees_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Two ways to the same list: the best of all that she may see, and the best of what she may see."""
    from llmops.clients.vectors import edge as edge_module

    rng = np.random.default_rng(7)
    store = EdgeStore(tmp_path)
    store.create("most", dimension=16, metadata={}, settings=StoreSettings(quantization="none"))
    teams = [f"team-{n}" for n in range(10)]
    points = []
    for n in range(1, 801):
        acl = tuple(sorted(rng.choice(teams, size=2, replace=False)))
        points.append(point(n, dense=tuple(rng.normal(size=16)), acl=acl, document=f"d{n % 40}"))
    store.upsert("most", points)
    looked_through: list[int] = []
    visible = edge_module._visible

    def seen(*given: Any) -> list[Any]:
        found = visible(*given)
        looked_through.append(len(found))
        return found

    monkeypatch.setattr(edge_module, "_visible", seen)

    def found(where: Filter, share: float) -> list[list[ScoredId]]:
        monkeypatch.setattr(edge_module, "_MOST", share)
        queries = np.random.default_rng(8).normal(size=(10, 16)).astype(np.float32)
        return [
            store.search("most", dense=q / np.linalg.norm(q), sparse=None, limit=limit, where=where)[0]
            for q in queries
        ]

    for n_teams in (1, 4, 8, 10):
        for names in (None, tuple(f"d{n}" for n in range(35))):
            metadata: dict[str, Any] = {"document_id": names} if names else {}
            where = Filter(principals=tuple(teams[:n_teams]), metadata=metadata)
            assert found(where, 0.0) == found(where, 2.0)
    assert bool(looked_through) == (limit <= 296)
    store.close()
