"""A collection written anew: the same points, nothing of what was deleted, and nothing lost by a kill."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmops.clients.protocols import Filter, StoreSettings
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import NotFoundError
from llmops.records import Point, SparseVector
from tests.clients.test_vectors_contract import EVERYTHING, chunk_id, point

NAME = "handbook"
SECRET = "the quick brown secret"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    made = EdgeStore(tmp_path)
    made.create(NAME, dimension=4, metadata={"spec_hash": "abc"}, settings=StoreSettings(on_disk_payload=True))
    yield made
    made.close()


def fill(store: EdgeStore, n: int = 200) -> None:
    """Points of two documents, of which one will go."""
    store.upsert(
        NAME,
        [
            point(
                number,
                dense=(1, number / n, 0, 1 - number / n),
                terms={1: 1.0, number % 7 + 2: 0.5},
                document="kept" if number % 2 else "doomed",
                acl=("team-a",) if number % 3 else ("everyone",),
                metadata={"tags": ("a", "b"), "flag": True, "n": number},
                text=f"text {number}" if number % 2 else f"{SECRET} {number}",
                tenant="acme" if number % 5 == 0 else "",
            )
            for number in range(1, n + 1)
        ],
    )


def contents(store: EdgeStore) -> dict[str, Point]:
    return {p.chunk.chunk_id: p for p in store.scroll(NAME, where=EVERYTHING)}


def same(one: dict[str, Point], other: dict[str, Point]) -> None:
    assert one.keys() == other.keys()
    for key, found in one.items():
        assert (found.chunk, found.sparse) == (other[key].chunk, other[key].sparse)
        np.testing.assert_array_equal(found.dense, other[key].dense)


def files_with(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_every_point_is_as_it_was_and_so_is_what_is_found(store: EdgeStore, tmp_path: Path) -> None:
    fill(store)
    store.delete_document(NAME, "doomed")
    before = contents(store)
    dense = point(1, dense=(1, 0.3, 0, 0.7)).dense
    asked = {"dense": dense, "sparse": SparseVector(indices=(1, 3), values=(1.0, 1.0)), "limit": 20}
    wheres = [EVERYTHING, Filter(principals=("team-a",)), Filter(principals=("team-a",), tenant="acme")]
    found = [store.search(NAME, where=where, **asked) for where in wheres]  # type: ignore[arg-type]  # of a dict
    about = (tmp_path / NAME / "collection.json").read_bytes()
    store.compact(NAME)
    same(contents(store), before)
    for where, (its_dense, its_sparse) in zip(wheres, found, strict=True):
        now_dense, now_sparse = store.search(NAME, where=where, **asked)  # type: ignore[arg-type]  # of a dict
        assert [hit.chunk_id for hit in now_dense] == [hit.chunk_id for hit in its_dense]
        assert [hit.chunk_id for hit in now_sparse] == [hit.chunk_id for hit in its_sparse]
    assert (tmp_path / NAME / "collection.json").read_bytes() == about
    assert (store.collections(), [path.name for path in tmp_path.glob(".*ing-*")]) == ([NAME], [])
    store.upsert(NAME, [point(500)])
    store.close()
    again = EdgeStore(tmp_path)
    same({key: found for key, found in contents(again).items() if key != chunk_id(500)}, before)
    again.close()


def test_nothing_of_deleted_texts_stays_in_the_files(store: EdgeStore, tmp_path: Path) -> None:
    fill(store)
    store.flush()
    assert files_with(tmp_path, SECRET)
    store.delete_document(NAME, "doomed")
    store.compact(NAME)
    store.flush()
    assert files_with(tmp_path, SECRET) == []
    assert files_with(tmp_path, "text 1")


def test_deleted_points_make_no_word_frequent_any_more(store: EdgeStore) -> None:
    store.upsert(NAME, [point(n, document="kept", terms={1: 1.0} if n < 3 else {2: 1.0}) for n in range(1, 6)])
    store.upsert(NAME, [point(n, document="doomed", terms={1: 1.0}) for n in range(100, 200)])
    store.delete_document(NAME, "doomed")
    store.compact(NAME)
    query = SparseVector(indices=(1,), values=(1.0,))
    _, hits = store.search(NAME, dense=None, sparse=query, limit=9, where=EVERYTHING)
    idf = math.log((5 - 2 + 0.5) / (2 + 0.5) + 1)
    assert [hit.score for hit in hits] == [pytest.approx(idf, rel=1e-5)] * 2


def test_an_empty_collection_and_one_that_is_not_there(store: EdgeStore) -> None:
    store.compact(NAME)
    assert contents(store) == {}
    with pytest.raises(NotFoundError, match="no collection 'nowhere'"):
        store.compact("nowhere")


def test_searches_and_writes_go_on_while_a_collection_is_written_anew(store: EdgeStore) -> None:
    """No search fails or finds less, and no write of that time is lost, a revocation least of all."""
    fill(store, 300)
    stop, errors = threading.Event(), list[BaseException]()
    n_searches = 0
    query = point(1, dense=(1, 0.5, 0, 0.5)).dense

    def search() -> None:
        nonlocal n_searches
        while not stop.is_set():
            dense, sparse = store.search(
                NAME, dense=query, sparse=SparseVector(indices=(1,), values=(1.0,)), limit=5, where=EVERYTHING
            )
            assert (len(dense), len(sparse)) == (5, 5)
            assert store.fetch(NAME, [chunk_id(1)], where=EVERYTHING)
            n_searches += 1

    def write() -> None:
        number = 1000
        while not stop.is_set():
            store.upsert(NAME, [point(number, document=f"new-{number}")])
            store.set_access(NAME, f"new-{number}", acl=[f"user-{number}"])
            if number % 3 == 0:
                store.delete_document(NAME, f"new-{number}")
            number += 1
        written.append(number)

    def kept(work: object) -> None:
        try:
            work()  # type: ignore[operator]  # one of the two above
        except BaseException as error:  # noqa: BLE001 (it is raised again in the test's own thread)
            errors.append(error)

    written: list[int] = []
    threads = [threading.Thread(target=kept, args=(work,)) for work in (search, search, write)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            store.compact(NAME)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    assert n_searches > 4
    found = contents(store)
    for number in range(1000, written[0]):
        if number % 3 == 0:
            assert chunk_id(number) not in found
        else:
            assert found[chunk_id(number)].chunk.acl == (f"user-{number}",)
    assert len([key for key in found if int(key.replace("-", ""), 16) <= 300]) == 300


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_kill_while_the_new_one_is_written_leaves_the_old_one(tmp_path: Path, is_whole: bool) -> None:
    before = filled(tmp_path)
    shutil.copytree(tmp_path / NAME, tmp_path / f".making-{NAME}")
    if not is_whole:
        (tmp_path / f".making-{NAME}" / "collection.json").unlink()
    same(reopened(tmp_path), before)


def test_a_kill_between_the_two_renames_gives_the_old_one_its_name_back(tmp_path: Path) -> None:
    before = filled(tmp_path)
    shutil.copytree(tmp_path / NAME, tmp_path / f".making-{NAME}")
    (tmp_path / NAME).rename(tmp_path / f".removing-{NAME}")
    same(reopened(tmp_path), before)


def test_a_kill_after_the_renames_leaves_the_new_one(tmp_path: Path) -> None:
    before = filled(tmp_path)
    shutil.copytree(tmp_path / NAME, tmp_path / f".removing-{NAME}")
    same(reopened(tmp_path), before)


def test_a_kill_in_the_middle_of_a_drop_brings_nothing_back(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / NAME).rename(tmp_path / f".removing-{NAME}")
    store = EdgeStore(tmp_path)
    assert (store.collections(), list(tmp_path.glob(".*ing-*"))) == ([], [])
    store.close()


def test_a_rewrite_that_fails_leaves_nothing_behind_that_a_later_start_could_mistake(
    store: EdgeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a collection that is dropped later, and killed in the middle of it, would come back half removed."""
    fill(store, 20)
    before = contents(store)

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("llmops.clients.vectors.edge.our_point", fail)
        with pytest.raises(Exception, match="the disk is full"):
            store.compact(NAME)
    assert [path.name for path in tmp_path.glob(".*ing-*")] == []
    same(contents(store), before)
    store.compact(NAME)
    same(contents(store), before)


def filled(folder: Path) -> dict[str, Point]:
    store = EdgeStore(folder)
    store.create(NAME, dimension=4, metadata={})
    fill(store, 30)
    found = contents(store)
    store.close()
    return found


def reopened(folder: Path) -> dict[str, Point]:
    store = EdgeStore(folder)
    assert (store.collections(), list(folder.glob(".*ing-*"))) == ([NAME], [])
    found = contents(store)
    store.close()
    return found
