"""Scripts without spaces, and marks that belong to a letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.tokens.scripts import cut_spans, letter_pairs, unspaced_spans


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("plain words, naïve café", []),
        ("日本語のテキスト。次", ["日本語のテキスト", "次"]),
        ("GPU图形2024", ["图形"]),
        ("สวัสดีชาวโลก hello", ["สวัสดีชาวโลก"]),
        ("서울은 수도", []),
        ("ка́к дела́ и ὕβρις", []),
        ("東京・大阪", ["東京", "大阪"]),
        ("𠀋𠮷", ["𠀋𠮷"]),
    ],
)
def test_runs_without_spaces_are_found(text: str, runs: list[str]) -> None:
    assert [text[start:end] for start, end in unspaced_spans(text)] == runs


def test_korean_words_are_divided_but_cut_into_pairs() -> None:
    text = "서울은 수도 Seoul"
    assert [text[start:end] for start, end in cut_spans(text)] == ["서울은", "수도"]


@pytest.mark.parametrize(
    ("run", "pairs"),
    [
        ("", []),
        ("水", ["水"]),
        ("处理器", ["处理", "理器"]),
        ("ที่นี่", ["ที่นี่"]),  # two letters, each with a vowel and a tone
        ("กินข้าว", ["กิน", "นข้", "ข้า", "าว"]),
        ("฿", []),
    ],
)
def test_pairs_overlap_and_marks_stay_with_their_letter(run: str, pairs: list[str]) -> None:
    assert letter_pairs(run) == pairs


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=2))
def test_a_run_of_letters_has_one_pair_fewer(run: str) -> None:
    pairs = letter_pairs(run)
    assert len(pairs) == len(run) - 1
    assert run == pairs[0][0] + "".join(pair[-1] for pair in pairs)


@given(st.text())
def test_spans_are_ordered_and_disjoint(text: str) -> None:
    for spans in (unspaced_spans(text), cut_spans(text)):
        ends = [0, *(end for _, end in spans)]
        assert all(before <= start < end for before, (start, end) in zip(ends, spans, strict=False))
