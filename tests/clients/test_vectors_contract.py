"""What every vector store promises, asked of each: Edge, Edge in its owner, the client's own form, a server."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from qdrant_client import QdrantClient

from llmops.clients.protocols import Filter, MetadataCondition, SearchSettings, StoreSettings, VectorStore
from llmops.clients.vectors.edge import EdgeStore
from llmops.clients.vectors.owner import OwnerStore
from llmops.clients.vectors.server import ServerStore
from llmops.errors import (
    CollectionShapeError,
    ConfigurationError,
    DocumentError,
    LlmopsError,
    NotFoundError,
    RequestError,
    StorageError,
)
from llmops.records import Chunk, Point, SparseVector
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.gateway.running import TOKEN, Gateway, run_gateway
from tests.gateway.workspaces import write_template

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

EVERYTHING = Filter(principals=None)
NO_TERMS = SparseVector(indices=(), values=())


def chunk_id(number: int) -> str:
    return str(UUID(int=number))


def point(
    number: int,
    *,
    dense: Sequence[float] = (1, 0, 0, 0),
    terms: Mapping[int, float] | None = None,
    document: str = "guide",
    acl: tuple[str, ...] = ("everyone",),
    metadata: Mapping[str, Any] | None = None,
    text: str = "text",
    tenant: str = "",
) -> Point:
    """A point whose id is `number`; `dense` is made a unit vector."""
    vector = np.asarray(dense, dtype=np.float32)
    weights = {1: 1.0} if terms is None else dict(terms)
    chunk = Chunk(
        chunk_id=chunk_id(number),
        document_id=document,
        uri=f"docs/{document}.md",
        title=document.title(),
        ordinal=number % 1000,
        text=text,
        start=10,
        end=10 + len(text),
        heading_path=("Install", "On Linux"),
        locator="lines 1-3",
        n_tokens=7,
        acl=acl,
        metadata=metadata or {},
        tenant=tenant,
    )
    sparse = SparseVector(indices=tuple(weights), values=tuple(weights.values()))
    return Point(chunk=chunk, dense=vector / np.linalg.norm(vector), sparse=sparse)


@pytest.fixture(scope="session")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that owns embedded vectors, for other processes on this machine."""
    root = tmp_path_factory.mktemp("owner")
    write_template(root, tmp_path_factory.mktemp("graphs"))
    workspace = Workspace(root, Settings(threads="1"), command="a test")
    try:
        with run_gateway(workspace) as running:
            yield running
    finally:
        workspace.close()


