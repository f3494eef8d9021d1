"""What a store that another process owns must do besides the contract: carry much, and say what is wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from uuid import uuid4

import numpy as np
import pytest

from llmops.clients.vectors.owner import OwnerStore
from llmops.errors import NotFoundError, StorageError
from llmops.gateway.access import MAX_BODY_BYTES
from tests.clients.test_vectors_contract import EVERYTHING, chunk_id, owner, point
from tests.gateway.running import TOKEN, Gateway
from tests.gateway.upstream import closed_port

__all__ = ["owner"]


@pytest.fixture
def store(owner: Gateway) -> OwnerStore:
    return OwnerStore(owner.url, TOKEN)


@pytest.fixture
def name(store: OwnerStore) -> Iterator[str]:
    made = f"llmops-test-{uuid4().hex[:12]}"
    store.create(made, dimension=4, metadata={})
    yield made
    store.drop(made)


def test_points_of_more_than_a_body_may_have_travel_in_several(store: OwnerStore, name: str) -> None:
    text = "word " * 100_000
    n_points = 2 * MAX_BODY_BYTES // len(text)
    sent = [point(n, text=text) for n in range(1, n_points + 1)]
    store.upsert(name, sent)
    assert store.count(name, where=EVERYTHING) == n_points
    found = store.fetch(name, [chunk_id(1), chunk_id(n_points)], where=EVERYTHING)
    assert [p.chunk for p in found.values()] == [sent[0].chunk, sent[-1].chunk]
    store.compact(name)
    assert sum(1 for _ in store.scroll(name, where=EVERYTHING, vectors=False)) == n_points


def test_many_documents_are_removed_in_several_requests(store: OwnerStore, name: str) -> None:
    store.upsert(name, [point(n, document=f"d{n}") for n in range(1, 4)])
    store.delete_documents(name, [*(f"{n:032x}" for n in range(400_000)), "d1", "d3"])
    assert store.document_ids(name) == {"d2": 1}


def test_vectors_arrive_bit_for_bit(store: OwnerStore, name: str) -> None:
    rng = np.random.default_rng(1)
    sent = [point(n, dense=tuple(rng.normal(size=4))) for n in range(1, 200)]
    store.upsert(name, sent)
    for one, back in zip(sent, store.scroll(name, where=EVERYTHING, batch=7), strict=True):
        np.testing.assert_array_equal(back.dense, one.dense)
    assert all(p.dense.size == 0 for p in store.scroll(name, where=EVERYTHING, vectors=False))


def test_without_the_owner_s_token_nothing_is_said(owner: Gateway, name: str) -> None:
    made = OwnerStore(owner.url, "a guess")
    with pytest.raises(StorageError, match="key"):
        made.collections()


def test_an_owner_that_is_gone_is_said_in_one_sentence() -> None:
    store = OwnerStore(f"http://127.0.0.1:{closed_port()}", TOKEN)
    with pytest.raises(StorageError, match=r"the vectors' owner at .* does not answer .*; is `llmops up` still"):
        store.collections()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ],
)
def test_an_owner_that_dies_in_the_middle_of_an_answer_is_said_too(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            for _ in range(2):
                with listener.accept()[0] as connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        store = OwnerStore(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN)
        with pytest.raises(StorageError, match="the vectors' owner"):
            store.collections()
        with pytest.raises(StorageError, match="the vectors' owner"):
            list(store.scroll("handbook", where=EVERYTHING))
        thread.join(10)


def test_a_call_of_another_version_is_refused(store: OwnerStore) -> None:
    with pytest.raises(NotFoundError, match="no call 'dance'; this worker is of another version"):
        store._ask("dance")
    with pytest.raises(Exception, match="the call 'count' is incomplete"):
        store._ask("count")
