"""Scripts that do without spaces between words, and marks that belong to the letter before them."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

# Thai, Lao, Burmese and Khmer; then Han with its extensions and marks, kana and bopomofo.
_UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_HANGUL = "\uac00-\ud7a3"  # words are divided, but their endings are written on to them
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
_CUT_RUN = re.compile(f"[{_UNSPACED}{_HANGUL}]+")
_MARK_CATEGORIES = ("Mn", "Mc")
# Hebrew points, Arabic vowels, and the vowel signs of the scripts of India: `\w` does not hold them.
MARKS = "".join(chr(code) for code in range(0x0590, 0x0E00) if unicodedata.category(chr(code)) in _MARK_CATEGORIES)


def unspaced_spans(text: str) -> list[tuple[int, int]]:
    """Half-open spans of the characters whose scripts do not divide words.

    >>> unspaced_spans("GPU 图形处理器 2024")
    [(4, 9)]
    """
    return [] if text.isascii() else [match.span() for match in _UNSPACED_RUN.finditer(text)]


def cut_spans(text: str) -> list[tuple[int, int]]:
    """Half-open spans that are indexed by pairs of letters: scripts without spaces, and Hangul."""
    return [] if text.isascii() else [match.span() for match in _CUT_RUN.finditer(text)]


def letter_pairs(run: str) -> list[str]:
    """Overlapping pairs of letters, each with its marks; a lone letter is itself.

    >>> letter_pairs("处理器")
    ['处理', '理器']
    """
    letters: list[str] = []
    for character in run:
        if letters and unicodedata.category(character) in _MARK_CATEGORIES:
            letters[-1] += character
        elif character.isalnum():
            letters.append(character)
    return [one + other for one, other in pairwise(letters)] if len(letters) > 1 else letters