@pytest.fixture(params=["edge", "owner", "client in process", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    made: VectorStore
    if request.param == "edge":
        made = EdgeStore(tmp_path)
    elif request.param == "owner":
        made = OwnerStore(request.getfixturevalue("owner").url, TOKEN)
    elif request.param == "client in process":
        made = ServerStore("memory", client=QdrantClient(":memory:"))
    elif url := os.environ.get("LLMOPS_TEST_QDRANT_URL"):
        made = ServerStore(url, os.environ.get("LLMOPS_TEST_QDRANT_API_KEY", ""))
    else:
        pytest.skip("LLMOPS_TEST_QDRANT_URL is not set: no Qdrant server to test against")
    yield made
    made.close()


@pytest.fixture
def name(store: VectorStore) -> Iterator[str]:
    """An empty collection of four dimensions, under a name of its own."""
    made = f"llmops-test-{uuid4().hex[:12]}"
    store.create(made, dimension=4, metadata={"embedder": "none"})
    yield made
    store.drop(made)


def ids(store: VectorStore, name: str, where: Filter = EVERYTHING) -> list[int]:
    return [UUID(p.chunk.chunk_id).int for p in store.scroll(name, where=where)]


def with_metadata(**conditions: MetadataCondition) -> Filter:
    return Filter(principals=None, metadata=conditions)


def test_a_chunk_comes_back_exactly(store: VectorStore, name: str) -> None:
    metadata = {
        "draft": False,
        "final": True,
        "one": 1,
        "whole": 2.0,
        "ratio": 0.1,
        "large": 2**62 + 1,
        "negative": -7,
        "tags": ("a", "b"),
        "list": ["x"],
        "none": (),
        "odd.key[0] \"'": "ключ",
    }
    sent = point(1, text="Grüße \x00 \u2028 🙂", metadata=metadata, acl=("a", "b"))
    store.upsert(name, [sent])
    [back] = store.scroll(name, where=EVERYTHING)
    assert back.chunk == sent.chunk
    assert {k: type(v) for k, v in back.chunk.metadata.items()} == {k: type(v) for k, v in metadata.items()}


@pytest.mark.parametrize("tenant", ["", "acme", "4:acme", "ü\x1f3:", "\x1f"])
def test_tenant_link_and_handed_context_come_back_exactly(store: VectorStore, name: str, tenant: str) -> None:
    acl = ("everyone", "", "\x1fodd", "4:acme", f"\x1f4:{tenant}")
    sent = replace(
        point(1, acl=acl, tenant=tenant),
        chunk=replace(
            point(1, acl=acl, tenant=tenant).chunk,
            url="https://wiki.example/page?id=7",
            context="more text around the text",
            context_start=3,
            n_context_tokens=12,
        ),
    )
    store.upsert(name, [sent])
    [back] = store.scroll(name, where=Filter(principals=("\x1fodd",), tenant=tenant))
    assert back.chunk == sent.chunk


def test_vectors_come_back_to_a_millionth(store: VectorStore, name: str) -> None:
    sent = point(1, dense=(0.3, -0.5, 0.11, 0.7), terms={3: 0.123456789, 2**32 - 1: 2.5})
    store.upsert(name, [sent, point(2, terms={})])
    back = store.fetch(name, [chunk_id(1), chunk_id(2)], where=EVERYTHING)
    np.testing.assert_allclose(back[chunk_id(1)].dense, sent.dense, atol=1e-6)
    assert back[chunk_id(1)].dense.dtype == np.float32
    assert back[chunk_id(1)].sparse.indices == sent.sparse.indices
    np.testing.assert_allclose(back[chunk_id(1)].sparse.values, sent.sparse.values, rtol=1e-6)
    assert back[chunk_id(2)].sparse == NO_TERMS


def test_upsert_replaces_a_point_of_the_same_id(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(1, text="old", metadata={"a": 1}), point(2)])
    store.upsert(name, [point(1, text="new", metadata={"b": 2}, dense=(0, 1, 0, 0))])
    back = store.fetch(name, [chunk_id(1)], where=EVERYTHING)[chunk_id(1)]
    assert (back.chunk.text, dict(back.chunk.metadata)) == ("new", {"b": 2})
    assert back.dense.tolist() == [0, 1, 0, 0]
    assert store.count(name, where=EVERYTHING) == 2


def test_more_points_than_one_call_carries_are_all_stored(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(n) for n in range(1, 201)])
    assert store.count(name, where=EVERYTHING) == 200
    found = store.fetch(name, [chunk_id(n) for n in range(200, 0, -1)], where=EVERYTHING)
    assert list(found) == [chunk_id(n) for n in range(200, 0, -1)]


def test_upsert_of_nothing_changes_nothing(store: VectorStore, name: str) -> None:
    store.upsert(name, [])
    assert store.count(name, where=EVERYTHING) == 0


def test_delete_document_leaves_what_is_kept_and_other_documents(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(n, document="guide" if n < 6 else "manual") for n in range(1, 9)])
    store.delete_document(name, "guide", keep=[chunk_id(2), chunk_id(4), "not an id"])
    assert ids(store, name) == [2, 4, 6, 7, 8]
    store.delete_document(name, "manual")
    store.delete_document(name, "unknown")
    assert ids(store, name) == [2, 4]


