"""Windows of one size, whatever the structure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from llmops.clients.protocols import Embedder
from llmops.ingestion.chunking import chunk_document
from llmops.ingestion.chunking.spec import FixedSpec
from llmops.ingestion.chunking.windows import gaps
from llmops.records import Chunk
from tests.ingestion.test_chunking import Piece, document

WORDS = " ".join(["gate", "opens", "at", "noon", "with", "every", "rule"] * 40)


def cut(embedder: Embedder, pieces: Sequence[Piece], max_tokens: int, overlap_tokens: int) -> list[Chunk]:
    spec = FixedSpec(strategy="fixed", max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    return chunk_document(document(pieces, ""), spec, count_tokens=embedder.count_tokens, window=256)


def test_windows_are_full_and_share_the_overlap(embedder: Embedder) -> None:
    chunks = cut(embedder, [("paragraph", 0, WORDS)], max_tokens=52, overlap_tokens=10)
    assert [c.n_tokens for c in chunks[:-1]] == [52] * (len(chunks) - 1)
    shared = [WORDS[other.start : one.end].split() for one, other in itertools.pairwise(chunks)]
    assert [len(words) for words in shared] == [10] * (len(chunks) - 1)
    assert (chunks[0].start, chunks[-1].end) == (0, len(WORDS))


def test_without_overlap_windows_are_disjoint(embedder: Embedder) -> None:
    chunks = cut(embedder, [("paragraph", 0, WORDS)], max_tokens=52, overlap_tokens=0)
    assert " ".join(c.text for c in chunks) == WORDS


def test_headings_stand_in_the_text_and_above_the_windows_after_them(embedder: Embedder) -> None:
    pieces: list[Piece] = [("heading", 1, "Gate"), ("paragraph", 0, WORDS), ("heading", 2, "Rules")]
    chunks = cut(embedder, [*pieces, ("paragraph", 0, WORDS)], max_tokens=64, overlap_tokens=0)
    assert (chunks[0].heading_path, chunks[0].text[:10]) == ((), "Gate\n\ngate")
    assert chunks[1].heading_path == ("Gate",)
    assert chunks[-1].heading_path == ("Gate", "Rules")
    crossing = next(c for c in chunks if "Rules" in c.text)
    assert crossing.locator == "lines 2-4"
    assert crossing.heading_path == ("Gate",)


def test_gaps_are_what_no_span_covers() -> None:
    text = "one two  three"
    assert gaps([(0, 3), (4, 7), (2, 5)], text) == [(7, 14)]
    assert gaps([(4, 14)], text) == [(0, 4)]
    assert gaps([(0, 3), (3, 7), (9, 14)], text) == []
