"""Hits into the context: best first, within a token budget."""

from __future__ import annotations

from collections.abc import Sequence

from llmops.records import Hit, Passage


def pack(hits: Sequence[Hit], *, budget_tokens: int) -> tuple[Passage, ...]:
    """Passages numbered from 1 in rank order; a hit that does not fit is left out and smaller ones may follow.

    The best hit is always in, so that a small budget never makes an answer from nothing.
    """
    packed: list[Passage] = []
    left = budget_tokens
    for hit in hits:
        if hit.chunk.n_tokens <= left or not packed:
            packed.append(Passage(number=len(packed) + 1, hit=hit))
            left -= hit.chunk.n_tokens
    return tuple(packed)
