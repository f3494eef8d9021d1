"""Text to index terms: lower case, split at non-letters, stop words out, English Snowball stems."""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import lru_cache

import snowballstemmer

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
# The stop words of Lucene's EnglishAnalyzer with pronouns and question words that carry no topic.
STOP_WORDS = frozenset(
    """a an and are as at be but by for from had has have he her his i if in into is it its no not of on or
    our she such that the their them then there these they this to was we were what when where which who
    will with you your how do does did can could should would""".split()
)
_stemmer = snowballstemmer.stemmer("english")
_stemmer_lock = threading.Lock()


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    with _stemmer_lock:  # the stemmer keeps its word in itself
        return str(_stemmer.stemWord(word))


def terms(text: str) -> list[str]:
    """Index terms in order, repeats kept.

    >>> terms("The runners were running: v1.2 of Qdrant's engine")
    ['runner', 'run', 'v1', '2', 'qdrant', 's', 'engin']
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    return [_stem(word) for word in _WORD.findall(folded) if word not in STOP_WORDS]
