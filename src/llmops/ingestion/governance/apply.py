"""A pipeline's policy on one document, before anything of it is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.errors import DocumentRefusedError
from llmops.ingestion.governance.spec import GovernanceSpec
from llmops.pii.secrets import find_secrets
from llmops.records import Block, Document

DEFAULT_ENTITIES = (
    "CREDIT_CARD",
    "CRYPTO",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "MEDICAL_LICENSE",
    "PHONE_NUMBER",
    "UK_NHS",
    "UK_NINO",
    "US_ITIN",
    "US_SSN",
)
"""Kinds of personal data that are looked for where a policy names none: those with few false finds."""

_FEWEST_PHONE_DIGITS = 7  # presidio takes years and page numbers for pagers
_MIN_SCORE = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class Governed:
    """A document as it may be stored.

    Attributes:
        labels: what is recorded beside it and can be filtered by: `licence`, own labels, and the kinds of personal
            data (`pii`) and secrets (`secrets`) that were found.
    """

    document: Document
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    start: int
    end: int
    kind: str


def govern(document: Document, spec: GovernanceSpec) -> Governed:
    """The document as the policy lets it pass.

    Raises:
        DocumentRefusedError: the policy refuses what it holds; says the kinds and never the values.
        ConfigurationError: the policy names a kind of personal data that does not exist.
        MissingExtraError: presidio is not installed and the policy asks for it.
    """
    labels: dict[str, Any] = dict(spec.labels)
    if spec.licence:
        labels["licence"] = spec.licence
    checks = (("secrets", spec.secrets, _secrets), ("pii", spec.pii, _personal_data(spec)))
    for name, action, find in checks:
        if action == "keep":
            continue
        found = find(document.text)
        titled = find(document.title) if action == "redact" else []
        kinds = Counter(one.kind for one in (*found, *titled))
        if not kinds:
            continue
        if action == "refuse":
            shown = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
            raise DocumentRefusedError(f"holds {shown}, which governance.{name} refuses; nothing of it was stored")
        labels[name] = sorted(kinds)
        if action == "redact":
            labels[f"{name}_redacted"] = kinds.total()
            document = replace(redacted(document, found), title=_without(document.title, titled))
    return Governed(document=replace(document, metadata={**document.metadata, **labels}), labels=labels)


def found_labels(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier look found, of a document that is kept as it was then changed."""
    names = ("secrets", "secrets_redacted", "pii", "pii_redacted")
    return {name: metadata[name] for name in names if name in metadata}


def redacted(document: Document, found: Sequence[_Found]) -> Document:
    """The document with every span replaced by its kind in angle brackets; its blocks follow their text.

    A span that reaches over the border of a block is cut there: the rest of it is replaced in the next block.
    """
    parts: list[str] = []
    blocks: list[Block] = []
    length, last = 0, 0
    for block in document.blocks:
        gap = document.text[last : block.start]
        inner = [
            _Found(max(one.start, block.start) - block.start, min(one.end, block.end) - block.start, one.kind)
            for one in found
            if one.start < block.end and one.end > block.start
        ]
        text = _without(document.text[block.start : block.end], inner)
        start = length + len(gap)
        parts += [gap, text]
        length = start + len(text)
        blocks.append(replace(block, start=start, end=length))
        last = block.end
    return replace(document, text="".join(parts) + document.text[last:], blocks=tuple(blocks))


def _without(text: str, found: Sequence[_Found]) -> str:
    parts: list[str] = []
    last = 0
    for one in sorted(found, key=lambda f: (f.start, -f.end)):
        if one.start >= last:
            parts += [text[last : one.start], f"<{one.kind}>"]
            last = one.end
    return "".join(parts) + text[last:]


def _secrets(text: str) -> list[_Found]:
    return [_Found(secret.start, secret.end, secret.kind) for secret in find_secrets(text)]


def _personal_data(spec: GovernanceSpec) -> Callable[[str], list[_Found]]:
    def find(text: str) -> list[_Found]:
        from llmops.clients.presidio import open_pii_analyzer

        matches = open_pii_analyzer(spec.entities or DEFAULT_ENTITIES).find(text)
        return [
            _Found(match.start, match.end, match.entity)
            for match in matches
            if match.score >= _MIN_SCORE and _is_real(match.entity, text[match.start : match.end])
        ]

    return find


def _is_real(entity: str, text: str) -> bool:
    return entity != "PHONE_NUMBER" or sum(map(str.isdigit, text)) >= _FEWEST_PHONE_DIGITS
