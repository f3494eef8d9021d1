"""Text as rules read it: lower case, without disguises, and with the way back to the original's positions."""

from __future__ import annotations

import re
import unicodedata
from array import array
from dataclasses import dataclass
from functools import lru_cache

TAG_CHARACTERS = range(0xE0020, 0xE007F)
"""Unicode's tag characters: a copy of ASCII that no screen shows."""
_PLAIN = re.compile(r"[\t\n\r -~]*+")
_WORD = re.compile(r"\w++")
_HAS_LATIN = re.compile(r"[a-z]")
_QUOTES = dict.fromkeys("‘’‚‛", "'") | dict.fromkeys("“”„‟«»", '"')
# Letters drawn like a Latin one; they are read as Latin only in a word that has Latin letters too.
_LOOKALIKES = str.maketrans("аеѕіјӏорсухһԁԛԝкмтнвαεικνορτυχωη", "aesijlopcyxhdqwkmthbaeikvoptuxwn")


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldedText:
    """A text for matching, and where each of its characters came from.

    Attributes:
        offsets: position in the original, one a character; None where both are the same.
    """

    text: str
    offsets: array[int] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The half-open span of the original that a span of at least one character came from."""
        if self.offsets is None:
            return start, end
        return self.offsets[start], self.offsets[end - 1] + 1


def fold(text: str) -> FoldedText:
    """Compatibility forms, accents, capitals, invisible characters and look-alike letters folded away.

    Unicode NFKD (UAX #15) without combining marks, then lower case: accents go too, so that rules for other
    languages need no variants. Hangul syllables stay whole. Tag characters become the ASCII they hide.
    Linear in the length of the text.

    >>> fold("Ｉｇｎо\u200bré").text
    'ignore'
    """
    if _PLAIN.fullmatch(text):
        return FoldedText(text=text.lower(), offsets=None)
    parts = [_folded(character) for character in text]
    offsets = array("q", (i for i, part in enumerate(parts) for _ in part))
    return FoldedText(text=_WORD.sub(_latin, "".join(parts)), offsets=offsets)


@lru_cache(maxsize=8_192)
def _folded(character: str) -> str:
    if character in _QUOTES:
        return _QUOTES[character]
    if ord(character) in TAG_CHARACTERS:
        return chr(ord(character) - 0xE0000).lower()
    if "가" <= character <= "힣":
        return character
    if character.isspace():
        return character if character in "\n\t\r" else " "
    decomposed = unicodedata.normalize("NFKD", character).lower()
    return "".join(c for c in decomposed if unicodedata.category(c) not in ("Mn", "Me", "Cf", "Cc"))


def _latin(word: re.Match[str]) -> str:
    found = word[0]
    return found.translate(_LOOKALIKES) if not found.isascii() and _HAS_LATIN.search(found) else found
