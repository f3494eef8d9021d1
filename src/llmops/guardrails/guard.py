"""A policy brought to life: a text goes in with its stage, a verdict and what may go on come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import assert_never

from llmops.guardrails.injection import find_injections
from llmops.guardrails.spec import Check, GuardrailsSpec, InjectionCheck, PiiCheck
from llmops.records import GuardAction, GuardFinding, GuardResult, GuardStage

_STRENGTH: Mapping[GuardAction, int] = {"allow": 0, "flag": 1, "redact": 2, "block": 3}
_FEWEST_DIGITS = 5  # of a phone number: presidio takes the years 1640 to 1699 for German pagers
_KEPT_RESULTS = 4_096  # passages come again and again, and so do questions


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    kind: str
    start: int
    end: int
    score: float


class Guard:
    """The checks of one policy. Thread-safe; results are kept, so that a passage is checked once.

    Raises:
        MissingExtraError: a check needs a package that is not installed.
    """

    def __init__(self, spec: GuardrailsSpec) -> None:
        self.spec = spec
        self._stages: Mapping[GuardStage, Sequence[tuple[Check, Callable[[str], list[_Found]]]]] = {
            "input": [(check, _finder(check)) for check in spec.input],
            "context": [(check, _finder(check)) for check in spec.context],
            "output": [(check, _finder(check)) for check in spec.output],
        }
        self._check = lru_cache(_KEPT_RESULTS)(self._check_text)

    @property
    def name(self) -> str:
        return self.spec.name

    def watches(self, stage: GuardStage) -> bool:
        """Whether any check runs on this stage."""
        return bool(self._stages[stage])

    def changes(self, stage: GuardStage) -> bool:
        """Whether a check on this stage may redact or block, so that no text may leave before it."""
        return any(check.action in ("redact", "block") for check, _ in self._stages[stage])

    def check(self, stage: GuardStage, text: str, *, where: str = "") -> GuardResult:
        """Run a stage's checks on a text.

        Args:
            where: which text it is, noted on every finding.
        """
        result = self._check(stage, text)
        if not where or not result.findings:
            return result
        return replace(result, findings=tuple(replace(finding, where=where) for finding in result.findings))

    def _check_text(self, stage: GuardStage, text: str) -> GuardResult:
        findings = [
            GuardFinding(
                stage=stage,
                check=check.check,
                kind=found.kind,
                action=check.action,
                start=found.start,
                end=found.end,
                score=round(found.score, 3),
            )
            for check, find in self._stages[stage]
            for found in find(text)
            if found.score >= check.threshold
        ]
        actions: list[GuardAction] = [finding.action for finding in findings]
        action: GuardAction = max(actions, key=_STRENGTH.__getitem__) if actions else "allow"
        kept = "" if action == "block" else redact(text, findings)
        return GuardResult(action=action, text=kept, findings=tuple(findings))


def redact(text: str, findings: Sequence[GuardFinding]) -> str:
    """The text with every span that is to be redacted replaced by its kind; overlapping spans become one."""
    parts: list[str] = []
    last = 0
    for finding in sorted(findings, key=lambda f: (f.start, -f.end)):
        if finding.action != "redact" or finding.end <= last:
            continue
        if finding.start >= last:
            parts += [text[last : finding.start], f"<{finding.kind.upper()}>"]
        last = finding.end
    return "".join(parts) + text[last:]


def _finder(check: Check) -> Callable[[str], list[_Found]]:
    match check:
        case PiiCheck():
            return _pii(check.entities)
        case InjectionCheck():
            return _injections(frozenset(check.rules))
        case _:
            assert_never(check)


def _pii(entities: Sequence[str]) -> Callable[[str], list[_Found]]:
    from llmops.clients.presidio import open_pii_analyzer

    analyzer = open_pii_analyzer(entities)
    return lambda text: [
        _Found(kind=match.entity, start=match.start, end=match.end, score=match.score)
        for match in analyzer.find(text)
        if match.entity != "PHONE_NUMBER" or _n_digits(text[match.start : match.end]) >= _FEWEST_DIGITS
    ]


def _n_digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


def _injections(rules: frozenset[str]) -> Callable[[str], list[_Found]]:
    return lambda text: [
        _Found(kind=match.rule, start=match.start, end=match.end, score=match.score)
        for match in find_injections(text)
        if not rules or match.rule in rules
    ]
