"""A reranker without a model: which of the question's words a passage and its headings hold, and how near."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from llmops.records import Chunk
from llmops.tokens import terms

_COVERAGE, _NEARNESS, _HEADINGS = 0.6, 0.2, 0.2
"""Shares of the three parts; they add up to 1."""


class LexicalReranker:
    """Deterministic, and explainable from the words alone.

    A term of the question weighs its inverse document frequency among the passages that are compared (the formula
    of BM25, never negative), so that a word which all of them hold decides nothing. The score is

    - 0.6 times the weighed share of the question's terms that heading or text hold,
    - 0.2 times how near they stand: terms in the text, over the words of the shortest stretch that holds them
      all (the minimal cover of Tao & Zhai, An Exploration of Proximity Measures, SIGIR 2007); a single one
      counts nothing,
    - 0.2 times the weighed share that the headings hold.

    It lies in [0, 1], and is 0 for a question without terms.
    """

    name = "lexical"

    def score(self, query: str, chunks: Sequence[Chunk]) -> list[float]:
        """One number in [0, 1] a chunk, in the order given."""
        asked = frozenset(terms(query))
        texts = [terms(chunk.text) for chunk in chunks]
        headings = [frozenset(terms(" ".join([chunk.title, *chunk.heading_path]))) & asked for chunk in chunks]
        held = [asked & (set(text) | heading) for text, heading in zip(texts, headings, strict=True)]
        weights = _weights(asked, held)
        total = math.fsum(weights.values())
        if total == 0:
            return [0.0] * len(chunks)
        return [
            _COVERAGE * _share(found, weights, total)
            + _NEARNESS * nearness(text, asked)
            + _HEADINGS * _share(heading, weights, total)
            for text, heading, found in zip(texts, headings, held, strict=True)
        ]


def nearness(text: Sequence[str], asked: frozenset[str]) -> float:
    """Distinct asked terms of a text over the words of the shortest stretch with all of them, in [0, 1]."""
    wanted = len(asked & set(text))
    if wanted < 2:
        return 0.0
    inside: Counter[str] = Counter()
    shortest, start = len(text), 0
    for end, term in enumerate(text):
        if term not in asked:
            continue
        inside[term] += 1
        while len(inside) == wanted:
            shortest = min(shortest, end - start + 1)
            first = text[start]
            if first in inside:
                inside[first] -= 1
                if not inside[first]:
                    del inside[first]
            start += 1
    return wanted / shortest


def _weights(asked: frozenset[str], held: Sequence[frozenset[str]]) -> Mapping[str, float]:
    n = len(held)
    counts = Counter(term for found in held for term in found)
    return {term: math.log(1 + (n - counts[term] + 0.5) / (counts[term] + 0.5)) for term in sorted(asked)}


def _share(found: frozenset[str], weights: Mapping[str, float], total: float) -> float:
    return math.fsum(weights[term] for term in found) / total