def test_only_a_shared_principal_makes_a_point_visible(store: VectorStore, name: str) -> None:
    acls = {1: ("everyone",), 2: ("staff",), 3: ("staff", "board"), 4: ()}
    store.upsert(name, [point(n, acl=acl) for n, acl in acls.items()])

    def seen(*principals: str) -> list[int]:
        where = Filter(principals=principals)
        dense, sparse = store.search(
            name,
            dense=point(1).dense,
            sparse=SparseVector(indices=(1,), values=(1.0,)),
            limit=10,
            where=where,
        )
        listed = ids(store, name, where)
        for hits in (dense, sparse):
            assert [UUID(hit.chunk_id).int for hit in hits] == listed
        fetched = store.fetch(name, [chunk_id(n) for n in acls], where=where)
        assert [UUID(i).int for i in fetched] == listed
        assert store.count(name, where=where) == len(listed)
        return listed

    assert seen("everyone") == [1]
    assert seen("staff", "everyone") == [1, 2, 3]
    assert seen("board") == [3]
    assert seen("stranger", "STAFF", "staf", "") == []
    assert seen() == []
    assert ids(store, name, Filter(principals=None)) == [1, 2, 3, 4]


def test_a_tenant_sees_its_own_points_only_in_every_form_of_asking(store: VectorStore, name: str) -> None:
    whose = {1: "", 2: "acme", 3: "acm", 4: "Acme", 5: "4:acme", 6: "acme\x1f", 7: "\x1f4:acme"}
    store.upsert(name, [point(n, tenant=tenant, document=f"d{n}") for n, tenant in whose.items()])
    query = SparseVector(indices=(1,), values=(1.0,))
    for number, tenant in whose.items():
        where = Filter(principals=("everyone", "4:acmeeveryone", "\x1f4:acmeeveryone"), tenant=tenant)
        hits = store.search(name, dense=point(1).dense, sparse=query, limit=10, where=where)
        assert [[hit.chunk_id for hit in found] for found in hits] == [[chunk_id(number)]] * 2
        assert ids(store, name, where) == [number]
        assert list(store.fetch(name, [chunk_id(n) for n in whose], where=where)) == [chunk_id(number)]
        assert store.count(name, where=where) == 1
        narrowed = Filter(
            principals=("everyone",), tenant=tenant, metadata={"document_id": [f"d{n}" for n in whose]}
        )
        assert ids(store, name, narrowed) == [number]
    assert ids(store, name, Filter(principals=("everyone",), tenant="other")) == []
    assert ids(store, name, Filter(principals=None, tenant="other")) == list(whose)


def test_no_score_tells_a_tenant_what_another_one_writes_about(store: VectorStore, name: str) -> None:
    ours = [point(n, tenant="acme", terms={5: 1.0} if n == 1 else {6: 1.0}) for n in range(1, 5)]
    store.upsert(name, ours)
    where, query = Filter(principals=("everyone",), tenant="acme"), SparseVector(indices=(5,), values=(1.0,))
    _, [before] = store.search(name, dense=None, sparse=query, limit=5, where=where)
    store.upsert(name, [point(n, tenant="rival", terms={5: 1.0}) for n in range(11, 31)])
    _, [after] = store.search(name, dense=None, sparse=query, limit=5, where=where)
    assert (after.chunk_id, after.score) == (before.chunk_id, before.score)
    assert after.score == pytest.approx(math.log((4 - 1 + 0.5) / (1 + 0.5) + 1), rel=1e-5)


def test_set_access_changes_who_finds_a_document_and_nothing_else(store: VectorStore, name: str) -> None:
    points = [
        point(n, document="guide" if n < 4 else "manual", acl=("staff",), tenant="acme") for n in range(1, 6)
    ]
    store.upsert(name, points)
    vectors_before = {p.chunk.chunk_id: p.dense.tolist() for p in store.scroll(name, where=EVERYTHING)}
    store.set_access(name, "guide", acl=("board", "\x1fodd"))

    def seen(*principals: str, tenant: str = "acme") -> list[int]:
        dense, _ = store.search(
            name,
            dense=point(1).dense,
            sparse=None,
            limit=9,
            where=Filter(principals=principals, tenant=tenant),
        )
        return [UUID(hit.chunk_id).int for hit in dense]

    assert (seen("staff"), seen("board"), seen("\x1fodd")) == ([4, 5], [1, 2, 3], [1, 2, 3])
    assert seen("board", tenant="") == []
    after = {p.chunk.chunk_id: p for p in store.scroll(name, where=EVERYTHING)}
    assert {i: p.dense.tolist() for i, p in after.items()} == vectors_before
    assert after[chunk_id(1)].chunk == replace(points[0].chunk, acl=("board", "\x1fodd"))
    assert after[chunk_id(5)].chunk == points[4].chunk
    store.set_access(name, "guide", acl=())
    assert (seen("board"), seen("staff")) == ([], [4, 5])
    store.upsert(name, [point(9, document="guide", tenant="rival"), point(10, document="guide")])
    store.set_access(name, "guide", acl=("board",))
    assert [seen("board", tenant=tenant) for tenant in ("acme", "rival", "")] == [[1, 2, 3], [9], [10]]
    store.delete_documents(name, ["guide"])
    store.upsert(name, points)
    store.set_access(name, "unknown", acl=("staff",))
    assert store.count(name, where=EVERYTHING) == 5


