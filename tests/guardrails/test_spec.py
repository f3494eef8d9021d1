"""A policy file that is wrong is refused in one sentence, and every committed one is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llmops.config import load_spec
from llmops.errors import SpecError
from llmops.guardrails.spec import GuardrailsSpec
from tests.conftest import REPOSITORY

HEAD = "name: a\ndescription: d\n"
PII = "input:\n  - {check: pii, entities: [CREDIT_CARD], action: redact%s}\n"
WRONG = {
    "no checks": (HEAD, "has no checks; give input, context or output at least one"),
    "an empty list of checks": (HEAD + "input: []\n", "has no checks"),
    "an unknown stage": (HEAD + "inputs: []\n", "did you mean 'input'?"),
    "an unknown check": (
        HEAD + "input:\n  - {check: toxicity, action: flag}\n",
        "has no 'check' 'toxicity'; there is: 'pii', 'injection'",
    ),
    "an unknown action": (HEAD + PII.replace("redact", "delete") % "", "'allow', 'flag', 'redact'"),
    "no action": (HEAD + "input:\n  - {check: injection}\n", "action: is required"),
    "no entities": (HEAD + PII.replace("[CREDIT_CARD]", "[]") % "", "entities: needs at least 1"),
    "an unknown entity": (
        HEAD + PII.replace("CREDIT_CARD", "CARD") % "",
        "there is no entity 'CARD'; there is: ABA_",
    ),
    "an unknown rule": (
        HEAD + "input:\n  - {check: injection, rules: [magic], action: block}\n",
        "there is no rule 'magic'; there is: ",
    ),
    "rules for personal data": (HEAD + PII % ", rules: []", "rules: unknown field"),
    "a threshold of nothing": (HEAD + PII % ", threshold: 0", "threshold: input should be greater than 0"),
    "a threshold over one": (
        HEAD + PII % ", threshold: 1.5",
        "threshold: input should be less than or equal to 1",
    ),
    "an empty message": (HEAD + "message: ''\n" + PII % "", "message: "),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_policy_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SpecError, match=re.escape(said)) as raised:
        load_spec(GuardrailsSpec, path)
    assert str(raised.value).startswith(f"{path}:")
    assert "\n" not in str(raised.value)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    spec = load_spec(GuardrailsSpec, written(tmp_path, HEAD + PII % ""))
    assert spec.message.startswith("I can't help with that")
    assert (spec.context, spec.output) == ((), ())
    assert [check.threshold for check in spec.input] == [0.4]


@pytest.mark.parametrize(
    "change",
    ["", ", threshold: 0.6"],
    ids=["the same", "another threshold"],
)
def test_the_hash_is_that_of_what_the_policy_does(tmp_path: Path, change: str) -> None:
    def hash_of(text: str) -> Any:
        return load_spec(GuardrailsSpec, written(tmp_path, text)).spec_hash

    same = hash_of(HEAD + "# a comment\n" + PII % "") == hash_of(HEAD + PII % change)
    assert same is (not change)


SHIPPED = sorted(
    [
        *(REPOSITORY / "guardrails").glob("*.yaml"),
        *REPOSITORY.glob("src/llmops/cli/workspace_template/guardrails/*"),
    ]
)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_committed_policy_loads(path: Path) -> None:
    spec = load_spec(GuardrailsSpec, path)
    assert spec.name == path.stem
