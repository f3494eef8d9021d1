"""Sentences are found, and the sentences around them are handed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmops.clients.protocols import Embedder
from llmops.ingestion.chunking import chunk_document
from llmops.ingestion.chunking.spec import SentenceWindowSpec
from llmops.records import Chunk
from tests.ingestion.test_chunking import Piece, document, markdown

SENTENCES = [f"Gate number {name} opens at noon." for name in ("one", "two", "three", "four", "five", "six")]


def cut(embedder: Embedder, pieces: Sequence[Piece], **fields: Any) -> list[Chunk]:
    spec = SentenceWindowSpec(strategy="sentence_window", **fields)
    return chunk_document(document(pieces), spec, count_tokens=embedder.count_tokens, window=256)


def test_each_sentence_has_its_neighbours_as_context(embedder: Embedder) -> None:
    chunks = cut(embedder, [("paragraph", 0, " ".join(SENTENCES))], window=1)
    assert [c.text for c in chunks] == SENTENCES
    assert chunks[0].context == " ".join(SENTENCES[:2])
    assert chunks[2].handed_text == " ".join(SENTENCES[1:4])
    assert chunks[5].context == " ".join(SENTENCES[4:])


def test_a_context_never_crosses_a_heading(embedder: Embedder) -> None:
    pieces: list[Piece] = [
        ("heading", 1, "Gate"),
        ("paragraph", 0, SENTENCES[0]),
        ("paragraph", 0, SENTENCES[1]),
        ("heading", 1, "Gate"),
        ("paragraph", 0, SENTENCES[2]),
    ]
    chunks = cut(embedder, pieces)
    assert [c.handed_text for c in chunks] == [
        f"{SENTENCES[0]}\n\n{SENTENCES[1]}",
        f"{SENTENCES[0]}\n\n{SENTENCES[1]}",
        SENTENCES[2],
    ]
    assert chunks[2].context == ""
    assert chunks[2].n_context_tokens == 0
    assert [c.locator for c in chunks] == ["line 2", "line 3", "line 5"]


def test_a_context_is_bounded_and_nearest_first(embedder: Embedder) -> None:
    long = "Word " + "word " * 60
    text = " ".join([f"{long}one.", *SENTENCES[:3], f"{long}two."])
    chunks = cut(embedder, [("paragraph", 0, text)], max_tokens=80, context_tokens=80)
    middle = next(c for c in chunks if c.text == SENTENCES[1])
    assert middle.context == " ".join(SENTENCES[:3])
    assert middle.n_context_tokens <= 80


def test_several_sentences_make_one_chunk(embedder: Embedder) -> None:
    chunks = cut(embedder, [("paragraph", 0, " ".join(SENTENCES))], sentences=4, window=1)
    assert [c.text for c in chunks] == [" ".join(SENTENCES[:4]), " ".join(SENTENCES[4:])]
    assert chunks[1].context == " ".join(SENTENCES[3:])


def test_rows_of_a_table_are_its_sentences_and_code_stays_whole(embedder: Embedder) -> None:
    spec = SentenceWindowSpec(strategy="sentence_window", window=0)
    source = "# A\n\n| name | note |\n| --- | --- |\n| a | Open. Closed. |\n\n```\nx = 1. \ny = 2. \n```\n"
    chunks = chunk_document(markdown(source), spec, count_tokens=embedder.count_tokens, window=256)
    assert [c.text for c in chunks] == ["name | note", "a | Open. Closed.", "```\nx = 1.\ny = 2.\n```"]


def test_a_sentence_that_is_too_long_is_cut(embedder: Embedder) -> None:
    chunks = cut(embedder, [("paragraph", 0, "word " * 300 + "end.")], max_tokens=64, context_tokens=200)
    assert len(chunks) > 4
    assert all(c.n_tokens <= 64 and c.n_context_tokens <= 200 for c in chunks)