def test_documents_are_listed_with_their_points_and_removed_many_at_once(store: VectorStore, name: str) -> None:
    assert store.document_ids(name) == {}
    store.upsert(name, [point(n, document=f"d{n // 3}", tenant=f"t{n % 2}") for n in range(1, 1201)])
    listed = store.document_ids(name)
    assert (listed["d0"], listed["d1"], listed["d400"], len(listed)) == (2, 3, 1, 401)
    store.delete_documents(name, [f"d{n}" for n in range(5, 400)])
    store.delete_documents(name, [])
    store.delete_documents(name, ["unknown"])
    assert store.document_ids(name) == {"d0": 2, "d1": 3, "d2": 3, "d3": 3, "d4": 3, "d400": 1}
    one = Filter(principals=None, metadata={"document_id": "d4"})
    assert store.count(name, where=one) == 3


def test_points_can_be_read_without_their_vectors(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(n) for n in range(1, 6)])
    listed = list(store.scroll(name, where=EVERYTHING, batch=2, vectors=False))
    fetched = store.fetch(name, [chunk_id(2)], where=EVERYTHING, vectors=False)
    assert [p.chunk for p in listed] == [point(n).chunk for n in range(1, 6)]
    assert fetched[chunk_id(2)].chunk == point(2).chunk
    assert {p.dense.shape for p in [*listed, *fetched.values()]} == {(0,)}
    assert {p.sparse for p in [*listed, *fetched.values()]} == {NO_TERMS}


def oracle(chunk: Chunk, where: Filter) -> bool:
    """The meaning of a filter, in plain Python."""
    is_visible = where.tenant == chunk.tenant and bool(set(where.principals or ()) & set(chunk.acl))
    if where.principals is not None and not is_visible:
        return False
    return all(holds(chunk, key, condition) for key, condition in (where.metadata or {}).items())


def holds(chunk: Chunk, key: str, condition: MetadataCondition) -> bool:
    value = getattr(chunk, key) if key in ("uri", "title", "document_id") else chunk.metadata.get(key)
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(condition, Mapping):
        compare = {"gt": float.__gt__, "gte": float.__ge__, "lt": float.__lt__, "lte": float.__le__}
        return any(
            all(compare[operator](float(v), float(bound)) for operator, bound in condition.items())
            for v in values
            if isinstance(v, (int, float))
        )
    if isinstance(condition, Sequence) and not isinstance(condition, str):
        return any(v == wanted for v in values for wanted in condition)
    return condition in values


def random_filter(rng: random.Random) -> Filter:
    groups = ["everyone", "a", "b", "c"]
    principals = rng.choice([None, tuple(rng.sample(groups, rng.randint(0, 3)))])
    bounds: dict[str, float] = {
        operator: rng.choice([0, 1, 2, 1.5, -1])
        for operator in rng.sample(["gt", "gte", "lt", "lte"], rng.randint(1, 2))
    }
    conditions: dict[str, list[MetadataCondition]] = {
        "lang": ["en", ["en", "de"], [], "1", ["fr", 1]],
        "year": [1, 2.0, [1, 2], bounds, True],
        "draft": [True, False, [True], 1, {"gte": 1}],
        "tags": ["x", ["x", "y"], "xy", bounds],
        "score": [0.5, bounds, [0.5, "x"], 1],
        "title": ["Guide", ["Guide", "Manual"], 1],
        "document_id": ["guide", ["manual", "other"]],
        "uri": ["docs/guide.md"],
        "absent": [1, "x", bounds],
    }
    chosen = rng.sample(sorted(conditions), rng.choice([0, 1, 1, 2, 3]))
    metadata = {key: rng.choice(conditions[key]) for key in chosen}
    return Filter(principals=principals, metadata=metadata, tenant=rng.choice(["", "", "acme", "b"]))


