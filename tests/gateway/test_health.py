"""What probes, scrapers and browsers fetch."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import delete, text

from llmops.clients.database.tables import aliases
from llmops.clients.protocols import Filter
from tests.gateway.running import Gateway, eventually
from tests.gateway.test_endpoints import assert_error
from tests.gateway.upstream import Upstream, refusing

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(gateway: Gateway) -> dict[Sample, float]:
    response = gateway.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(response.text))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def moved(before: dict[Sample, float], after: dict[Sample, float], instrument: str, /, **labels: str) -> float:
    key = (instrument, frozenset(labels.items()))
    return after[key] - before.get(key, 0)


def test_healthz_answers(gateway: Gateway) -> None:
    response = gateway.http.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_readyz_says_ready(gateway: Gateway) -> None:
    response = gateway.http.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready", "problems": []})


def problems(gateway: Gateway) -> list[str]:
    response = gateway.http.get("/readyz")
    found: list[str] = response.json()["problems"]
    assert response.status_code == (503 if found else 200)
    return found


@pytest.fixture
def without_alias(gateway: Gateway) -> Iterator[Gateway]:
    """Nothing has been ingested under the name `team`, as far as the ledger knows."""
    book = gateway.workspace.collections
    with gateway.workspace.database.begin() as connection:
        connection.execute(delete(aliases).where(aliases.c.name == "team"))
    book.refresh()
    yield gateway
    book.point("team", "team-1")


def test_readyz_names_the_collection_that_is_missing(without_alias: Gateway) -> None:
    (problem,) = problems(without_alias)
    assert problem.startswith("route 'team': no collection 'team'")
    assert problem.endswith("run `llmops ingest run team`")
    response = without_alias.ask("team")
    assert_error(response, 404, "not_found_error", "no collection 'team'", "run `llmops ingest run team`")
    assert without_alias.newest("team").status == "error"


def test_readyz_notices_vectors_that_are_gone(gateway: Gateway) -> None:
    store = gateway.workspace.store
    points = list(store.scroll("team-1", where=Filter(principals=None)))
    store.drop("team-1")
    try:
        (problem,) = problems(gateway)
        assert "the vectors of collection 'team-1' are gone; run `llmops ingest run team --rebuild`" in problem
        assert gateway.ask("team").status_code in (404, 503)
    finally:
        store.create("team-1", dimension=384, metadata={})
        store.upsert("team-1", points)
    assert problems(gateway) == []


@pytest.fixture
def broken_ledger(gateway: Gateway) -> Iterator[Gateway]:
    """Nothing can be inserted any more, as on a full disk."""
    database = gateway.workspace.database
    for table in ("traces", "feedback"):
        with database.begin() as connection:
            refusal = "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            connection.execute(text(f"CREATE TRIGGER no_{table} BEFORE INSERT ON {table} {refusal}"))
    yield gateway
    mend(gateway)
    assert gateway.workspace.writer.flush()


def mend(gateway: Gateway) -> None:
    with gateway.workspace.database.begin() as connection:
        for table in ("traces", "feedback"):
            connection.execute(text(f"DROP TRIGGER IF EXISTS no_{table}"))


def test_a_ledger_that_cannot_be_written_is_noticed_and_nothing_is_lost(broken_ledger: Gateway) -> None:
    gateway, writer = broken_ledger, broken_ledger.workspace.writer
    known = gateway.ask("assistant").json()["inference_id"]  # answers go on
    eventually(lambda: writer.failing_since, "the writer did not notice")
    (problem,) = problems(gateway)
    assert "disk is full" in problem
    assert "free some disk space" in problem
    figures = samples(gateway)
    assert figures["llmops_trace_writer_failing", frozenset()] == 1
    assert figures["llmops_trace_queue_depth", frozenset()] >= 1
    mend(gateway)
    assert gateway.trace(known).status == "ok"
    assert problems(gateway) == []
    assert samples(gateway)["llmops_trace_writer_failing", frozenset()] == 0


def test_feedback_that_cannot_be_stored_is_not_acknowledged(
    gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    inference_id = gateway.ask("assistant").json()["inference_id"]
    gateway.trace(inference_id)
    request.getfixturevalue("broken_ledger")
    response = gateway.http.post("/v1/feedback", json={"inference_id": inference_id, "value": True})
    assert_error(response, 503, "storage_error", "disk is full")
    mend(gateway)
    assert gateway.workspace.feedback.of(inference_id) == []


def test_readyz_notices_a_ledger_that_cannot_be_read(gateway: Gateway) -> None:
    database = gateway.workspace.database
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE collections RENAME TO hidden"))
    try:
        (problem,) = problems(gateway)
        assert "no such table" in problem
        assert gateway.ask("assistant").status_code == 200  # what is in memory still answers
    finally:
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE hidden RENAME TO collections"))
    assert problems(gateway) == []


def test_instruments_move_by_route_status_and_station(gateway: Gateway, upstream: Upstream) -> None:
    before = samples(gateway)
    gateway.ask("rag")
    gateway.ask("forward")
    gateway.ask("forward", stream=True)
    upstream.handler = refusing(500, "boom")
    gateway.ask("rag")
    after = samples(gateway)

    def by(instrument: str, **labels: str) -> float:
        return moved(before, after, instrument, **labels)

    assert by("llmops_inferences_total", route="rag", status="ok") == 1
    assert by("llmops_inferences_total", route="rag", status="error") == 1
    assert by("llmops_inferences_total", route="forward", status="ok") == 2
    assert by("llmops_tokens_total", route="forward", direction="input") == 22
    assert by("llmops_tokens_total", route="forward", direction="output") == 14
    assert by("llmops_cost_usd_total", route="forward") == pytest.approx(2 * 0.025)
    assert by("llmops_inference_duration_seconds_count", route="rag") == 2
    assert by("llmops_inference_duration_seconds_sum", route="rag") > 0
    assert by("llmops_time_to_first_token_seconds_count", route="rag") == 1
    for station in ("embed", "search", "pack", "render", "generate"):
        assert by("llmops_station_duration_seconds_count", route="rag", station=station) == 2
    assert by("llmops_station_duration_seconds_count", route="rag", station="cite") == 1
    assert by("llmops_station_duration_seconds_count", route="forward", station="forward") == 2


def test_feedback_is_counted_by_name_without_letting_callers_make_up_labels(gateway: Gateway) -> None:
    inference_id = gateway.ask("assistant").json()["inference_id"]
    before = samples(gateway)
    for name in ("thumb", "resolved", "made_up_1", "made_up_2"):
        gateway.http.post("/v1/feedback", json={"inference_id": inference_id, "name": name, "value": True})
    after = samples(gateway)
    assert moved(before, after, "llmops_feedback_total", name="thumb") == 1
    assert moved(before, after, "llmops_feedback_total", name="resolved") == 1
    assert moved(before, after, "llmops_feedback_total", name="other") == 2


def test_unknown_routes_make_no_labels(gateway: Gateway) -> None:
    gateway.ask("made-up")
    assert not any(("route", "made-up") in labels for _, labels in samples(gateway))


def test_the_process_is_measured(gateway: Gateway) -> None:
    assert samples(gateway)["process_resident_memory_bytes", frozenset()] > 0


# The page and the description of the API


FILES = {
    "/": "text/html",
    "/console/app.js": "text/javascript",
    "/console/style.css": "text/css",
    "/console/icon.svg": "image/svg+xml",
    "/favicon.ico": "image/svg+xml",
}


@pytest.mark.parametrize(("path", "kind"), FILES.items())
def test_the_page_comes_with_its_types_and_a_strict_policy(gateway: Gateway, path: str, kind: str) -> None:
    response = gateway.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(kind)
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_everything_the_page_loads_is_there(gateway: Gateway) -> None:
    page = gateway.http.get("/").text
    wanted = set(re.findall(r'(?:src|href)="(/[^"#]+)"', page))
    scripts = [path for path in wanted if path.endswith(".js")]
    while scripts:
        found = re.findall(r'from "\./([a-z]+\.js)"', gateway.http.get(scripts.pop()).text)
        new = {f"/console/{name}" for name in found} - wanted
        scripts += new
        wanted |= new
    assert len(wanted) > 8
    assert {path: gateway.http.get(path).status_code for path in wanted} == dict.fromkeys(wanted, 200)
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_openapi_lists_what_callers_may_use(gateway: Gateway) -> None:
    described = gateway.http.get("/openapi.json").json()
    paths = {f"{method.upper()} {path}" for path, item in described["paths"].items() for method in item}
    assert paths >= {
        "POST /v1/chat/completions",
        "POST /v1/search",
        "POST /v1/feedback",
        "GET /v1/models",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "POST /api/ingest",
        "POST /api/eval",
        "GET /api/lineage/{inference_id}",
    }
    for path in ("/v1/chat/completions", "/v1/search", "/v1/feedback", "/api/ingest", "/api/eval"):
        body = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body["properties"]
        assert body["required"]
