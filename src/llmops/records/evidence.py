"""From an example to a release: what was measured, what it decided, and what it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Outcome = Literal["pass", "fail", "inconclusive"]
ArtifactKind = Literal["prompt", "collection", "route", "guardrails", "model", "ingestion"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A question with what is known about its right answer.

    Attributes:
        answers: acceptable answers; empty when the documents do not answer the question.
        sources: uris of the documents on which a right answer stands.
        evidence: verbatim quotes, one for each place that answers; a passage that holds one is relevant.
        tags: slices it belongs to, such as "unanswerable" or "correction".
        origin: where it comes from: "" for a file's author, "feedback:ID" for a correction.
    """

    example_id: str
    question: str
    answers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    origin: str = ""

    @property
    def is_answerable(self) -> bool:
        return bool(self.answers)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricValue:
    """A metric over some examples: the value with its 95 % interval, on `n` examples, `n_errors` left out."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    n_errors: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GateCheck:
    """One rule of a gate, decided.

    Attributes:
        rule: the rule in words, such as "recall@5 on held-out at least 0.9 (mean)".
        n_needed: examples that would decide an inconclusive rule if the value stays; None when none would.
        reason: why, in a sentence fit for a report.
    """

    rule: str
    outcome: Outcome
    measured: MetricValue | None
    n_needed: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a suite said about exactly these contents.

    Attributes:
        suite_digest: SHA-256 of suite file and datasets: a verdict of an older suite counts no more.
        contents: "kind:name" to the digest of everything that was measured together.
        run_id: the MLflow run, or "" when it could not be logged.
    """

    verdict_id: str
    suite: str
    suite_digest: str
    outcome: Outcome
    contents: Mapping[str, str]
    checks: tuple[GateCheck, ...]
    at: datetime
    actor: str
    commit: str = ""
    run_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """One change of what a name stands for; the history of an alias is the list of its releases.

    Attributes:
        target: what the alias stands for now: a prompt's digest, a collection's physical name.
        version: the registry's version number, where the kind has one.
        previous: the target before, or "".
        verdict_id: the verdict that allowed it; "" when it was forced or needs none.
    """

    release_id: str
    at: datetime
    kind: ArtifactKind
    name: str
    alias: str
    target: str
    version: int | None
    previous: str
    previous_version: int | None
    action: Literal["promote", "rollback", "alias", "ingest"]
    actor: str
    verdict_id: str = ""
    is_forced: bool = False
    reason: str = ""