INDEXED = StoreSettings(
    index_fields={"lang": "keyword", "tags": "keyword", "year": "number", "draft": "number", "score": "number"}
)


@pytest.mark.parametrize("settings", [StoreSettings(), INDEXED], ids=["no field indexed", "fields indexed"])
def test_random_filters_mean_what_plain_python_says(
    store: VectorStore, name: str, settings: StoreSettings
) -> None:
    store.drop(name)
    store.create(name, dimension=4, metadata={}, settings=settings)
    rng = random.Random(7)
    values: dict[str, list[Any]] = {
        "lang": ["en", "de", "fr", "1"],
        "year": [0, 1, 2, 2.0, 1.5],
        "draft": [True, False],
        "tags": [("x",), ("x", "y"), ["y"], ()],
        "score": [0.5, 1, -1.0, 1.5],
    }
    points = [
        point(
            number,
            dense=[rng.gauss(0, 1) for _ in range(4)],
            document=rng.choice(["guide", "manual", "other"]),
            acl=tuple(rng.sample(["everyone", "a", "b", "c"], rng.randint(0, 2))),
            metadata={key: rng.choice(of) for key, of in values.items() if rng.random() < 0.8},
            tenant=rng.choice(["", "", "acme"]),
        )
        for number in range(1, 61)
    ]
    store.upsert(name, points)
    n_matched = 0
    for _ in range(200):
        where = random_filter(rng)
        right = {p.chunk.chunk_id for p in points if oracle(p.chunk, where)}
        dense, sparse = store.search(name, dense=points[0].dense, sparse=points[0].sparse, limit=60, where=where)
        assert {hit.chunk_id for hit in dense} == right, where
        assert {hit.chunk_id for hit in sparse} == right, where
        assert store.count(name, where=where) == len(right), where
        n_matched += 0 < len(right) < len(points)
    assert n_matched > 60, "the filters must be neither empty nor total too often to say anything"


def test_metadata_conditions(store: VectorStore, name: str) -> None:
    given: dict[int, dict[str, Any]] = {
        1: {"draft": True, "year": 2020, "tags": ["x", "y"], "a-b": "k", "9": "nine", "large": 2**60 + 1},
        2: {"draft": False, "year": 2021.0, "tags": ("y",), "large": 2**60 + 2},
        3: {"year": "2020"},
    }
    store.upsert(name, [point(n, metadata=m, document=f"d{n}") for n, m in given.items()])

    def found(**conditions: MetadataCondition) -> list[int]:
        return ids(store, name, with_metadata(**conditions))

    assert (found(draft=True), found(draft=False), found(draft=[True, False])) == ([1], [2], [1, 2])
    assert (found(year=2020), found(year="2020"), found(year=2021)) == ([1], [3], [2])
    assert found(year={"gt": 2020}) == [2]
    assert found(year={"gte": 2020, "lt": 2021}) == [1]
    assert (found(tags="y"), found(tags=["x", "z"]), found(tags="x, y")) == ([1, 2], [1], [])
    assert (found(large=2**60 + 1), found(large=[2**60 + 1, 2**60 + 2])) == ([1], [1, 2])
    assert found(year=[2020, "2020"]) == [1, 3]
    assert (found(draft=True, year=2020), found(draft=True, year=2021)) == ([1], [])
    assert (found(**{"a-b": "k"}), found(**{"9": "nine"})) == ([1], [1])
    assert (found(document_id="d2"), found(title=["D1", "D3"]), found(uri="docs/d3.md")) == ([2], [1, 3], [3])
    assert found(lang=[]) == []


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"a.b": 1}, r"'a\.b' cannot be filtered by"),
        ({'a"]': 1}, "cannot be filtered by"),
        ({"tags[]": "x"}, r"'tags\[\]' cannot be filtered by"),
        ({"": 1}, "'' cannot be filtered by"),
        ({"k" * 65: 1}, "cannot be filtered by"),
        ({"year": {"from": 1}}, "range operator 'from': use gt, gte, lt or lte"),
        ({"year": {}}, "empty range"),
        ({"year": {"gt": "2020"}}, "range bound '2020': give a finite number"),
        ({"year": {"gt": True}}, "range bound True"),
        ({"year": {"gt": math.nan}}, "range bound nan"),
        ({"year": {"gt": 10**400}}, "give a finite number"),
        ({"year": math.inf}, "'year' cannot be compared with inf"),
        ({"year": 2**70}, "'year' cannot be compared with"),
        ({"year": None}, "'year' cannot be compared with None"),
        ({"year": [1, None]}, "'year' cannot be compared with None"),
        ({"year": [[1]]}, r"'year' cannot be compared with \[1\]"),
    ],
)
def test_a_filter_we_cannot_ask_is_refused(
    store: VectorStore, name: str, metadata: dict[str, Any], sentence: str
) -> None:
    where = Filter(principals=("everyone",), metadata=metadata)
    with pytest.raises(RequestError, match=sentence):
        store.count(name, where=where)
    with pytest.raises(RequestError, match=sentence):
        store.search(name, dense=point(1).dense, sparse=None, limit=1, where=where)
    with pytest.raises(RequestError, match=sentence):
        store.fetch(name, [chunk_id(1)], where=where)
    with pytest.raises(RequestError, match=sentence):
        store.scroll(name, where=where)


