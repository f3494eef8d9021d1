"""BM25 weights, against the formula computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.records import SparseVector
from llmops.tokens import Bm25, terms

WORDS = st.lists(st.sampled_from(["gate", "key", "route", "chunk", "ledger", "adapter"]), max_size=30)


def weight(word: str, vector: SparseVector) -> float:
    [index] = Bm25.query(word).indices
    return dict(zip(vector.indices, vector.values, strict=True))[index]


def test_document_weights_follow_the_formula() -> None:
    vector = Bm25(average_terms=4.0, k1=1.2, b=0.75).document("gate gate key")
    # length 3 of a mean of 4: norm = 1.2 * (1 - 0.75 + 0.75 * 3 / 4) = 0.975
    assert weight("gate", vector) == pytest.approx(2 * 2.2 / (2 + 0.975))
    assert weight("key", vector) == pytest.approx(1 * 2.2 / (1 + 0.975))
    assert len(vector.indices) == 2


def test_without_length_normalisation_only_the_count_matters() -> None:
    bm25 = Bm25(average_terms=10.0, k1=1.2, b=0.0)
    short, long = bm25.document("gate"), bm25.document("gate " + "key " * 50)
    assert weight("gate", short) == weight("gate", long) == pytest.approx(1.0)


def test_a_term_weighs_less_in_a_longer_chunk_and_more_when_it_is_repeated() -> None:
    bm25 = Bm25(average_terms=5.0)
    once = weight("gate", bm25.document("gate key"))
    assert (
        weight("gate", bm25.document("gate key route chunk"))
        < once
        < weight("gate", bm25.document("gate gate key"))
    )


def test_a_query_counts_what_it_repeats() -> None:
    vector = Bm25.query("gate gate Gates key")
    assert weight("gate", vector) == 3.0
    assert weight("key", vector) == 1.0


def test_texts_without_terms_are_empty_vectors() -> None:
    empty = SparseVector(indices=(), values=())
    assert Bm25(average_terms=5.0).document("the and of") == empty
    assert Bm25.query("… ?") == empty


def test_index_ids_are_the_same_in_every_release() -> None:
    """Stored vectors would mean other words if the ids ever changed."""
    assert Bm25.query("qdrant").indices == (3738887970,)


@given(WORDS)
def test_indices_are_ascending_and_unique_and_weights_lie_under_their_limit(words: list[str]) -> None:
    bm25 = Bm25(average_terms=8.0)
    vector = bm25.document(" ".join(words))
    assert list(vector.indices) == sorted(set(vector.indices))
    assert len(vector.indices) == len(set(terms(" ".join(words))))
    assert all(0 < value < bm25.k1 + 1 for value in vector.values)
    assert Bm25.query(" ".join(words)).indices == vector.indices


@given(WORDS, st.randoms(use_true_random=False))
def test_the_order_of_words_does_not_matter(words: list[str], random: object) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its random as object here
    bm25 = Bm25(average_terms=8.0)
    assert bm25.document(" ".join(words)) == bm25.document(" ".join(shuffled))
