"""Personal data and secrets out of text before it is stored: patterns, and checksums where a number has one.

This is the ledger's scrubber, not the guardrail: it favours speed and recall over explaining itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 check digit of a card number."""
    numbers = [int(c) for c in digits if c.isdigit()]
    if not 13 <= len(numbers) <= 19 or len(set(numbers)) == 1:
        return False
    doubled = [sum(divmod(2 * n, 10)) if i % 2 else n for i, n in enumerate(reversed(numbers))]
    return sum(doubled) % 10 == 0


def _iban(text: str) -> bool:
    """ISO 13616: the rearranged number modulo 97 is 1."""
    compact = re.sub(r"\s", "", text).upper()
    rearranged = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in rearranged)) % 97 == 1


def _ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _phone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


def _always(_: str) -> bool:
    return True


_SECRET = (
    r"\b(?:sk|pk|rk|lk)[-_][A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_KINDS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "SECRET": (_SECRET, _always),
    "EMAIL": (r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", _always),
    "IBAN": (r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b", _iban),
    "CARD": (r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]\d)", _luhn),
    "US_SSN": (r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b", _always),
    "IP": (r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4})(?![\w.:]*\w)", _ip),
    "PHONE": (
        r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}"
        r"|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})(?![\w-]*\d)",
        _phone,
    ),
}
_ANY = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, (pattern, _) in _KINDS.items()))
_MIN_SIGNAL = re.compile(r"@|\d[\d .()-]{6}|[A-Z]{2}\d{2}|[-_][A-Za-z0-9_-]{10}|eyJ|AKIA|:[0-9A-Fa-f]{0,4}:|KEY-")


def scrub(text: str) -> str:
    """Replace what looks like personal data or a secret by its kind in angle brackets.

    >>> scrub("Write to ada@example.org or call +44 20 7946 0958, card 4111 1111 1111 1111.")
    'Write to <EMAIL> or call <PHONE>, card <CARD>.'
    """
    if _MIN_SIGNAL.search(text) is None:
        return text

    def replace(match: re.Match[str]) -> str:
        kind = str(match.lastgroup)
        return f"<{kind}>" if _KINDS[kind][1](match[0]) else match[0]

    return _ANY.sub(replace, text)


def scrub_value(value: Any) -> Any:
    """`scrub` applied to every string in a JSON value."""
    match value:
        case str():
            return scrub(value)
        case Mapping():
            return {key: scrub_value(item) for key, item in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray):
            return [scrub_value(item) for item in value]
        case _:
            return value
