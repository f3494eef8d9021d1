"""Passages searched by our own sparse vectors with Qdrant's inverse document frequency."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from llmops.tokens import Bm25, terms


class WordIndex:
    """What the sparse search of a collection of these passages finds."""

    def __init__(self, passages: Mapping[str, str]) -> None:
        average = sum(len(terms(text)) for text in passages.values()) / len(passages)
        self.n = len(passages)
        self.postings: dict[int, list[tuple[str, float]]] = defaultdict(list)
        for name, text in passages.items():
            vector = Bm25(average_terms=average).document(text)
            for term, value in zip(vector.indices, vector.values, strict=True):
                self.postings[term].append((name, value))

    def ranked(self, question: str) -> list[str]:
        scores: dict[str, float] = defaultdict(float)
        query = Bm25.query(question)
        for term, weight in zip(query.indices, query.values, strict=True):
            holders = self.postings.get(term, [])
            rarity = math.log(1 + (self.n - len(holders) + 0.5) / (len(holders) + 0.5))
            for name, value in holders:
                scores[name] += weight * value * rarity
        return [name for name, _ in sorted(scores.items(), key=lambda item: (-item[1], item[0]))]