def test_a_rare_term_outweighs_a_frequent_one_by_its_idf(store: VectorStore, name: str) -> None:
    frequent, rare, n_points = 5, 9, 20
    store.upsert(name, [point(n, terms={frequent: 1.5}) for n in range(1, n_points)])
    store.upsert(name, [point(n_points, terms={rare: 1.5})])
    query = SparseVector(indices=(frequent, rare), values=(1.0, 2.0))
    _, hits = store.search(name, dense=None, sparse=query, limit=3, where=EVERYTHING)

    def idf(n_with_term: int) -> float:
        return math.log((n_points - n_with_term + 0.5) / (n_with_term + 0.5) + 1)

    assert [hit.chunk_id for hit in hits] == [chunk_id(n_points), chunk_id(1), chunk_id(2)]
    assert hits[0].score == pytest.approx(2.0 * 1.5 * idf(1), rel=1e-5)
    assert hits[1].score == pytest.approx(1.0 * 1.5 * idf(n_points - 1), rel=1e-5)


def test_a_point_that_is_removed_no_longer_makes_its_words_frequent(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(n, document="old" if n > 5 else "new", terms={n % 2: 1.0}) for n in range(1, 21)])
    store.delete_document(name, "old")
    query = SparseVector(indices=(0,), values=(1.0,))
    for where in (EVERYTHING, Filter(principals=("everyone",))):
        _, hits = store.search(name, dense=None, sparse=query, limit=9, where=where)
        assert [hit.score for hit in hits] == [
            pytest.approx(math.log((5 - 2 + 0.5) / (2 + 0.5) + 1), rel=1e-5)
        ] * 2


def test_the_idf_of_a_term_does_not_depend_on_the_caller(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(n, acl=("a",) if n < 3 else ("b",), terms={n % 2: 1.0}) for n in range(1, 9)])
    query = SparseVector(indices=(1,), values=(1.0,))
    _, all_hits = store.search(name, dense=None, sparse=query, limit=9, where=EVERYTHING)
    _, hits = store.search(name, dense=None, sparse=query, limit=9, where=Filter(principals=("a",)))
    assert [hit.score for hit in hits] == [all_hits[0].score]


def test_searches_return_the_best_first_and_no_more_than_asked(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(n, dense=(1, n / 10, 0, 0), terms={1: 1 + n / 10}) for n in range(1, 31)])
    dense, sparse = store.search(
        name,
        dense=np.asarray([1, 0, 0, 0], dtype=np.float32),
        sparse=SparseVector(indices=(1, 77), values=(1.0, 1.0)),
        limit=5,
        where=EVERYTHING,
    )
    assert [UUID(hit.chunk_id).int for hit in dense] == [1, 2, 3, 4, 5]
    assert [UUID(hit.chunk_id).int for hit in sparse] == [30, 29, 28, 27, 26]
    assert dense[0].score == pytest.approx(1 / math.sqrt(1.01), abs=1e-5)


