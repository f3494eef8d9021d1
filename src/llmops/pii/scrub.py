"""Personal data and secrets out of text before it is stored: patterns, and checksums where a number has one.

This is the ledger's scrubber, not the guardrail: it favours speed and recall over explaining itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def _luhn(text: str) -> int:
    """ISO/IEC 7812-1 check digit of a card number."""
    numbers = [int(c) for c in text if c.isdigit()]
    doubled = [sum(divmod(2 * n, 10)) if i % 2 else n for i, n in enumerate(reversed(numbers))]
    return len(text) if sum(doubled) % 10 == 0 and len(set(numbers)) > 1 else 0


def _iban(text: str) -> int:
    """ISO 13616: the rearranged number modulo 97 is 1. Words in capitals may follow it: they are left off."""
    end = len(text)
    while end > 0:
        compact = text[:end].replace(" ", "")
        rearranged = compact[4:] + compact[:4]
        if 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in rearranged)) % 97 == 1:
            return end
        end = text.rfind(" ", 0, end)
    return 0


def _ip(text: str) -> int:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return 0
    groups = [group for group in text.split(":") if group]
    is_code = address.version == 6 and len(groups) < 3 and len(groups[0]) < 4  # a slice [1::2], a name a::b
    return 0 if is_code or address.is_loopback or address.is_unspecified else len(text)


def _phone(text: str) -> int:
    return len(text) if 8 <= sum(c.isdigit() for c in text) <= 15 else 0


@dataclass(frozen=True, slots=True)
class _Kind:
    """A pattern, what may not stand before it, and a check that says how much of a match counts (0 is none)."""

    not_after: str
    pattern: str
    check: Callable[[str], int] = len


# Every pattern is linear: it starts only where a run of its characters starts, or its length is bounded.
_SECRET = (
    r"(?:sk|pk|rk|lk)[-_][A-Za-z0-9_-]{16,}+|gh[pousr]_[A-Za-z0-9]{30,}+|xox[abprs]-[A-Za-z0-9-]{10,}+"
    r"|AKIA[0-9A-Z]{16}(?!\w)|(?<!-)eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]++"
)
_PEM = r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
_KINDS = {
    "SECRET": _Kind(r"\w", _SECRET),
    "PRIVATE_KEY": _Kind("", _PEM),
    "EMAIL": _Kind(r"[A-Za-z0-9._%+'-]", r"[A-Za-z0-9._%+'-]++@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}+"),
    "IBAN": _Kind(r"\w", r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", _iban),
    "CARD": _Kind(
        r"[\w.]",
        r"(?:[2-6]\d{12,18}|[2-6]\d{3}(?P<gap>[ -])\d{4}(?P=gap)\d{4}(?P=gap)\d{4}(?:(?P=gap)\d{1,3})?"
        r"|3[47]\d\d[ -]\d{6}[ -]\d{5})(?!\w|\.\d)",
        _luhn,
    ),
    "US_SSN": _Kind(r"[\w.-]", r"(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"),
    "IP": _Kind(
        r"[\w.:]", r"(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4})(?![\w.:]*\w)", _ip
    ),
    "PHONE": _Kind(
        r"[\w.+-]",
        r"(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}"
        r"|(?:\(\d{3}\)|\d{3})[ .-]\d{3}[ .-]\d{4})(?![\w-]*\d)",
        _phone,
    ),
}


def _after(kind: _Kind) -> str:
    return f"(?<!{kind.not_after})" if kind.not_after else ""


_ANY = re.compile("|".join(f"{_after(k)}(?P<{name}>{k.pattern})" for name, k in _KINDS.items()))
# Where something was just replaced, what follows it stands on its own.
_FRESH = {name: re.compile(kind.pattern) for name, kind in _KINDS.items()}
_EACH = {name: re.compile(_after(kind) + kind.pattern) for name, kind in _KINDS.items()}
_MIN_SIGNAL = re.compile(r"@|\d[\d .()-]{6}|[A-Z]{2}\d{2}|[-_][A-Za-z0-9_-]{10}|eyJ|AKIA|:[0-9A-Fa-f]{0,4}:|KEY-")


def scrub(text: str) -> str:
    """Replace what looks like personal data or a secret by its kind in angle brackets.

    Scrubbed text stays as it is when it is scrubbed again. Addresses with a port and 127.0.0.1 name a server,
    nobody; they stay.

    >>> scrub("Write to ada@example.org or call +44 20 7946 0958, card 4111 1111 1111 1111.")
    'Write to <EMAIL> or call <PHONE>, card <CARD>.'
    """
    while _MIN_SIGNAL.search(text) is not None:
        scrubbed = _pass(text)
        if scrubbed == text:
            break
        text = scrubbed  # what was replaced may have stood in the way of what came before it
    return text


def _pass(text: str) -> str:
    parts: list[str] = []
    last = position = 0
    while True:
        found = _first(text, last, _FRESH) if position == last > 0 else None
        if found is None:
            match = _ANY.search(text, position)
            if match is None:
                break
            position = match.start()
            found = _first(text, position, _EACH)
        if found is None:
            position += 1
            continue
        kind, length = found
        end = position + length
        quotes = length - len(text[position:end].lstrip("'"))  # an address may hold one, but begins with none
        parts += text[last : position + quotes], f"<{kind}>"
        last = position = end
    return "".join(parts) + text[last:]


def _first(text: str, position: int, patterns: Mapping[str, re.Pattern[str]]) -> tuple[str, int] | None:
    """The first kind that stands at this position and passes its check, with its length."""
    for name, pattern in patterns.items():
        match = pattern.match(text, position)
        if match is not None and (length := _KINDS[name].check(match[0])):
            return name, length
    return None


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
