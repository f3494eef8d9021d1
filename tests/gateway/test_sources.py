"""Documents that are pushed, events that are obeyed at once, and erasure, over real HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmops.releases.audit import latest_events
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from llmops.workspace.queues import open_jobs
from tests.gateway.running import Gateway, eventually, run_gateway
from tests.gateway.test_endpoints import assert_error
from tests.gateway.upstream import Upstream, closed_port
from tests.gateway.workspaces import write_workspace

MEMO = "# Parking\n\nThe blue garage has forty two places for the members of the board.\n"
PUSHED = """name: memos
description: What applications send.
source:
  type: push
  acl: [everyone]
"""


@pytest.fixture
def pushing(tmp_path: Path, models: Path, upstream: Upstream) -> Iterator[Gateway]:
    root = tmp_path / "workspace"
    write_workspace(root, models, upstream_url=upstream.url, closed=closed_port())
    (root / "ingestion" / "memos.yaml").write_text(PUSHED)
    rag = (root / "serving" / "rag.yaml").read_text()
    board = rag.replace("name: rag", "name: board").replace("collection: docs", "collection: memos")
    (root / "serving" / "board.yaml").write_text(board)
    workspace = Workspace(root, Settings(threads="1"), command="a test")
    try:
        with run_gateway(workspace) as running:
            yield running
    finally:
        workspace.close()


def push(gateway: Gateway, uri: str = "memo/1", text: str = MEMO, **fields: Any) -> httpx.Response:
    document = {"uri": uri, "text": text, **fields}
    return gateway.http.post("/api/documents", json={"pipeline": "memos", "documents": [document]}, headers=ADMIN)


def tell(gateway: Gateway, *events: dict[str, Any]) -> httpx.Response:
    return gateway.http.post("/api/ingest/events", json={"pipeline": "memos", "events": events}, headers=ADMIN)


def seen(
    gateway: Gateway, *principals: str, query: str = "places in the blue garage", **headers: str
) -> list[str]:
    """Uris that a search shows to these principals."""
    given = {**ADMIN, "X-Llmops-Principals": ",".join(principals), **headers}
    answer = gateway.http.post("/v1/search", json={"query": query, "collection": "memos"}, headers=given)
    assert answer.status_code == 200, answer.text
    return [hit["uri"] for hit in answer.json()["hits"]]


def ask(gateway: Gateway, *principals: str) -> dict[str, Any]:
    body = {"model": "board", "messages": [{"role": "user", "content": "How many places has the blue garage?"}]}
    headers = {**ADMIN, "X-Llmops-Principals": ",".join(principals)}
    answer = gateway.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def context_of(gateway: Gateway, answer: dict[str, Any]) -> str:
    """What the model was handed, as the trace has it."""
    trace = gateway.trace(answer["inference_id"])
    return str([span.output for span in trace.spans if span.station == "render"])


def refused(response: httpx.Response, status: int, message: str) -> None:
    kinds = {400: "invalid_request_error", 404: "not_found_error", 500: "configuration_error"}
    assert_error(response, status, kinds[status], message)


_LOCKED = """
import pathlib, sqlite3, sys
ledger = sqlite3.connect(pathlib.Path(sys.argv[1]) / "ledger.sqlite3")
ledger.execute("SELECT count(*) FROM documents").fetchall()
ledger.close()
"""
ADMIN = {"Authorization": "Bearer the-owner's-token"}


def test_a_pushed_document_is_found_when_the_push_is_answered_and_replaced_by_the_next(pushing: Gateway) -> None:
    done = push(pushing)
    assert done.status_code == 200, done.text
    assert (done.json()["n_indexed"], done.json()["is_complete"]) == (1, True)
    assert seen(pushing) == ["memo/1"]
    assert push(pushing).json()["n_embedded"] == 0
    push(pushing, text="# Parking\n\nThe red garage is closed.\n")
    answer = pushing.http.post("/v1/search", json={"query": "garage", "collection": "memos"}, headers=ADMIN)
    assert [hit["text"] for hit in answer.json()["hits"]] == ["The red garage is closed."]
    report = pushing.workspace.ingest(pushing.workspace.pipeline("memos"), options=_options(rebuild=True))
    assert (report.n_indexed, report.is_complete) == (1, True)  # from the bytes that the ledger kept
    assert seen(pushing, query="garage") == ["memo/1"]


def test_a_change_of_readers_a_group_and_a_removal_take_effect_before_they_are_answered(pushing: Gateway) -> None:
    push(pushing, acl=["group:board"])
    assert seen(pushing, "user:ada") == []
    began = time.monotonic()
    told = tell(pushing, {"type": "members", "group": "group:board", "members": ["user:ada"]})
    assert (told.status_code, told.json()["n_known"]) == (200, 1)
    assert seen(pushing, "user:ada") == ["memo/1"]
    tell(pushing, {"type": "members", "group": "group:board", "members": []})
    assert seen(pushing, "user:ada") == []
    tell(pushing, {"type": "access", "uri": "memo/1", "acl": ["user:ada"]})
    assert seen(pushing, "user:ada") == ["memo/1"]
    assert seen(pushing, "user:bob") == []
    tell(pushing, {"type": "access", "uri": "memo/1", "acl": []})
    assert seen(pushing, "user:ada") == []
    pushing.workspace.ingest(pushing.workspace.pipeline("memos"), options=_options(rebuild=True))
    assert seen(pushing, "user:ada") == []  # a rebuild does not bring the readers back
    tell(pushing, {"type": "access", "uri": "memo/1", "acl": ["everyone"]})
    assert seen(pushing) == ["memo/1"]
    assert tell(pushing, {"type": "deleted", "uri": "memo/1"}).json()["n_known"] == 1
    assert seen(pushing) == []
    assert time.monotonic() - began < 60


def test_a_group_changed_by_another_process_reaches_this_one_within_a_second(pushing: Gateway) -> None:
    from llmops.workspace.ledger import Ledger

    push(pushing, acl=["group:board"])
    other = Ledger(pushing.workspace.root, Settings())
    try:
        other.groups.set_members("memos", "group:board", ["user:ada"])
        eventually(lambda: seen(pushing, "user:ada") == ["memo/1"], "the membership did not arrive")
        other.groups.set_members("memos", "group:board", [])
        eventually(lambda: seen(pushing, "user:ada") == [], "the revocation did not arrive")
    finally:
        other.close()


def test_chat_context_and_citations_follow_a_revocation(pushing: Gateway) -> None:
    push(pushing, acl=["user:ada"])
    answer = ask(pushing, "user:ada")
    assert [citation["uri"] for citation in answer["citations"]] == ["memo/1"]
    assert "blue garage" in context_of(pushing, answer)
    tell(pushing, {"type": "access", "uri": "memo/1", "acl": []})
    answer = ask(pushing, "user:ada")
    assert answer["citations"] == []
    assert "forty two" not in context_of(pushing, answer)


def test_tenants_never_see_each_other(pushing: Gateway) -> None:
    push(pushing)
    (pushing.workspace.root / "ingestion" / "memos.yaml").write_text(PUSHED + "tenant: acme\n")
    pushing.workspace.ingest(pushing.workspace.pipeline("memos"), options=_options())
    assert seen(pushing) == []
    assert seen(pushing, **{"X-Llmops-Tenant": "acme"}) == ["memo/1"]
    _, secret = pushing.workspace.keys.create("acme's app", role="app", principals=[], tenant="acme")
    key = {"Authorization": f"Bearer {secret}"}
    body = {"query": "blue garage", "collection": "memos"}
    assert len(pushing.http.post("/v1/search", json=body, headers=key).json()["hits"]) == 1
    asked = {**key, "X-Llmops-Tenant": ""}
    assert (
        len(pushing.http.post("/v1/search", json=body, headers=asked).json()["hits"]) == 1
    )  # an app has one tenant


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"pipeline": "docs", "documents": [{"uri": "a", "text": "x"}]}, 400, "reads its own source (folder)"),
        ({"pipeline": "nowhere", "documents": [{"uri": "a", "text": "x"}]}, 404, "no pipeline 'nowhere'"),
        ({"pipeline": "memos", "documents": []}, 400, "'documents': List should have at least 1 item"),
        ({"pipeline": "memos", "documents": [{"uri": "a"}]}, 400, "give either text or content_base64"),
        ({"pipeline": "memos", "documents": [{"uri": "a", "content_base64": "%%"}]}, 400, "is not base64"),
        ({"pipeline": "memos", "documents": [{"uri": "a", "text": "x", "url": "javascript:1"}]}, 400, "url"),
    ],
)
def test_a_wrong_push_is_refused_with_one_sentence(
    pushing: Gateway, body: dict[str, Any], status: int, message: str
) -> None:
    refused(pushing.http.post("/api/documents", json=body, headers=ADMIN), status, message)


def test_events_need_what_they_tell_of(pushing: Gateway) -> None:
    refused(tell(pushing, {"type": "access", "uri": "a"}), 400, "needs 'acl'")
    refused(tell(pushing, {"type": "members", "members": []}), 400, "needs 'group'")
    refused(pushing.http.post("/api/ingest/events", json={"x": 1}, headers=ADMIN), 400, "name the pipeline")
    assert tell(pushing, {"type": "deleted", "uri": "never seen"}).json()["n_known"] == 0


def test_vendors_are_told_that_we_are_there(pushing: Gateway) -> None:
    graph = pushing.http.post("/api/ingest/events?validationToken=abc", headers=ADMIN)
    assert (graph.status_code, graph.text, graph.headers["content-type"][:10]) == (200, "abc", "text/plain")
    slack = {"type": "url_verification", "challenge": "c1"}
    assert pushing.http.post("/api/ingest/events", json=slack, headers=ADMIN).json() == {"challenge": "c1"}


def test_a_forgotten_document_is_gone_everywhere_and_stays_away(pushing: Gateway) -> None:
    push(pushing, uri="memo/ada")
    push(
        pushing,
        uri="memo/other",
        text="# Bees\n\nThe roof has three hives of bees that give honey every summer.\n",
    )
    answer = ask(pushing, "everyone")
    assert "forty two places" in context_of(pushing, answer)
    said = {"inference_id": answer["inference_id"], "value": False, "comment": "forty two?", "correction": "40"}
    assert pushing.http.post("/v1/feedback", json=said, headers=ADMIN).status_code == 200
    body = {"pipeline": "memos", "uri": "memo/ada"}
    done = pushing.http.post("/api/ingest/forget", json=body, headers=ADMIN)
    assert done.status_code == 200, done.text
    receipt = done.json()
    assert (receipt["n_points"], receipt["n_traces"], receipt["n_feedback"]) == (1, 1, 1)
    assert (receipt["left"], receipt["is_proved"]) == ({}, True)
    held = subprocess.run([sys.executable, "-c", _LOCKED, str(pushing.workspace.root / ".llmops")], check=False)
    assert held.returncode == 0  # a process that comes and goes leaves our log alone
    assert (pushing.workspace.root / ".llmops" / "ledger.sqlite3-wal").exists()
    assert seen(pushing) == ["memo/other"]
    trace = pushing.workspace.traces.get(answer["inference_id"])
    assert all(span.input is None and span.output is None for span in trace.spans)
    assert trace.usage.output_tokens > 0  # what it cost is not what it said
    [left] = pushing.workspace.feedback.of(answer["inference_id"])
    assert (left["comment"], left["correction"], left["value"]) == ("<erased>", "", False)
    again = push(pushing, uri="memo/ada").json()
    assert (again["n_forgotten"], again["n_indexed"]) == (1, 0)
    assert seen(pushing) == ["memo/other"]
    event = latest_events(pushing.workspace.database)[0]
    assert (event.action, event.subject) == ("ingest.forget", "pipeline:memos")
    assert "memo/ada" not in str(event)
    refused(
        pushing.http.post("/api/ingest/forget", json={**body, "uri": "never"}, headers=ADMIN), 404, "no document"
    )


def test_explain_says_everything_of_one_document(pushing: Gateway) -> None:
    push(pushing, acl=["user:ada"], metadata={"team": "board"})
    asked = {"pipeline": "memos", "uri": "memo/1"}
    found = pushing.http.post("/api/ingest/explain", json=asked, headers=ADMIN).json()
    assert (found["document"]["state"], found["document"]["acl"]) == ("indexed", ["user:ada"])
    assert [chunk["acl"] for chunk in found["chunks"]] == [["user:ada"]]
    refused(pushing.http.post("/api/ingest/nothing", json=asked, headers=ADMIN), 404, "no operation 'nothing'")


def test_a_source_that_says_changed_gets_a_job(pushing: Gateway) -> None:
    jobs = open_jobs(pushing.workspace)
    try:
        body = {"pipeline": "docs", "events": [{"type": "changed"}]}
        refused(
            pushing.http.post("/api/ingest/events", json=body, headers=ADMIN),
            500,
            "this gateway has no job queues",
        )
        job = jobs.submit("docs")
        eventually(lambda: jobs.get(job).state in ("done", "failed"), "the job did not end", 30)
        done = jobs.get(job)
        assert (done.state, done.report is not None and done.report["n_indexed"]) == ("done", 2)
    finally:
        jobs.close()


def _options(**given: bool) -> Any:
    from llmops.ingestion.run import Options

    return Options(**given)
