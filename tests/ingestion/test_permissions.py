"""Who may see what: thousands of random cases against a plain oracle, and what a source says between two syncs.

`LLMOPS_TEST_CASES` sets the number of cases (10,000 in `make bench`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from llmops.access import GroupBook
from llmops.clients.database import open_database
from llmops.clients.protocols import Embedder, Filter
from llmops.clients.vectors.edge import EdgeStore
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.events import SourceEvent, SourceEvents
from llmops.records import EVERYONE, Caller, Chunk, Point, SparseVector
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.retrieval.retriever import QueryVectors

N_CASES = int(os.environ.get("LLMOPS_TEST_CASES", "1500"))
N_DOCUMENTS, CHUNKS = 60, 2
ANYONE = Filter(principals=None)
TENANTS = ("", "acme", "zeta")
USERS = [f"user:{n}" for n in range(12)]
GROUPS = [f"group:{n}" for n in range(8)]


@dataclass
class World:
    """What is true, in plain sets, beside the parts that have to agree with it."""

    store: EdgeStore
    ledger: DocumentLedger
    events: SourceEvents
    groups: GroupBook
    elsewhere: GroupBook
    retriever: Retriever
    acl: dict[str, frozenset[str]] = field(default_factory=dict)
    tenant: dict[str, str] = field(default_factory=dict)
    members: dict[str, frozenset[str]] = field(default_factory=dict)

    def put(self, key: str, acl: frozenset[str], tenant: str, rng: random.Random) -> None:
        self.acl[key], self.tenant[key] = acl, tenant
        self.store.upsert("wiki-1", [point(key, n, acl, tenant, rng) for n in range(CHUNKS)])
        self.ledger.put([row(key, acl)])

    def visible(self, caller: Caller) -> set[str]:
        """The oracle: reachability over memberships, then one intersection a document."""
        reached = set(caller.principals)
        while more := {group for group, members in self.members.items() if members & reached} - reached:
            reached |= more
        return {key for key, acl in self.acl.items() if acl & reached and self.tenant[key] == caller.tenant}


def point(key: str, n: int, acl: frozenset[str], tenant: str, rng: random.Random) -> Point:
    dense = np.asarray([rng.gauss(0, 1) for _ in range(384)], dtype=np.float32)
    chunk = Chunk(
        chunk_id=f"{key}-0000-4000-8000-00000000000{n}",
        document_id=key,
        uri=f"{key}.md",
        title=key,
        ordinal=n,
        text=f"word{n} of {key}",
        start=0,
        end=10,
        heading_path=(),
        locator="",
        n_tokens=4,
        acl=tuple(sorted(acl)),
        tenant=tenant,
    )
    return Point(
        chunk=chunk, dense=dense / np.linalg.norm(dense), sparse=SparseVector(indices=(1,), values=(1.0,))
    )


def row(key: str, acl: frozenset[str]) -> DocumentRow:
    return DocumentRow(
        collection="wiki-1",
        document_id=key,
        uri=f"{key}.md",
        title=key,
        state="indexed",
        reason="",
        n_chunks=CHUNKS,
        n_bytes=1,
        content_hash="",
        fingerprint="",
        updated_at=datetime.now(UTC),
        acl=tuple(sorted(acl)),
    )


@pytest.fixture
def world(tmp_path: Path, embedder: Embedder) -> Iterator[World]:
    database = open_database("", tmp_path / "ledger.sqlite3")
    store = EdgeStore(tmp_path / "vectors")
    book = CollectionBook(database)
    store.create("wiki-1", dimension=384, metadata={})
    book.register(
        CollectionShape(
            collection="wiki-1",
            name="wiki",
            state="building",
            embedder=embedder.name,
            embedder_digest=embedder.digest,
            dimension=384,
            chunker={},
            average_terms=4,
            spec_hash="",
            created_at=datetime.now(UTC),
        )
    )
    book.point("wiki", "wiki-1")
    groups = GroupBook(database)
    spec = RetrievalSpec(collection="wiki", k=100, candidates=N_DOCUMENTS * CHUNKS)
    yield World(
        store=store,
        ledger=DocumentLedger(database, "wiki-1"),
        events=SourceEvents(database, store, book, pipeline="wiki"),
        groups=groups,
        elsewhere=GroupBook(database),
        retriever=Retriever(spec=spec, store=store, embedder=embedder, collections=book, groups=groups),
    )
    store.close()
    database.close()


def principals(rng: random.Random, most: int) -> frozenset[str]:
    return frozenset(rng.sample([*USERS, *GROUPS, EVERYONE], rng.randint(0, most)))


def change(world: World, rng: random.Random) -> None:
    """Something a source may say between two searches."""
    key = f"{rng.randrange(N_DOCUMENTS):08x}"
    match rng.randrange(5):
        case 0:
            world.put(key, principals(rng, 3), rng.choice(TENANTS), rng)
        case 1 if key in world.acl:
            world.acl[key] = principals(rng, 3)
            world.events.take(SourceEvent(kind="access", document_id=key, acl=tuple(world.acl[key])))
        case 2 if len(world.acl) > N_DOCUMENTS // 2 and key in world.acl:
            del world.acl[key]
            world.events.take(SourceEvent(kind="deleted", document_id=key))
        case 3:
            group = rng.choice(GROUPS)
            world.members[group] = frozenset(rng.sample([*USERS, *GROUPS], rng.randint(0, 3)))
            world.groups.set_members("wiki", group, sorted(world.members[group]))
        case _:
            pass


def test_no_search_shows_more_or_less_than_a_caller_may_see(world: World) -> None:
    rng = random.Random(20261121)
    for n in range(N_DOCUMENTS):
        world.put(f"{n:08x}", principals(rng, 3), rng.choice(TENANTS), rng)
    n_seen = 0
    for _ in range(N_CASES):
        change(world, rng)
        caller = Caller(
            principals=tuple({*rng.sample(USERS, rng.randint(0, 2)), EVERYONE}), tenant=rng.choice(TENANTS)
        )
        dense = np.asarray([rng.gauss(0, 1) for _ in range(384)], dtype=np.float32)
        vectors = QueryVectors(dense=dense, sparse=SparseVector(indices=(1,), values=(1.0,)))
        hits = world.retriever.search(vectors, caller)
        seen = {hit.chunk.document_id for hit in hits}
        expected = world.visible(caller)
        assert seen <= expected, f"{caller} sees {seen - expected}"
        if len(hits) < 100:
            assert seen == expected
        n_seen += len(seen)
    assert n_seen > N_CASES  # the cases are not all empty


def test_a_change_of_a_group_writes_no_point_and_reaches_other_processes(world: World) -> None:
    rng = random.Random(1)
    world.put("0" * 8, frozenset({"group:0"}), "", rng)
    before = {p.chunk.chunk_id: p.chunk for p in world.store.scroll("wiki-1", where=ANYONE)}
    world.groups.set_members("wiki", "group:0", ["user:1"])
    assert "group:0" in world.groups.expand(["user:1"])
    world.elsewhere.refresh()
    assert "group:0" in world.elsewhere.expand(["user:1"])
    assert {p.chunk.chunk_id: p.chunk for p in world.store.scroll("wiki-1", where=ANYONE)} == before


def test_a_deleted_document_is_gone_from_search_and_ledger_when_the_event_was_taken(world: World) -> None:
    world.put("0" * 8, frozenset({EVERYONE}), "", random.Random(1))
    assert world.events.take(SourceEvent(kind="deleted", document_id="0" * 8))
    assert world.store.count("wiki-1", where=ANYONE) == 0
    assert world.ledger.get("0" * 8) is None
    assert not world.events.take(SourceEvent(kind="deleted", document_id="0" * 8))
