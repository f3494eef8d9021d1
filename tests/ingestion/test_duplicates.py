"""Near-duplicates: signatures estimate similarity, and what is left out depends on the documents alone."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.ingestion.duplicates import N_PERMUTATIONS, Candidate, Duplicate, assign, signature, similarity

VOCABULARY = [f"word{n}" for n in range(5000)]
PASSAGE = "The gate opens when every metric has passed its threshold, and not before."


def text_of(rng: random.Random, n_words: int = 400) -> str:
    return " ".join(rng.choices(VOCABULARY, k=n_words))


def perturbed(text: str, n_changes: int, rng: random.Random) -> str:
    words = text.split()
    for at in rng.sample(range(len(words)), n_changes):
        words[at] = rng.choice(VOCABULARY)
    return " ".join(words)


def jaccard(one: str, other: str) -> float:
    """The true similarity of the runs of five words."""
    first, second = (
        {tuple(words[at : at + 5]) for at in range(len(words) - 4)} for words in (one.split(), other.split())
    )
    return len(first & second) / len(first | second)


def candidate(key: str, text: str, uri: str = "", group: str = "everyone") -> Candidate:
    return Candidate(key=key, uri=uri or key, group=group, signature=signature(text))


def test_a_signature_is_the_same_in_every_process() -> None:
    assert len(signature(PASSAGE)) == 512
    script = f"from llmops.ingestion.duplicates import signature; print(signature({PASSAGE!r}).hex())"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert said == signature(PASSAGE).hex()
    assert hashlib.sha256(bytes.fromhex(said)).hexdigest()[:16] == "863a36b935581f62"


def test_the_estimate_is_close_to_the_truth() -> None:
    rng = random.Random(1)
    errors = []
    for n_changes in [0, 1, 2, 4, 8, 12, 20, 40] * 10:
        text = text_of(rng)
        other = perturbed(text, n_changes, rng)
        errors.append(similarity(signature(text), signature(other)) - jaccard(text, other))
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 0.045
    assert max(np.abs(errors)) < 0.16


def test_case_punctuation_and_blanks_do_not_count() -> None:
    assert signature("The GATE opens:\n\n at noon, on Monday!") == signature("the gate — opens at noon on monday")
    assert signature("The gate opens at noon on Monday") != signature("The gate opens at noon on Tuesday")


@pytest.mark.parametrize("text", ["", "one", "one two three four", "=====", "🚀", "東京", "a\udcff c"])
def test_a_short_text_is_like_itself_only(text: str) -> None:
    others = ["", "one", "two", "one two", "one two three five", "-----", "🚀🚀", "京都", "a b"]
    assert similarity(signature(text), signature(text)) == 1.0
    assert all(similarity(signature(text), signature(other)) < 0.2 for other in others if other != text)


def test_scripts_without_blanks_are_read_by_character() -> None:
    text = "東京都の門は毎日正午に開きますが、月曜日は閉まっています。入場は無料です。"
    assert 0.5 < similarity(signature(text), signature(text.replace("正午", "九時"))) < 1.0


def test_alike_documents_are_found_and_others_are_not() -> None:
    rng = random.Random(2)
    originals = [text_of(rng) for _ in range(150)]
    copies = [perturbed(text, rng.choice([0, 1, 2, 3, 30, 60]), rng) for text in originals]
    items = [candidate(f"a{n:03}", text) for n, text in enumerate(originals)]
    items += [candidate(f"b{n:03}", text) for n, text in enumerate(copies)]
    found = assign(items, 0.8)
    truth = [jaccard(one, other) for one, other in zip(originals, copies, strict=True)]
    assert all(f"b{n:03}" in found for n, share in enumerate(truth) if share > 0.9)
    assert all(f"b{n:03}" not in found for n, share in enumerate(truth) if share < 0.65)
    assert all(each.of == key.replace("b", "a") for key, each in found.items())
    assert {n for n, share in enumerate(truth) if share > 0.9} != set()


def test_the_first_by_uri_stays() -> None:
    items = [candidate("k1", PASSAGE, "b.md"), candidate("k2", PASSAGE, "a.md"), candidate("k3", PASSAGE, "c.md")]
    assert assign(items, 0.8) == {
        "k1": Duplicate(of="k2", similarity=1.0),
        "k3": Duplicate(of="k2", similarity=1.0),
    }


def test_a_document_left_out_leaves_nothing_else_out() -> None:
    """Alike is not transitive: c is like b, and b is left out for a, so that c stays."""
    rng = random.Random(5)
    rows = np.array([rng.getrandbits(32) for _ in range(N_PERMUTATIONS)], "<u4")
    signatures = {"a": rows.copy(), "b": rows.copy(), "c": rows.copy()}
    signatures["b"][:20] += 1
    signatures["c"][:20] += 1
    signatures["c"][20:40] += 1
    items = [Candidate(key=k, uri=k, group="", signature=v.tobytes()) for k, v in signatures.items()]
    assert similarity(items[1].signature, items[2].signature) > 0.8
    assert assign(items, 0.8) == {"b": Duplicate(of="a", similarity=108 / 128)}


def test_documents_with_other_readers_are_never_merged() -> None:
    items = [candidate("k1", PASSAGE, group="staff"), candidate("k2", PASSAGE, group="everyone")]
    assert assign(items, 0.8) == {}


@settings(deadline=None, max_examples=60)
@given(
    changes=st.lists(st.integers(0, N_PERMUTATIONS), min_size=2, max_size=40),
    threshold=st.sampled_from([0.01, 0.3, 0.5, 0.8, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_no_pair_is_missed_and_the_order_given_does_not_count(
    changes: list[int], threshold: float, seed: int
) -> None:
    rng = random.Random(seed)
    base = np.array([rng.getrandbits(32) for _ in range(N_PERMUTATIONS)], "<u4")
    items = []
    for number, n_changes in enumerate(changes):
        values = base.copy()
        values[rng.sample(range(N_PERMUTATIONS), n_changes)] += number + 1
        items.append(Candidate(key=str(number), uri=f"{number:02}", group="", signature=values.tobytes()))
    expected: dict[str, Duplicate] = {}
    for at, item in enumerate(items):
        kept = [each for each in items[:at] if each.key not in expected]
        alike = [(each, similarity(each.signature, item.signature)) for each in kept]
        first = next(((each, share) for each, share in alike if share >= threshold), None)
        if first is not None:
            expected[item.key] = Duplicate(of=first[0].key, similarity=first[1])
    assert assign(items, threshold) == expected
    rng.shuffle(items)
    assert assign(items, threshold) == expected


def test_ten_thousand_documents_of_a_site_with_one_frame_are_told_apart() -> None:
    """Every pair shares about 0.7 of its values: the case that buckets alone would not make faster."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.integers(0, 2**32, (1, N_PERMUTATIONS), dtype=np.uint32), 10_000, axis=0)
    changed = np.arange(N_PERMUTATIONS)[None, :] % 6 == np.arange(10_000)[:, None] % 6
    rows[changed] = rng.integers(0, 2**32, int(changed.sum()), dtype=np.uint32)
    rows[9_999] = rows[17]
    items = [
        Candidate(key=str(n), uri=f"{n:05}", group="", signature=row.astype("<u4").tobytes())
        for n, row in enumerate(rows)
    ]
    assert assign(items, 0.9) == {"9999": Duplicate(of="17", similarity=1.0)}


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        assign([], threshold)


def test_a_signature_of_another_length_is_none() -> None:
    with pytest.raises(ValueError, match="a signature has 512 bytes, not 3"):
        similarity(b"abc", signature(PASSAGE))
