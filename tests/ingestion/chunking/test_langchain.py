"""LangChain's splitters cut, and what they cut is found again in the document."""

from __future__ import annotations

import itertools
import sys
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.clients.protocols import Embedder
from llmops.errors import ConfigurationError, DocumentError, MissingExtraError
from llmops.ingestion.chunking import chunk_document
from llmops.ingestion.chunking.langchain import located
from llmops.ingestion.chunking.spec import LangchainSpec, Splitter
from llmops.records import Chunk
from tests.ingestion.test_chunking import Piece, document

PROSE = " ".join(f"Sentence {n} says that the gate is closed." for n in range(60))
PIECES: list[Piece] = [
    ("heading", 1, "Gate"),
    ("paragraph", 0, PROSE),
    ("heading", 2, "Code"),
    ("code", 0, "```\ndef f():\n    return 1\n\nclass A:\n    x = 1\n```"),
]


def cut(embedder: Embedder, pieces: list[Piece], **fields: Any) -> list[Chunk]:
    spec = LangchainSpec(strategy="langchain", **fields)
    return chunk_document(document(pieces), spec, count_tokens=embedder.count_tokens, window=256)


@pytest.mark.parametrize("splitter", get_args(Splitter))
def test_every_splitter_of_the_list_cuts_and_keeps_the_text(embedder: Embedder, splitter: Splitter) -> None:
    chunks = cut(embedder, PIECES, splitter=splitter, max_tokens=100)
    assert "".join("".join(c.text.split()) for c in chunks) == "".join("".join(p[2].split()) for p in PIECES)
    assert all(c.n_tokens <= 100 for c in chunks)
    assert chunks[-1].heading_path[:2] == ("Handbook", "Gate")


def test_pieces_are_those_of_the_splitter(embedder: Embedder) -> None:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    parameters = {"chunk_size": 300, "chunk_overlap": 60}
    chunks = cut(embedder, PIECES, unit="characters", parameters=parameters)
    expected = RecursiveCharacterTextSplitter(chunk_size=300, chunk_overlap=60).split_text(document(PIECES).text)
    assert [c.text for c in chunks] == expected
    assert any(one.end > other.start for one, other in itertools.pairwise(chunks))


def test_sizes_are_the_encoders_word_pieces(embedder: Embedder) -> None:
    chunks = cut(embedder, [("paragraph", 0, PROSE)], parameters={"chunk_size": 40})
    assert 35 < max(embedder.count_tokens([c.text for c in chunks])) <= 42


def test_a_piece_too_large_for_the_encoder_is_cut(embedder: Embedder) -> None:
    chunks = cut(embedder, [("paragraph", 0, PROSE)], unit="characters", parameters={"chunk_size": 100_000})
    assert len(chunks) > 2
    assert all(c.n_tokens <= 200 for c in chunks)


def test_a_language_has_separators_of_its_own(embedder: Embedder) -> None:
    chunks = cut(embedder, PIECES[3:], language="python", parameters={"chunk_size": 16})
    assert any(c.text.startswith("class A:") for c in chunks)


def test_a_dropped_separator_stays_with_the_piece_before_it(embedder: Embedder) -> None:
    fields: dict[str, Any] = {"splitter": "CharacterTextSplitter", "unit": "characters"}
    parameters = {"separator": "END", "chunk_size": 12, "chunk_overlap": 0}
    chunks = cut(embedder, [("paragraph", 0, "END one two END three four END")], parameters=parameters, **fields)
    assert [c.text for c in chunks] == ["END", "one two END", "three four END"]


def test_a_splitter_that_changes_the_text_is_refused(embedder: Embedder) -> None:
    parameters = {"separator": r"\s+", "is_separator_regex": True, "chunk_size": 60, "chunk_overlap": 0}
    with pytest.raises(DocumentError, match=r"CharacterTextSplitter .* changes the text of 'guide/handbook.md'"):
        cut(embedder, PIECES, splitter="CharacterTextSplitter", unit="characters", parameters=parameters)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"parameters": {"chunk_sise": 3}}, "refuses chunk.parameters {'chunk_sise': 3}"),
        ({"parameters": {"chunk_size": 10, "chunk_overlap": 20}}, "larger chunk overlap"),
        ({"language": "klingon"}, "'klingon' is not a valid Language"),
        ({"parameters": {"separators": ["("], "is_separator_regex": True}}, "see LangChain's reference"),
    ],
)
def test_wrong_parameters_are_the_users_to_mend(embedder: Embedder, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        cut(embedder, PIECES, **fields)


def test_a_missing_package_says_what_to_install(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_text_splitters", None)
    with pytest.raises(
        MissingExtraError, match=r"'langchain-text-splitters' is not installed.*llmops\[langchain\]"
    ):
        cut(embedder, PIECES)


@settings(deadline=None, max_examples=200)
@given(text=st.text("ab \n", max_size=60), size=st.integers(1, 12), overlap=st.integers(0, 11))
def test_pieces_of_repeated_text_are_located(text: str, size: int, overlap: int) -> None:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=min(size, overlap))
    pieces = splitter.split_text(text)
    spans = located(pieces, text)
    assert spans is not None
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(text[i].isspace() for i in range(len(text)) if i not in covered)
