"""`llmops guard explain`: what a policy would do with a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command, edit
from tests.guardrails.policies import CARD, EMAIL, ORDER


def test_explain_shows_what_is_found_and_done(llmops: Command, fresh: Path) -> None:
    blocked = llmops("guard", "explain", ORDER, "-w", fresh)
    assert (blocked.code, blocked.err) == (0, "")
    assert blocked.out == "input: block\n  injection  override  0.92  block  'Ignore all previous instructions'\n"
    redacted = llmops("guard", "explain", f"My card is {CARD}.", "--stage", "output", "-w", fresh)
    assert redacted.out == (
        f"output: redact\n  pii  CREDIT_CARD  1.00  redact  '{CARD}'\n\nMy card is <CREDIT_CARD>.\n"
    )
    flagged = llmops("guard", "explain", EMAIL, "-w", fresh)
    assert flagged.out == f"input: flag\n  pii  EMAIL_ADDRESS  1.00  flag  '{EMAIL}'\n"
    assert llmops("guard", "explain", "When does it open?", "-w", fresh).out == "input: allow\n"
    assert llmops("guard", "explain", "", "-w", fresh).out == "input: allow\n"


def test_explain_as_json(llmops: Command, fresh: Path) -> None:
    value = llmops("guard", "explain", f"{CARD} {EMAIL}", "-w", fresh, "--json").json
    assert (value["action"], value["text"]) == ("redact", f"<CREDIT_CARD> {EMAIL}")
    assert [(f["kind"], f["start"], f["end"], f["action"]) for f in value["findings"]] == [
        ("CREDIT_CARD", 0, 19, "redact"),
        ("EMAIL_ADDRESS", 20, 35, "flag"),
    ]
    blocked = llmops("guard", "explain", ORDER, "--stage", "context", "-w", fresh, "--json").json
    assert (blocked["action"], blocked["text"]) == ("block", "")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("x", "--stage", "reply"), "no stage 'reply'; the stages are input, context, output"),
        (("x", "-p", "strict"), "no policy 'strict' in guardrails/; there is: default"),
    ],
)
def test_what_there_is_not(llmops: Command, fresh: Path, command: tuple[str, ...], said: str) -> None:
    llmops("guard", "explain", *command, "-w", fresh).refused(2, said)


def test_another_policy_is_named(llmops: Command, fresh: Path) -> None:
    text = "name: strict\ndescription: d\ninput:\n  - {check: pii, entities: [EMAIL_ADDRESS], action: block}\n"
    (fresh / "guardrails" / "strict.yaml").write_text(text)
    assert llmops("guard", "explain", EMAIL, "-p", "strict", "-w", fresh).out.startswith("input: block\n")


def test_a_policy_that_is_wrong_is_named_with_its_line(llmops: Command, fresh: Path) -> None:
    edit(
        fresh / "guardrails" / "default.yaml",
        "CRYPTO]\n    action: redact\n  - check: pii",
        "COINS]\n    action: redact\n  - check: pii",
    )
    llmops("guard", "explain", "x", "-w", fresh).refused(2, "guardrails/default.yaml:", "no entity 'COINS'")


FORWARD = "name: raw\ndescription: Forwards.\nmodel: away\nguardrails: default\n"
AWAY = "  away:\n    type: openai\n    base_url: http://127.0.0.1:9/v1\n    model: m\n"


def test_a_route_that_forwards_cannot_have_a_policy(llmops: Command, fresh: Path) -> None:
    models = fresh / "serving" / "models.yaml"
    models.write_text(models.read_text() + AWAY)
    (fresh / "serving" / "raw.yaml").write_text(FORWARD)
    said = "guardrails: a route without a prompt forwards bytes and checks none of them; give it a prompt"
    for command in (("guard", "explain", "x"), ("ask", "x"), ("ingest",)):
        llmops(*command, "-w", fresh).refused(2, "serving/raw.yaml", said)
    edit(fresh / "serving" / "raw.yaml", "guardrails: default\n", "")
    assert llmops("guard", "explain", "x", "-w", fresh).code == 0


def test_a_route_with_a_policy_that_is_not_there(llmops: Command, fresh: Path) -> None:
    edit(fresh / "serving" / "assistant.yaml", "guardrails: default", "guardrails: strict")
    said = "guardrails: no policy 'strict' in guardrails/; there is: default"
    llmops("ask", "x", "-w", fresh).refused(2, "serving/assistant.yaml", said)


def test_nothing_is_written(llmops: Command, fresh: Path) -> None:
    llmops("guard", "explain", ORDER, "-w", fresh)
    assert [path.name for path in (fresh / ".llmops").iterdir()] == ["models"]