def test_search_settings_do_not_change_what_an_exact_search_finds(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(n, dense=(1, n / 10, 0, 0)) for n in range(1, 31)])
    for settings in (SearchSettings(), SearchSettings(exact=True), SearchSettings(hnsw_ef=64, rescore=False)):
        dense, _ = store.search(
            name, dense=point(1).dense, sparse=None, limit=3, where=EVERYTHING, settings=settings
        )
        assert [UUID(hit.chunk_id).int for hit in dense] == [1, 2, 3]


def test_a_search_without_a_vector_finds_nothing_there(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(1)])
    dense, sparse = store.search(name, dense=point(1).dense, sparse=NO_TERMS, limit=5, where=EVERYTHING)
    assert ([hit.chunk_id for hit in dense], sparse) == ([chunk_id(1)], [])
    dense, sparse = store.search(name, dense=None, sparse=point(1).sparse, limit=5, where=EVERYTHING)
    assert (dense, [hit.chunk_id for hit in sparse]) == ([], [chunk_id(1)])
    assert store.search(name, dense=None, sparse=None, limit=5, where=EVERYTHING) == ([], [])


def test_a_search_for_no_points_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(RequestError, match="cannot return 0 points: ask for at least 1"):
        store.search(name, dense=point(1).dense, sparse=None, limit=0, where=EVERYTHING)


def test_equal_scores_come_in_the_order_of_ids_also_where_the_limit_cuts_them(
    store: VectorStore, name: str
) -> None:
    numbers = list(range(1, 301))
    random.Random(3).shuffle(numbers)
    store.upsert(name, [point(n) for n in numbers])
    for limit in (1, 5, 299):
        dense, sparse = store.search(
            name, dense=point(1).dense, sparse=point(1).sparse, limit=limit, where=EVERYTHING
        )
        right = [chunk_id(n) for n in range(1, limit + 1)]
        assert [hit.chunk_id for hit in dense] == right
        assert [hit.chunk_id for hit in sparse] == right


def test_fetch_gives_what_is_there_and_may_be_seen(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(1), point(2, acl=("staff",)), point(3, metadata={"draft": True})])
    asked = [chunk_id(3), chunk_id(2), chunk_id(1), chunk_id(99), "no id", chunk_id(1)]
    seen = store.fetch(name, asked, where=Filter(principals=("everyone",)))
    assert list(seen) == [chunk_id(3), chunk_id(1)]
    where = Filter(principals=("everyone",), metadata={"draft": True})
    assert list(store.fetch(name, asked, where=where)) == [chunk_id(3)]
    assert store.fetch(name, [], where=EVERYTHING) == {}


def test_scroll_gives_every_point_in_the_order_of_ids(store: VectorStore, name: str) -> None:
    rng = random.Random(5)
    numbers = [rng.getrandbits(128) for _ in range(150)]
    store.upsert(name, [point(n, acl=("odd",) if n % 2 else ("even",)) for n in numbers])
    for batch in (1, 7, 150, 1000):
        found = [UUID(p.chunk.chunk_id).int for p in store.scroll(name, where=EVERYTHING, batch=batch)]
        assert found == sorted(numbers)
    odd = [UUID(p.chunk.chunk_id).int for p in store.scroll(name, where=Filter(principals=("odd",)), batch=7)]
    assert odd == sorted(n for n in numbers if n % 2)


def test_an_unknown_collection_names_those_there_are(store: VectorStore, name: str) -> None:
    sentence = rf"no collection 'nowhere' \(there is: .*'{name}'.*\); run `llmops ingest`"
    with pytest.raises(NotFoundError, match=sentence):
        store.search("nowhere", dense=point(1).dense, sparse=None, limit=1, where=EVERYTHING)
    with pytest.raises(NotFoundError, match=sentence):
        store.upsert("nowhere", [point(1)])
    with pytest.raises(NotFoundError, match=sentence):
        store.count("nowhere", where=EVERYTHING)
    with pytest.raises(NotFoundError, match=sentence):
        store.count("nowhere", where=Filter(principals=()))
    with pytest.raises(NotFoundError, match=sentence):
        store.fetch("nowhere", [chunk_id(1)], where=EVERYTHING)
    with pytest.raises(NotFoundError, match=sentence):
        store.scroll("nowhere", where=EVERYTHING)
    with pytest.raises(NotFoundError, match=sentence):
        store.delete_document("nowhere", "guide")
    assert "nowhere" not in store.collections()


