"""Policies as callers and model endpoints see them: over HTTP, on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmops.ingestion.run import Options
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.gateway.running import TOKEN, Gateway, run_gateway
from tests.gateway.test_endpoints import events_of, text_of
from tests.gateway.upstream import Exchange, Upstream, answering, closed_port, event, piece, streaming
from tests.gateway.workspaces import write_workspace
from tests.guardrails.policies import CARD, EMAIL, IBAN, ORDER

OPENING = "When does the library open?"
POLICY = """name: strict
description: Redacts account numbers, blocks orders and cards in answers, leaves out passages with orders.
message: "Not that."
input:
  - {check: injection, action: block}
  - {check: pii, entities: [CREDIT_CARD], action: redact}
  - {check: pii, entities: [EMAIL_ADDRESS], action: flag}
context:
  - {check: injection, action: block}
output:
  - {check: pii, entities: [IBAN_CODE], action: redact}
  - {check: pii, entities: [CREDIT_CARD], action: block}
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, models: Path, scripted: Upstream) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("guarded")
    write_workspace(root, models, upstream_url=scripted.url, closed=closed_port())
    (root / "guardrails" / "strict.yaml").write_text(POLICY)
    route = root / "serving" / "rag.yaml"
    route.write_text(route.read_text() + "guardrails: strict\n")
    workspace = Workspace(root, Settings(threads="1"), command="a test")
    try:
        workspace.ingest(workspace.files.pipeline("docs"), options=Options())
        with run_gateway(workspace) as running:
            yield running
    finally:
        workspace.close()


def ask(gateway: Gateway, question: str = OPENING, *, stream: bool = False, **more: Any) -> dict[str, Any]:
    """What a caller got, streamed or not: text, finish reason and the fields of a response."""
    response = gateway.ask("rag", question, stream=stream, **more)
    assert response.status_code == 200, response.text
    found: dict[str, Any]
    if stream:
        *events, last, done = events_of(response.text)
        assert done == "[DONE]"
        found = {"text": text_of([*events, last]), "finish": last["choices"][0]["finish_reason"], **last}
    else:
        body = response.json()
        (choice,) = body["choices"]
        found = {"text": choice["message"]["content"], "finish": choice["finish_reason"], **body}
    assert response.headers["x-inference-id"] == found["inference_id"]
    return {**found, "raw": response.text}


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
def test_a_blocked_question_reaches_no_model_and_no_search(
    guarded: Gateway, upstream: Upstream, stream: bool
) -> None:
    got = ask(guarded, ORDER, stream=stream)
    assert (got["text"], got["finish"]) == ("Not that.", "content_filter")
    assert (got["citations"], got["groundedness"]) == ([], None)
    (finding,) = got["guardrails"]
    assert set(finding) == {"stage", "check", "kind", "action", "score", "where"}
    assert (finding["stage"], finding["check"], finding["kind"]) == ("input", "injection", "override")
    assert (finding["action"], finding["where"]) == ("block", "question")
    assert upstream.requests == []
    trace = guarded.trace(got["inference_id"])
    assert ([span.station for span in trace.spans], trace.status) == (["guard-input"], "ok")


@both
def test_the_endpoint_sees_a_redacted_question(guarded: Gateway, upstream: Upstream, stream: bool) -> None:
    got = ask(guarded, f"{OPENING} My card is {CARD}, I am {EMAIL}.", stream=stream)
    (exchange,) = upstream.requests
    asked = exchange.body["messages"][-1]["content"]
    assert asked.endswith(f"My card is <CREDIT_CARD>, I am {EMAIL}.")
    assert "4111 1111" not in repr(exchange.body)
    assert [(f["kind"], f["action"]) for f in got["guardrails"] if f["stage"] == "input"] == [
        ("CREDIT_CARD", "redact"),
        ("EMAIL_ADDRESS", "flag"),
    ]
    assert "4111 1111" not in repr(guarded.trace(got["inference_id"]))
    assert got["text"] == "It opens at nine [1]."


def test_earlier_turns_are_checked_as_well(guarded: Gateway, upstream: Upstream) -> None:
    messages = [
        {"role": "user", "content": f"My card is {CARD}."},
        {"role": "assistant", "content": "Thanks."},
        {"role": "user", "content": OPENING},
    ]
    response = guarded.http.post("/v1/chat/completions", json={"model": "rag", "messages": messages})
    assert response.status_code == 200
    (exchange,) = upstream.requests
    assert [m["content"] for m in exchange.body["messages"][1:-1]] == ["My card is <CREDIT_CARD>.", "Thanks."]


