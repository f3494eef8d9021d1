"""A pipeline's policy on one document, before anything of it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.ingestion.governance.spec import GovernanceSpec
from llmops.records import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class Governed:
    """A document as it may be stored, and what is recorded beside it."""

    document: Document
    labels: Mapping[str, Any] = field(default_factory=dict)


def govern(document: Document, spec: GovernanceSpec) -> Governed:
    """The document as the policy lets it pass.

    Raises:
        DocumentRefusedError: the policy refuses it.
    """
    labels: dict[str, Any] = dict(spec.labels)
    if spec.licence:
        labels["licence"] = spec.licence
    return Governed(document=replace(document, metadata={**document.metadata, **labels}), labels=labels)
