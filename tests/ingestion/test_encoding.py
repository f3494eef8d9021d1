"""Vectors that are made before they are asked for are those that would have been made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from llmops.ingestion.encoding import EncodedAhead


class Letters:
    """An encoder whose vector of a text is its length and its first letter; it remembers what it was asked."""

    dimension = 2

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.fails = False

    def embed(self, texts: Sequence[str], on_done: Callable[[int], None] = lambda _: None) -> NDArray[np.float32]:
        self.goes_on.wait(10)
        if self.fails:
            raise RuntimeError("the encoder broke")
        self.asked += texts
        on_done(len(texts))
        return np.array([[len(text), ord(text[0])] for text in texts], np.float32)


def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[len(text), ord(text[0])] for text in texts], np.float32)


@pytest.mark.parametrize("n_added", [0, 3, 128, 129, 300])
def test_texts_have_their_own_vectors_whether_they_were_added_or_not(n_added: int) -> None:
    encoder, done = Letters(), 0
    texts = [f"{chr(97 + n % 26)}{'x' * n}" for n in range(310)]
    ahead = EncodedAhead(encoder)  # type: ignore[arg-type]  # what it needs of an encoder

    def count(n: int) -> None:
        nonlocal done
        done += n

    for start in range(0, n_added, 7):
        ahead.add(texts[start : min(start + 7, n_added)])
    ahead.begin()
    wanted = [*texts[5:], *texts[:5], texts[0]]
    np.testing.assert_array_equal(ahead.embed(wanted, count), vectors(wanted))
    assert done == len(wanted)
    assert set(encoder.asked) == set(texts)
    assert all(encoder.asked.count(text) == 1 for text in texts[:n_added]), "what was added is encoded again"
    ahead.close()


def test_nothing_asked_is_nothing_encoded() -> None:
    ahead = EncodedAhead(Letters())  # type: ignore[arg-type]  # as above
    assert ahead.embed([], lambda _: None).shape == (0, 2)
    ahead.close()


def test_what_fails_ahead_fails_where_it_is_asked_for() -> None:
    encoder = Letters()
    encoder.fails = True
    ahead = EncodedAhead(encoder)  # type: ignore[arg-type]  # as above
    ahead.add(["a", "b"])
    ahead.begin()
    with pytest.raises(RuntimeError, match="the encoder broke"):
        ahead.embed(["a"], lambda _: None)
    ahead.close()


def test_what_nobody_asks_for_any_more_is_not_encoded() -> None:
    encoder = Letters()
    encoder.goes_on.clear()
    ahead = EncodedAhead(encoder)  # type: ignore[arg-type]  # as above
    for n in range(5):
        ahead.add([f"{n}-{k}" for k in range(128)])
    threading.Timer(0.2, encoder.goes_on.set).start()
    ahead.close()
    assert len(encoder.asked) <= 128
