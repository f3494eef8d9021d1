"""Attacks in disguise: letters as digits, letters spelled out, characters no one sees, encoded text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

Span = tuple[int, int]

_LEET = str.maketrans("0134578@$!", "oieastbasi")
_SPELLED = re.compile(r"(?<![^\W_])[a-z](?:[\s.\-_*·•|/+,]{1,3}+[a-z](?![^\W_])){6,}+")
_SPELLED_ATTACK = re.compile(
    r"(?:ignore|disregard|forget|override|bypass)(?:all|any|the|your|my|of|these|those){0,4}(?:previous|prior"
    r"|above|earlier|system|safety)?(?:instruction|prompt|rule|guideline|direction|command|everything)|(?:reveal"
    r"|show|print|repeat|tell)(?:me|the|your|us){0,3}(?:system|hidden|initial|full)?(?:prompt|instruction)"
    r"|systemprompt|jailbreak|doanythingnow|developermode"
)
# Tag characters, and variation selectors in a row: each of either can carry a byte. A flag has at most seven.
_HIDDEN = re.compile("[\U000e0020-\U000e007e]{8,}+|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{8,}+")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,}+")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[ :]?){16,}+")
_LONGEST_ENCODED = 4_096


def undigited(folded: str) -> str:
    """The text with digits and signs that stand for letters read as letters, of the same length.

    >>> undigited("1gn0r3 pr3v10us")
    'ignore previous'
    """
    return folded.translate(_LEET)


def spelled_out(folded: str) -> Iterator[Span]:
    """Where an order is spelled letter by letter: "i g n o r e  t h e  r u l e s"."""
    for run in _SPELLED.finditer(folded):
        letters = [i for i in range(run.start(), run.end()) if folded[i].isalpha()]
        for match in _SPELLED_ATTACK.finditer("".join(folded[i] for i in letters)):
            yield letters[match.start()], letters[match.end() - 1] + 1


def hidden(text: str) -> Iterator[Span]:
    """Runs of characters that no screen shows and that carry text all the same."""
    if not text.isascii():
        yield from (match.span() for match in _HIDDEN.finditer(text))


def encoded(text: str) -> Iterator[tuple[Span, str]]:
    """Runs of base64 or hexadecimal that decode to ASCII, with what they say."""
    for match in _BASE64.finditer(text):
        run = match[0][:_LONGEST_ENCODED]
        said = _ascii(base64.b64decode(run[: len(run) // 4 * 4]))
        if said:
            yield match.span(), said
    for match in _HEX.finditer(text):
        digits = match[0][: 3 * _LONGEST_ENCODED].replace(" ", "").replace(":", "")
        said = _ascii(bytes.fromhex(digits[: len(digits) // 2 * 2]))
        if said:
            yield match.span(), said


def _ascii(raw: bytes) -> str:
    try:
        said = raw.decode("ascii")
    except UnicodeDecodeError:
        return ""
    return said if said.isprintable() or "\n" in said else ""
