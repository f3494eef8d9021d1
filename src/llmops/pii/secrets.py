"""Secrets in a text: keys and tokens of known formats, private keys, passwords in addresses and assignments.

A known format is found wherever it stands. A value that is assigned to a word such as `password` counts when it is
as irregular as a random text (Shannon entropy); placeholders, variables and words do not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

MIN_ENTROPY_BITS = 3.0
"""A character of an assigned secret carries at least so many bits; English words carry about 2.5."""

_FORMATS: dict[str, str] = {
    "AWS_ACCESS_KEY": r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    "GITHUB_TOKEN": r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{50,255})(?!\w)",
    "GITLAB_TOKEN": r"(?<!\w)glpat-[A-Za-z0-9_-]{20,64}(?!\w)",
    "SLACK_TOKEN": r"(?<!\w)xox[abeprs]-[A-Za-z0-9-]{10,250}(?!\w)",
    "SLACK_WEBHOOK": r"https://hooks\.slack\.com/services/T\w{8,12}/B\w{8,12}/\w{20,30}",
    "STRIPE_KEY": r"(?<!\w)(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{20,250}(?!\w)",
    "OPENAI_KEY": r"(?<!\w)sk-(?:proj-|svcacct-|ant-[a-z0-9]+-)?[A-Za-z0-9_-]{32,250}(?!\w)",
    "GOOGLE_API_KEY": r"(?<!\w)AIza[A-Za-z0-9_-]{35}(?!\w)",
    "NPM_TOKEN": r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)",
    "PYPI_TOKEN": r"(?<!\w)pypi-AgE[A-Za-z0-9_-]{50,250}",
    "SENDGRID_KEY": r"(?<!\w)SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(?!\w)",
    "AZURE_STORAGE_KEY": r"(?<=AccountKey=)[A-Za-z0-9+/]{86}==",
    "LLMOPS_KEY": r"(?<!\w)lk-[A-Za-z0-9_-]{43}(?!\w)",
    "JWT": r"(?<![\w-])eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,2000}(?!\w)",
    "PRIVATE_KEY": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{1,6000}?-----END [A-Z ]{0,30}PRIVATE KEY-----",
    "PASSWORD_IN_ADDRESS": r"(?<=://)[^\s:/@<>{}$]{1,100}:[^\s/@<>{}$]{4,200}(?=@[A-Za-z0-9.-])",
}
_KNOWN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _FORMATS.items()))
_ASSIGNED = re.compile(
    r"""(?i)(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|credential|_key)s?
    ["']?\ {0,3}(?:=|:|=>)\ {0,3}(?P<quote>["']?)(?P<value>[^\s"'<>{}$,;]{10,200})(?P=quote)""",
    re.VERBOSE,
)
_PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|changeme|your|dummy|sample|redacted|x{4,}|\*{3,}|\.{3,}|…|^env\b"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")  # names things far more often
_SIGNAL = re.compile(
    r"AKIA|ASIA|gh[pousr]_|github_pat|glpat-|xox|hooks\.slack|[sr]k[-_]|AIza|npm_|pypi-|SG\.|AccountKey|lk-|eyJ|"
    r"PRIVATE KEY|://[^\s/]{0,300}@|(?i:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|credential)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A secret in a text; `kind` names its format."""

    kind: str
    start: int
    end: int


def find_secrets(text: str) -> list[Secret]:
    """Secrets in order of their start, none overlapping another.

    >>> [s.kind for s in find_secrets("aws_access_key_id = AKIAIOSFODNN7EXAMPLQ")]
    ['AWS_ACCESS_KEY']
    """
    if _SIGNAL.search(text) is None:
        return []
    found = sorted([*_known(text), *_assigned(text)], key=lambda secret: (secret.start, -secret.end))
    kept: list[Secret] = []
    for secret in found:
        if not kept or secret.start >= kept[-1].end:
            kept.append(secret)
    return kept


def entropy_bits(text: str) -> float:
    """Shannon entropy of a text's own characters, in bits a character; 0 for an empty text."""
    counts = Counter(text).values()
    return -math.fsum(n / len(text) * math.log2(n / len(text)) for n in counts) if text else 0.0


def _known(text: str) -> Iterator[Secret]:
    for match in _KNOWN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "PASSWORD_IN_ADDRESS" and not _is_random(match[0].partition(":")[2]):
            continue
        yield Secret(kind=kind, start=match.start(), end=match.end())


def _assigned(text: str) -> Iterator[Secret]:
    for match in _ASSIGNED.finditer(text):
        value = match["value"]
        is_plain = not _is_code(value) and _UUID.fullmatch(value) is None
        if is_plain and _is_random(value) and entropy_bits(value) >= MIN_ENTROPY_BITS:
            yield Secret(kind="ASSIGNED_SECRET", start=match.start("value"), end=match.end("value"))


def _is_random(value: str) -> bool:
    """Letters with digits, and no word that stands for a secret."""
    is_mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return is_mixed and _PLACEHOLDER.search(value) is None


def _is_code(value: str) -> bool:
    """A call, a path, an address or a dotted name is where a secret comes from, not what it is."""
    return any(mark in value for mark in ("(", ")", "[", "]", "://", "/", "os.", "self.")) or "_" in value.strip(
        "_"
    )
