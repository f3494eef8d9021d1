"""Text to index terms: lower case, split at non-letters, stop words out, Snowball stems.

Words in Latin letters are stemmed as English and lose English stop words. Other alphabets have one stemmer each,
told by the script. Where words are not divided by spaces (Chinese, Japanese, Thai, Lao, Burmese, Khmer), and in
Korean, terms are overlapping pairs of letters, as in Lucene's CJKAnalyzer: no dictionary decides what a word is.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import lru_cache

import snowballstemmer

from llmops.tokens.scripts import MARKS, cut_spans, letter_pairs

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_MARKED_WORD = re.compile(f"[^\\W_]+(?:[{re.escape(MARKS)}]+[^\\W_]*)*", re.UNICODE)
# The stop words of Lucene's EnglishAnalyzer with pronouns and question words that carry no topic.
STOP_WORDS = frozenset(
    """a an and are as at be but by for from had has have he her his i if in into is it its no not of on or
    our she such that the their them then there these they this to was we were what when where which who
    will with you your how do does did can could should would""".split()
)
_stemmer = snowballstemmer.stemmer("english")
_of_script = {
    script: snowballstemmer.stemmer(algorithm)
    for script, algorithm in (
        ("ARABIC", "arabic"),
        ("ARMENIAN", "armenian"),
        ("CYRILLIC", "russian"),
        ("DEVANAGARI", "hindi"),
        ("GREEK", "greek"),
        ("TAMIL", "tamil"),
    )
}
_LAST_LATIN = "\u024f"
_FIRST_MARKED = "\u0590"  # Latin, Greek, Cyrillic and Armenian stand before it
_stemmer_lock = threading.Lock()


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    stemmer = _stemmer
    if min(word) > _LAST_LATIN:  # "βars" and "IL6α" are words of English texts
        stemmer = _of_script.get(unicodedata.name(word[-1], "").partition(" ")[0], _stemmer)
    with _stemmer_lock:  # the stemmer keeps its word in itself
        return str(stemmer.stemWord(word)) or word


def terms(text: str) -> list[str]:
    """Index terms in order, repeats kept.

    >>> terms("The runners were running: v1.2 of Qdrant's engine")
    ['runner', 'run', 'v1', '2', 'qdrant', 's', 'engin']
    >>> terms("GPU图形处理器")
    ['gpu', '图形', '形处', '处理', '理器']
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    if folded.isascii() or max(folded) < _FIRST_MARKED:
        return _words(folded, _WORD)
    found: list[str] = []
    end = 0
    for start, stop in cut_spans(folded):
        found += _words(folded[end:start], _MARKED_WORD)
        found += letter_pairs(folded[start:stop])
        end = stop
    return found + _words(folded[end:], _MARKED_WORD)


def _words(text: str, pattern: re.Pattern[str]) -> list[str]:
    return [_stem(word) for word in pattern.findall(text) if word not in STOP_WORDS]