@pytest.mark.parametrize("bad", ["", ".", "..", "../up", "a/b", "Upper", "-a", ".a", "a b", "ä", "a" * 129, "a\n"])
def test_a_name_that_could_not_be_a_folder_is_refused(store: VectorStore, bad: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a collection"):
        store.create(bad, dimension=4, metadata={})
    with pytest.raises(ConfigurationError, match="cannot name a collection"):
        store.drop(bad)
    with pytest.raises(ConfigurationError, match="cannot name a collection"):
        store.count(bad, where=EVERYTHING)


def test_a_collection_is_made_once_and_dropped_as_often_as_you_like(store: VectorStore, name: str) -> None:
    assert name in store.collections()
    store.upsert(name, [point(1)])
    with pytest.raises(ConfigurationError, match=f"collection '{name}' exists already: drop it first"):
        store.create(name, dimension=4, metadata={})
    assert store.count(name, where=EVERYTHING) == 1
    store.drop(name)
    store.drop(name)
    assert name not in store.collections()
    store.create(name, dimension=2, metadata={})
    store.upsert(name, [point(1, dense=(0, 1))])
    assert ids(store, name) == [1]


def test_a_vector_of_another_size_names_both_sizes(store: VectorStore, name: str) -> None:
    with pytest.raises(CollectionShapeError, match="holds vectors of 4 numbers, not 3"):
        store.upsert(name, [point(1, dense=(1, 0, 0))])
    store.upsert(name, [point(1)])
    with pytest.raises(LlmopsError, match=name):
        store.search(name, dense=np.ones(3, dtype=np.float32), sparse=None, limit=1, where=EVERYTHING)


@pytest.mark.parametrize("value", [None, math.nan, 2**64, b"bytes", ["a", 1], {"a": 1}])
def test_metadata_that_cannot_be_stored_names_the_document(store: VectorStore, name: str, value: object) -> None:
    with pytest.raises(DocumentError, match=r"metadata field 'odd' of 'docs/guide\.md'"):
        store.upsert(name, [point(1, metadata={"odd": value})])


def test_what_cannot_be_stored_is_refused_before_it_harms(store: VectorStore, name: str) -> None:
    with pytest.raises(DocumentError, match=r"'docs/guide\.md' cannot be stored"):
        store.upsert(name, [point(1, text="half a \ud83d")])
    with pytest.raises(StorageError, match="holds numbers that are not finite"):
        store.upsert(name, [point(1, dense=(math.nan, 0, 0, 0))])
    with pytest.raises(StorageError, match="the query holds numbers that are not finite"):
        bad = np.full(4, np.nan, dtype=np.float32)
        store.search(name, dense=bad, sparse=None, limit=1, where=EVERYTHING)
    sent = point(1)
    other = Point(
        chunk=Chunk(**{**{f: getattr(sent.chunk, f) for f in Chunk.__slots__}, "chunk_id": "A"}),
        dense=sent.dense,
        sparse=sent.sparse,
    )
    with pytest.raises(StorageError, match="chunk id 'A' cannot be stored"):
        store.upsert(name, [other])
    assert store.count(name, where=EVERYTHING) == 0


def test_a_closed_store_says_so(store: VectorStore) -> None:
    store.flush()
    store.close()
    store.close()
    for call in (
        lambda: store.count("handbook", where=EVERYTHING),
        lambda: store.create("handbook", dimension=4, metadata={}),
        lambda: store.drop("handbook"),
        lambda: store.scroll("handbook", where=EVERYTHING),
        store.collections,
        store.flush,
    ):
        with pytest.raises(StorageError, match="is closed: open it again"):
            call()
