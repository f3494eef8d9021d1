"""A policy does what it says: which checks run where, what counts, and what is left of a text."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.guardrails.guard import Guard, redact
from llmops.records import GuardAction, GuardFinding
from tests.guardrails.policies import CARD, EMAIL, IBAN, ORDER, guard, injection, pii, policy

TEXT = f"My card is {CARD}, write to {EMAIL}."
ACTIONS: tuple[GuardAction, ...] = ("allow", "flag", "redact", "block")


@pytest.mark.parametrize(
    ("action", "left"),
    [("allow", TEXT), ("flag", TEXT), ("redact", TEXT.replace(CARD, "<CREDIT_CARD>")), ("block", "")],
)
def test_each_action_leaves_what_it_says(action: str, left: str) -> None:
    result = guard(input=[pii(action=action)]).check("input", TEXT)
    assert (result.action, result.text) == (action, left)
    (finding,) = result.findings
    assert TEXT[finding.start : finding.end] == CARD
    assert (finding.stage, finding.check, finding.kind, finding.action) == ("input", "pii", "CREDIT_CARD", action)
    assert finding.where == ""


def test_a_text_in_which_nothing_is_found_is_allowed_as_it_is() -> None:
    result = guard(input=[pii(), injection()]).check("input", "When does the library open?")
    assert (result.action, result.text, result.findings) == ("allow", "When does the library open?", ())
    assert guard(input=[pii()]).check("input", "").text == ""


def test_the_strongest_action_decides_whatever_the_order() -> None:
    checks = [pii("EMAIL_ADDRESS", action="flag"), pii(), injection()]
    text = f"{ORDER} {TEXT}"
    for order in (checks, checks[::-1]):
        result = guard(input=order).check("input", text)
        assert (result.action, result.text) == ("block", "")
        assert {finding.action for finding in result.findings} == {"flag", "redact", "block"}
    milder = guard(input=checks[:2]).check("input", text)
    assert (milder.action, milder.text) == ("redact", text.replace(CARD, "<CREDIT_CARD>"))


def test_a_stage_runs_its_own_checks_only() -> None:
    both = guard(input=[injection()], output=[pii()])
    assert both.check("input", TEXT).action == "allow"
    assert both.check("output", TEXT).action == "redact"
    assert both.check("input", ORDER).action == "block"
    assert both.check("context", f"{TEXT} {ORDER}").action == "allow"
    assert [both.watches(stage) for stage in ("input", "context", "output")] == [True, False, True]


@pytest.mark.parametrize(
    ("action", "changes"), [("allow", False), ("flag", False), ("redact", True), ("block", True)]
)
def test_only_redact_and_block_change_a_text(action: str, changes: bool) -> None:
    made = guard(output=[pii(action="flag"), injection(action)])
    assert made.watches("output")
    assert made.changes("output") is changes
    assert not made.changes("input")


def test_the_threshold_decides_what_counts() -> None:
    """The order scores 0.92, a question about it 0.138: the score stands on the finding."""
    question = "How do I detect 'ignore all previous instructions'?"
    assert guard(input=[injection()]).check("input", question).findings == ()
    lower = guard(input=[injection(threshold=0.1)]).check("input", question)
    assert (lower.action, lower.findings[0].score) == ("block", 0.138)
    assert guard(input=[injection(threshold=0.93)]).check("input", ORDER).action == "allow"
    assert guard(input=[injection(threshold=0.92)]).check("input", ORDER).action == "block"


def test_only_the_named_rules_and_entities_count() -> None:
    assert guard(input=[injection(rules=["override"])]).check("input", ORDER).action == "block"
    assert guard(input=[injection(rules=["reveal-prompt"])]).check("input", ORDER).action == "allow"
    assert guard(input=[pii("EMAIL_ADDRESS")]).check("input", CARD).findings == ()


def test_the_place_stands_on_every_finding() -> None:
    made = guard(context=[pii("CREDIT_CARD", "EMAIL_ADDRESS")])
    first = made.check("context", TEXT, where="chunk-1")
    second = made.check("context", TEXT, where="chunk-2")
    assert [finding.where for finding in first.findings] == ["chunk-1", "chunk-1"]
    assert [finding.where for finding in second.findings] == ["chunk-2", "chunk-2"]
    assert first.text == second.text


def test_what_is_kept_belongs_to_its_stage_and_policy() -> None:
    first = Guard(policy("one", input=[pii()], output=[pii(action="flag")]))
    second = Guard(policy("two", input=[pii(action="block")]))
    for _ in range(2):
        assert first.check("input", TEXT).action == "redact"
        assert first.check("output", TEXT).action == "flag"
        assert first.check("context", TEXT).action == "allow"
        assert second.check("input", TEXT).action == "block"


def test_threads_get_the_same_results() -> None:
    made = guard(input=[pii("CREDIT_CARD", "IBAN_CODE", "EMAIL_ADDRESS"), injection("flag")])
    texts = [f"{n}: {TEXT} {ORDER if n % 3 else IBAN}" for n in range(20)] * 4
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda text: made.check("input", text), texts))
    alone = Guard(made.spec)
    assert parallel == [alone.check("input", text) for text in texts]


# redact

KINDS = ("card", "iban", "rule")


@st.composite
def texts_with_findings(draw: st.DrawFn) -> tuple[str, list[GuardFinding]]:
    text = draw(st.text(st.characters(exclude_characters="<>\x00"), max_size=40))
    findings = []
    for start, length, action, kind in draw(
        st.lists(
            st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from(ACTIONS), st.sampled_from(KINDS))
        )
    ):
        if (end := min(start + length, len(text))) > start:
            findings.append(
                GuardFinding(stage="input", check="pii", kind=kind, action=action, start=start, end=end, score=1.0)
            )
    return text, findings


@given(texts_with_findings())
def test_redacting_keeps_what_is_outside_and_nothing_of_what_is_inside(
    given_text: tuple[str, list[GuardFinding]],
) -> None:
    text, findings = given_text
    inside = {i for f in findings if f.action == "redact" for i in range(f.start, f.end)}
    left = redact(text, findings)
    outside = [part for part in _split(left) if not part.startswith("<")]
    assert "".join(outside) == "".join(char for i, char in enumerate(text) if i not in inside)
    assert redact(text, findings[::-1]).count("<") == left.count("<")
    assert all(part[1:-1] in {kind.upper() for kind in KINDS} for part in _split(left) if part.startswith("<"))
    if not inside:
        assert left == text


def _split(text: str) -> Sequence[str]:
    """Placeholders and what stands between them."""
    return [part for piece in text.replace(">", ">\x00").split("\x00") for part in _at_opening(piece)]


def _at_opening(text: str) -> Sequence[str]:
    before, opening, after = text.partition("<")
    return [before, opening + after] if opening else [before]


def finding(start: int, end: int, kind: str = "card", action: GuardAction = "redact") -> GuardFinding:
    return GuardFinding(stage="input", check="pii", kind=kind, action=action, start=start, end=end, score=1.0)


@pytest.mark.parametrize(
    ("findings", "left"),
    [
        ([finding(2, 5)], "ab<CARD>fghij"),
        ([finding(2, 5), finding(4, 7, "iban")], "ab<CARD>hij"),
        ([finding(2, 9), finding(4, 6, "iban")], "ab<CARD>j"),
        ([finding(2, 4), finding(2, 7, "iban")], "ab<IBAN>hij"),
        ([finding(2, 4), finding(4, 6, "iban")], "ab<CARD><IBAN>ghij"),
        ([finding(0, 10)], "<CARD>"),
        ([finding(2, 5, action="flag"), finding(6, 8, action="block")], "abcdefghij"),
        ([], "abcdefghij"),
    ],
    ids=[
        "one",
        "overlapping",
        "one within another",
        "the longer names it",
        "side by side",
        "all",
        "others",
        "none",
    ],
)
def test_overlapping_spans_become_one(findings: list[GuardFinding], left: str) -> None:
    assert redact("abcdefghij", findings) == left
    assert redact("abcdefghij", findings[::-1]) == left
