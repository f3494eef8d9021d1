"""BM25 as sparse vectors: document weights here, inverse document frequency in Qdrant (its IDF modifier)."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from llmops.records import SparseVector
from llmops.tokens.terms import terms


@lru_cache(maxsize=200_000)
def _index(term: str) -> int:
    """A stable 32-bit id; two of 100,000 terms collide about once."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "big")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bm25:
    """Robertson & Zaragoza, The Probabilistic Relevance Framework (2009), eq. 3.15, without its IDF factor.

    Attributes:
        average_terms: mean number of terms of a chunk, measured once and frozen with the collection.
        k1: term frequency saturation.
        b: length normalisation in [0, 1].
    """

    average_terms: float
    k1: float = 1.2
    b: float = 0.75

    def document(self, text: str) -> SparseVector:
        """Weights of a chunk's terms; empty when it has none."""
        counts = Counter(terms(text))
        norm = self.k1 * (1 - self.b + self.b * counts.total() / self.average_terms)
        return _vector({_index(t): n * (self.k1 + 1) / (n + norm) for t, n in counts.items()})

    @staticmethod
    def query(text: str) -> SparseVector:
        """A term counts as often as the query says it (Qdrant's own encoder drops repeats)."""
        return _vector({_index(t): float(n) for t, n in Counter(terms(text)).items()})


def _vector(weights: dict[int, float]) -> SparseVector:
    indices = tuple(sorted(weights))
    return SparseVector(indices=indices, values=tuple(weights[i] for i in indices))
