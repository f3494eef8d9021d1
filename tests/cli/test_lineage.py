"""`llmops lineage`: everything that shaped one answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command, edit
from tests.guardrails.policies import CARD, ORDER

FEE = "How much is the late fee?"


@pytest.fixture
def released(llmops: Command, library: Path) -> Path:
    done = llmops("release", "promote", "prompt:answer", "--force", "--reason", "a demo", "-w", library)
    assert done.code == 0
    return library


def ask(llmops: Command, root: Path, question: str = FEE) -> str:
    answered = llmops("ask", question, "-w", root, "--json")
    assert answered.code == 0
    inference_id: str = answered.json["inference_id"]
    return inference_id


def test_an_answer_is_explained(llmops: Command, released: Path) -> None:
    told = llmops("lineage", ask(llmops, released), "-w", released)
    assert (told.code, told.err) == (0, "")
    assert re.match(
        r"inf_[0-9a-f]{32}  \S+  route assistant  ok\nasked     How much is the late fee\?\n", told.out
    )
    assert "answered  The late fee is twenty cents a day" in told.out
    model = next(line for line in told.out.splitlines() if line.startswith("model     "))
    assert model.startswith("model     default:extractive  ")
    assert "max_sentences=3" in model
    assert "unknown_answer" not in model
    assert re.search(r"^prompt  answer  [0-9a-f]{12}  version 1  by \S+$", told.out, re.M)
    assert re.search(r"^guardrails  default  [0-9a-f]{12}$", told.out, re.M)
    assert re.search(r"^ \*\[1\] fees\.md  \S+  content [0-9a-f]{12}$", told.out, re.M)
    assert re.search(r"^  \[2\] \S+\.md  \S+  content [0-9a-f]{12}$", told.out, re.M)
    assert "Released by\n  collection:docs docs-1  ingest by ingestion at " in told.out
    assert re.search(r"^  prompt:answer version 1  promote by ada at \S+  FORCED: a demo$", told.out, re.M)
    assert "Guardrails" not in told.out
    assert "Feedback" not in told.out


def test_lineage_as_json(llmops: Command, released: Path) -> None:
    value = llmops("lineage", ask(llmops, released), "-w", released, "--json").json
    assert {content["kind"] for content in value["contents"]} == {
        *("route", "model", "prompt", "guardrails", "ingestion")
    }
    prompt = next(content for content in value["contents"] if content["kind"] == "prompt")
    assert prompt["content"] == (released / "prompts" / "answer.prompt.md").read_text()
    cited = [passage for passage in value["passages"] if passage["is_cited"]]
    assert [passage["uri"] for passage in cited] == ["fees.md"]
    assert {release["kind"]: release["target"] for release in value["releases"]}["collection"] == "docs-1"
    assert value["groundedness"] == 1.0
    assert (value["question"], value["status"], value["feedback"]) == (FEE, "ok", [])


def test_what_the_policy_found_is_told(llmops: Command, released: Path) -> None:
    blocked = llmops("lineage", ask(llmops, released, ORDER), "-w", released).out
    assert "\nGuardrails\n  input: injection found override (0.92): block\n" in blocked
    assert "answered  (not kept)" in blocked or "I can't help with that" in blocked
    redacted = llmops("lineage", ask(llmops, released, f"{FEE} {CARD}"), "-w", released).out
    assert "  input: pii found CREDIT_CARD (1.0): redact\n" in redacted
    assert CARD not in redacted
    assert "asked     How much is the late fee? <CREDIT_CARD>\n" in redacted


def test_a_document_that_changed_since_is_marked(llmops: Command, released: Path) -> None:
    inference_id = ask(llmops, released)
    edit(released / "docs" / "fees.md", "twenty cents", "fifty cents")
    (released / "docs" / "rooms.md").unlink()
    assert llmops("ingest", "-w", released, "--accept-removals").code == 0
    told = llmops("lineage", inference_id, "-w", released).out
    assert re.search(r"^ \*\[1\] fees\.md  \S+  changed since$", told, re.M)
    assert re.search(r"^  \[\d\] rooms\.md  \S+  no longer in the collection's ledger$", told, re.M)


def test_content_that_is_not_kept_is_not_told(llmops: Command, released: Path) -> None:
    route = released / "serving" / "assistant.yaml"
    route.write_text(route.read_text() + "trace:\n  content: none\n")
    told = llmops("lineage", ask(llmops, released, f"{FEE} {CARD}"), "-w", released)
    assert told.code == 0
    assert "asked     (not kept)\nanswered  (not kept)\n" in told.out
    assert "input: pii found CREDIT_CARD (1.0): redact" in told.out
    assert "twenty cents" not in told.out


@pytest.mark.parametrize("unknown", ["inf_none", "", "inf_", "../x", "%", "x" * 500])
def test_an_unknown_answer(llmops: Command, library: Path, unknown: str) -> None:
    llmops("lineage", unknown, "-w", library).refused(2, f"no inference '{unknown}' in the ledger")
    as_json = llmops("lineage", unknown, "-w", library, "--json")
    assert (as_json.code, as_json.err, as_json.json["error"]["type"]) == (2, "", "NotFoundError")


def test_an_answer_of_a_route_without_documents(llmops: Command, released: Path) -> None:
    text = "name: plain\ndescription: d\nmodel: default\nprompt: answer@production\n"
    (released / "serving" / "plain.yaml").write_text(text)
    asked = llmops("ask", FEE, "-r", "plain", "-w", released, "--json").json
    told = llmops("lineage", asked["inference_id"], "-w", released)
    assert (told.code, told.err) == (0, "")
    assert "documents I can read do not answer this" in told.out
