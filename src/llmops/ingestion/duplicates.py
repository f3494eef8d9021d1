"""Near-duplicates by MinHash: documents that share most of their runs of five words.

A signature holds the smallest value of each of 128 hash functions over a text's runs. The share of equal values
estimates the Jaccard similarity of two sets of runs, with a standard error of at most 0.045 (A. Broder, On the
resemblance and containment of documents, 1997).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_PERMUTATIONS = 128
RUN_WORDS = 5
_N_BYTES = 4 * N_PERMUTATIONS
_BLOCK = 1024  # runs at a time: 128 of them in 64 bits stay in the cache
# A character of a script without blanks between words is a word.
_SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_SCRIPTS}]|[^\W{_SCRIPTS}]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A document as it is compared.

    Attributes:
        group: only documents of one group are compared: the same tenant and the same readers.
        signature: of `signature()`.
    """

    key: str
    uri: str
    group: str
    signature: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """What a document says the same as: the key of the one that stays, and their similarity in [0, 1]."""

    of: str
    similarity: float


def signature(text: str) -> bytes:
    """MinHash of a text's runs of five words: 512 bytes, the same in every process and on every machine.

    Case, punctuation and white space do not count. A text of fewer words is one run; one without any word is like
    no other text but the same.
    """
    runs = _runs(text)
    smallest = np.full(N_PERMUTATIONS, np.iinfo(np.uint64).max, np.uint64)
    for first in range(0, len(runs), _BLOCK):
        values = np.multiply.outer(_FACTORS, runs[first : first + _BLOCK])
        values += _TERMS[:, None]
        np.minimum(smallest, values.min(axis=1), out=smallest)
    return (smallest >> np.uint64(32)).astype("<u4").tobytes()


def similarity(a: bytes, b: bytes) -> float:
    """The estimated Jaccard similarity of two texts, in [0, 1], from their signatures."""
    one, other = _matrix([a, b])
    return float(np.count_nonzero(one == other)) / N_PERMUTATIONS


def assign(items: Iterable[Candidate], threshold: float) -> dict[str, Duplicate]:
    """Documents to leave out, by key, each with the document that stays for it.

    In the order of their uri, a document is left out when one that stays, in the same group, is at least this
    alike; the first such document is named. The outcome depends on the items alone, not on their order.

    Args:
        threshold: estimated Jaccard similarity in (0, 1].

    Raises:
        ValueError: the threshold is not in (0, 1], or a signature is none.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold {threshold!r} must be above 0 and at most 1")
    groups: defaultdict[str, list[Candidate]] = defaultdict(list)
    for item in items:
        groups[item.group].append(item)
    found: dict[str, Duplicate] = {}
    for members in groups.values():
        members.sort(key=lambda item: (item.uri, item.key))
        for index, (kept, n_equal) in _alike(_matrix([m.signature for m in members]), threshold).items():
            found[members[index].key] = Duplicate(of=members[kept].key, similarity=n_equal / N_PERMUTATIONS)
    return found


def _alike(signatures: NDArray[np.uint32], threshold: float) -> dict[int, tuple[int, int]]:
    """For each row left out: the row that stays for it, and how many of their values are equal."""
    n_needed = max(1, math.ceil(threshold * N_PERMUTATIONS - 1e-9))
    buckets_of = _buckets(signatures, n_bands=N_PERMUTATIONS - n_needed + 1)
    kept = _Kept(signatures)
    kept_in: defaultdict[int, list[int]] = defaultdict(list)
    found: dict[int, tuple[int, int]] = {}
    for index, buckets in buckets_of.items():
        if sum(len(kept_in[bucket]) for bucket in buckets) > len(kept.rows):
            near = kept.maybe_alike(index, n_needed)
        else:
            near = sorted({row for bucket in buckets for row in kept_in[bucket]})
        n_equal = np.count_nonzero(signatures[near] == signatures[index], axis=1)
        enough = np.flatnonzero(n_equal >= n_needed)
        if enough.size:
            found[index] = (near[enough[0]], int(n_equal[enough[0]]))
            continue
        kept.add(index)
        for bucket in buckets:
            kept_in[bucket].append(index)
    return found


class _Kept:
    """The rows that stay, held by the lowest byte of each value: four times faster to compare than the values."""

    def __init__(self, signatures: NDArray[np.uint32]) -> None:
        self._bytes = np.ascontiguousarray(signatures.T.astype(np.uint8))
        self._low = np.empty_like(self._bytes)
        self.rows: list[int] = []

    def add(self, index: int) -> None:
        self._low[:, len(self.rows)] = self._bytes[:, index]
        self.rows.append(index)

    def maybe_alike(self, index: int, n_needed: int) -> list[int]:
        """Every row with so many equal values, and a few with fewer, in order."""
        equal = self._low[:, : len(self.rows)] == self._bytes[:, index, None]
        n_equal = np.add.reduce(equal, axis=0, dtype=np.uint8)
        return [self.rows[at] for at in np.flatnonzero(n_equal >= n_needed)]


def _buckets(signatures: NDArray[np.uint32], n_bands: int) -> dict[int, list[int]]:
    """For each row that shares the values of a whole band with another row, in order: the buckets it is in.

    Two rows that differ in fewer values than there are bands agree in one whole band, wherever they differ: no
    pair over the threshold is missed.
    """
    edges = np.linspace(0, N_PERMUTATIONS, n_bands + 1).astype(int)
    shared: defaultdict[int, list[int]] = defaultdict(list)
    n_buckets = 0
    for first, last in pairwise(edges):
        hashed = _combined(signatures[:, first:last].astype(np.uint64).T)
        _, inverse, counts = np.unique(hashed, return_inverse=True, return_counts=True)
        for row in np.flatnonzero(counts[inverse] > 1):
            shared[int(row)].append(n_buckets + int(inverse[row]))
        n_buckets += len(counts)
    return dict(sorted(shared.items()))


def _runs(text: str) -> NDArray[np.uint64]:
    """Hashes of the different runs of words, ascending."""
    words = _WORD.findall(text.casefold()) or [text.strip()]
    hashed = np.fromiter(map(_number, words), np.uint64, len(words))
    n_runs = max(1, len(words) - RUN_WORDS + 1)
    length = min(len(words), RUN_WORDS)
    return np.unique(_combined([hashed[first : first + n_runs] for first in range(length)]))


@lru_cache(maxsize=1 << 16)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _combined(columns: Sequence[NDArray[np.uint64]] | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One well mixed 64-bit number for each row of the columns."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed = _scattered(mixed ^ column)
    return mixed


def _scattered(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014) after one step of its sequence."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _matrix(signatures: Sequence[bytes]) -> NDArray[np.uint32]:
    wrong = [len(each) for each in signatures if len(each) != _N_BYTES]
    if wrong:
        raise ValueError(f"a signature has {_N_BYTES} bytes, not {wrong[0]}; make it with signature()")
    return np.frombuffer(b"".join(signatures), "<u4").reshape(-1, N_PERMUTATIONS)


_FACTORS = _scattered(np.arange(N_PERMUTATIONS, dtype=np.uint64)) | np.uint64(1)
_TERMS = _scattered(np.arange(N_PERMUTATIONS, 2 * N_PERMUTATIONS, dtype=np.uint64))