def test_a_passage_with_orders_is_not_shown(guarded: Gateway, upstream: Upstream) -> None:
    got = ask(guarded, "When are complaints read?")
    shown = upstream.requests[-1].body["messages"][-1]["content"]
    assert 'source="library.md"' in shown
    assert "notes.txt" not in shown
    assert 'id="1"' in shown
    (citation,) = got["citations"]
    assert citation["text"] in shown
    assert {(f["stage"], f["action"]) for f in got["guardrails"]} == {("context", "block")}
    ask_unguarded = guarded.ask("rag-hurried", "When are complaints read?")
    assert ask_unguarded.status_code == 200
    assert 'source="notes.txt"' in upstream.requests[-1].body["messages"][-1]["content"]


@both
def test_an_answer_is_redacted_however_it_was_cut(guarded: Gateway, upstream: Upstream, stream: bool) -> None:
    said = f"It opens at nine [1]. Pay to {IBAN} [2]. That is all."
    for n in (1, 7, len(said)):
        upstream.handler = answering(*(said[i : i + n] for i in range(0, len(said), n)))
        got = ask(guarded, stream=stream)
        assert got["text"] == "It opens at nine [1]. Pay to <IBAN_CODE> [2]. That is all."
        assert "3704 00" not in got["raw"]
        assert [citation["number"] for citation in got["citations"]] == [1, 2]
        assert [f["where"] for f in got["guardrails"] if f["stage"] == "output"] == ["answer"]
        assert (got["finish"], got["usage"]["total_tokens"] if not stream else 18) == ("stop", 18)


@both
def test_a_blocked_answer_ends_there_and_the_endpoint_is_left(
    guarded: Gateway, upstream: Upstream, stream: bool
) -> None:
    left: list[bool] = []
    first = [event(piece(text)) for text in ("It opens at nine [1]. ", "Use ", CARD, " [2]. Or not. ")]
    upstream.handler = streaming(*first, then=lambda exchange: left.append(exchange.left_within(10)))
    got = ask(guarded, stream=stream)
    assert (got["text"], got["finish"]) == ("It opens at nine [1]. \n\nNot that.", "content_filter")
    assert [citation["number"] for citation in got["citations"]] == [1]
    assert "4111 1111" not in got["raw"]
    assert (got["guardrails"][-1]["stage"], got["guardrails"][-1]["action"]) == ("output", "block")
    trace = guarded.trace(got["inference_id"])
    assert trace.status == "ok"
    assert "4111 1111" not in repr(trace)


def test_an_error_in_mid_answer_lets_nothing_unchecked_leave(guarded: Gateway, upstream: Upstream) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.connection.close()

    upstream.handler = streaming(event(piece("It opens at nine. Pay to DE89 3704 0044 ")), then=cut)
    response = guarded.ask("rag", OPENING, stream=True)
    assert "It opens at nine." in response.text
    assert '"error"' in response.text
    assert "3704 00" not in response.text


@both
def test_groundedness_is_told(guarded: Gateway, upstream: Upstream, stream: bool) -> None:
    upstream.handler = answering("The library opens at nine in the morning [1].")
    got = ask(guarded, stream=stream)
    assert got["groundedness"] == 1.0
    upstream.handler = answering("Dragons breathe fire [1].")
    assert ask(guarded, stream=stream)["groundedness"] == 0.0
    upstream.handler = answering("I don't know: the documents I can read do not answer this.")
    assert ask(guarded, stream=stream)["groundedness"] is None


def test_a_route_without_a_policy_finds_nothing(guarded: Gateway, upstream: Upstream) -> None:
    body = guarded.ask("rag-hurried", ORDER).json()
    assert body["guardrails"] == []
    assert ORDER in upstream.requests[-1].body["messages"][-1]["content"]


@both
def test_a_route_that_forwards_adds_no_fields(guarded: Gateway, upstream: Upstream, stream: bool) -> None:
    text = guarded.ask("forward", ORDER, stream=stream).text
    assert "guardrails" not in text
    assert "groundedness" not in text
    assert upstream.requests[-1].body["messages"][-1]["content"] == ORDER


def test_lineage_tells_what_was_found(guarded: Gateway, upstream: Upstream) -> None:
    upstream.handler = answering(f"Pay to {IBAN} [1].")
    got = ask(guarded)
    response: httpx.Response = guarded.http.get(
        f"/api/lineage/{got['inference_id']}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    told = response.json()
    assert [f["kind"] for f in told["guardrails"] if f["stage"] == "output"] == ["IBAN_CODE"]
    assert told["answer"] == "Pay to <IBAN_CODE> [1]."
    policy = next(content for content in told["contents"] if content["kind"] == "guardrails")
    assert (policy["name"], '"message": "Not that."' in policy["content"]) == ("strict", True)
