"""`/api/eval` and `/api/lineage`: what the command line asks of the process that owns the workspace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmops.ingestion.run import Options
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.gateway.running import TOKEN, Gateway, eventually, run_gateway
from tests.gateway.test_endpoints import assert_error
from tests.gateway.upstream import Upstream, closed_port, hang, refusing
from tests.gateway.workspaces import write_workspace

OWNER = {"Authorization": f"Bearer {TOKEN}"}
SUITE = """name: {name}
description: d
route: {route}
datasets: [questions.jsonl]
metrics: [token_recall]
gate:
  - {{metric: token_recall, at_least: 0.5}}
"""
QUESTIONS = (
    ("opening", "When does the library open?", ["nine"]),
    ("fees", "What does a late book cost?", ["twenty cents"]),
)


@pytest.fixture(scope="module")
def measuring(tmp_path_factory: pytest.TempPathFactory, models: Path, scripted: Upstream) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("measuring")
    write_workspace(root, models, upstream_url=scripted.url, closed=closed_port())
    lines = [json.dumps({"id": i, "question": q, "answers": a}) + "\n" for i, q, a in QUESTIONS]
    (root / "evals" / "questions.jsonl").write_text("".join(lines))
    for name, route in (("small", "assistant"), ("remote", "rag"), ("unread", "team")):
        (root / "evals" / f"{name}.yaml").write_text(SUITE.format(name=name, route=route))
    workspace = Workspace(root, Settings(threads="1"), command="a test")
    try:
        workspace.ingest(workspace.files.pipeline("docs"), options=Options())
        with run_gateway(workspace) as running:
            yield running
    finally:
        workspace.close()


def evaluate(gateway: Gateway, **body: Any) -> httpx.Response:
    return gateway.http.post("/api/eval", json=body, headers=OWNER)


def told(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_suite_is_run_and_told_line_by_line(measuring: Gateway) -> None:
    n_before = measuring.count("assistant")
    *progress, last = told(evaluate(measuring, suite="small"))
    assert progress
    assert all(value["progress"]["of"] == 2 for value in progress)
    assert (last["report"]["outcome"], last["report"]["n_errors"]) == ("pass", 0)
    assert [result["id"] for result in last["report"]["results"]] == ["opening", "fees"]
    assert last["described"][0] == "route assistant"
    assert measuring.count("assistant") == n_before  # questions of a suite are no traffic
    assert measuring.workspace.ledger.verdicts.latest() == []  # stored by who asked


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "suite"),
        ({"suite": 5}, 400, "suite"),
        ({"suite": "small", "sweet": 1}, 400, "sweet"),
        ({"suite": "small", "as_served": "maybe"}, 400, "as_served"),
        ({"suite": "nope"}, 404, "no suite 'nope' in evals/; there is: assistant, remote, small"),
        ({"suite": "small", "prompt": "nope"}, 404, "no prompt file for 'nope'"),
        ({"suite": "small", "collection": "docs-9"}, 404, "no collection 'docs-9'"),
        ({"suite": "unread"}, 404, "run `llmops ingest run team`"),
    ],
    ids=str,
)
def test_what_cannot_be_measured(measuring: Gateway, body: dict[str, Any], status: int, said: str) -> None:
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    assert_error(evaluate(measuring, **body), status, kind, said)


def test_only_the_owner_measures_and_explains(measuring: Gateway) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        refused = measuring.http.post("/api/eval", json={"suite": "small"}, headers=headers)
        assert_error(refused, 403, "permission_error", "use a key with the role 'admin'")
        assert_error(measuring.http.get("/api/lineage/x", headers=headers), 403, "permission_error")


def test_a_file_that_changed_is_read_anew(measuring: Gateway) -> None:
    path = measuring.workspace.root / "evals" / "questions.jsonl"
    text = path.read_text()
    try:
        path.write_text(text.splitlines()[0] + "\n")
        assert len(told(evaluate(measuring, suite="small"))[-1]["report"]["results"]) == 1
        path.write_text("")
        response = evaluate(measuring, suite="small")
        assert response.status_code >= 400
        assert "holds no examples" in response.json()["error"]["message"]
    finally:
        path.write_text(text)


def test_an_endpoint_that_fails_is_counted(measuring: Gateway, upstream: Upstream) -> None:
    upstream.handler = refusing(500, "out of memory")
    report = told(evaluate(measuring, suite="remote"))[-1]["report"]
    assert (report["outcome"], report["n_errors"]) == ("inconclusive", 2)
    assert "out of memory" in report["results"][0]["error"]


def test_who_leaves_stops_nothing(measuring: Gateway, upstream: Upstream) -> None:
    upstream.handler = hang
    body = {"suite": "remote"}
    with measuring.http.stream("POST", "/api/eval", json=body, headers=OWNER) as response:
        assert response.status_code == 200
        eventually(lambda: upstream.requests, "nothing was asked")
    assert told(evaluate(measuring, suite="small"))[-1]["report"]["outcome"] == "pass"


# Lineage


def test_an_answer_just_given_is_explained(measuring: Gateway) -> None:
    body = measuring.ask("assistant").json()
    found = measuring.http.get(f"/api/lineage/{body['inference_id']}", headers=OWNER)
    assert found.status_code == 200
    value = found.json()
    assert (value["inference_id"], value["route"], value["status"]) == (body["inference_id"], "assistant", "ok")
    assert value["answer"] == body["choices"][0]["message"]["content"]
    assert value["groundedness"] == body["groundedness"] == 1.0
    assert {content["kind"] for content in value["contents"] if content["content"]} == {
        *("route", "model", "prompt", "guardrails", "ingestion")
    }
    assert [p["chunk_id"] for p in value["passages"] if p["is_cited"]] == [
        c["chunk_id"] for c in body["citations"]
    ]


@pytest.mark.parametrize("unknown", ["inf_none", "%25", "x" * 400, "%E2%82%AC"])
def test_an_unknown_answer_is_not_found(measuring: Gateway, unknown: str) -> None:
    response = measuring.http.get(f"/api/lineage/{unknown}", headers=OWNER)
    assert_error(response, 404, "not_found_error", "no inference", "`llmops trace list` shows the latest")
