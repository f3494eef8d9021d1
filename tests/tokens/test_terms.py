"""Text to index terms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.tokens import terms
from llmops.tokens.terms import STOP_WORDS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The runners were running", ["runner", "run"]),
        ("Überprüfung naïve CAFÉ", ["überprüfung", "naïv", "café"]),
        ("snake_case kebab-case dotted.name", ["snake", "case", "kebab", "case", "dot", "name"]),
        ("k8s v1.2 2024", ["k8s", "v1", "2", "2024"]),
        ("ﬁle ＡＢＣ", ["file", "abc"]),
        ("日本語のテキスト", ["日本", "本語", "語の", "のテ", "テキ", "キス", "スト"]),
        ("GPU图形2024年", ["gpu", "图形", "2024", "年"]),
        ("서울은 수도", ["서울", "울은", "수도"]),
        ("हिन्दी भाषाओं", ["हिन्द", "भाष"]),
        ("الكِتابُ الكتب", ["كتاب", "كتب"]),
        ("Новые машины", ["нов", "машин"]),
        ("βars of κstudies", ["βar", "κstudi"]),
        ("ế tiếng Việt", ["ế", "tiếng", "việt"]),
        ("run run running", ["run", "run", "run"]),
        ("what is this and where", []),
        ("", []),
        ("!?… —", []),
    ],
)
def test_words_are_folded_split_and_stemmed(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("one", "other"), [("connect", "connecting"), ("policy", "policies"), ("E\u0301tat", "état")]
)
def test_forms_of_a_word_are_one_term(one: str, other: str) -> None:
    assert terms(one) == terms(other)


@given(st.text())
def test_terms_are_lower_case_words_and_never_empty(text: str) -> None:
    found = terms(text)
    assert all(term and term == term.lower() and not any(c.isspace() or c == "_" for c in term) for term in found)
    assert terms(text) == found


@given(st.lists(st.sampled_from(["retention", "keys", "the", "Rollback", "and", "gate's"])))
def test_terms_of_joined_texts_are_the_terms_of_each(words: list[str]) -> None:
    assert terms(" ".join(words)) == [term for word in words for term in terms(word)]


def test_stop_words_are_dropped_as_whole_words_only() -> None:
    assert all(terms(word) == [] for word in STOP_WORDS)
    assert terms("theory island") == ["theori", "island"]


def test_many_threads_stem_alike() -> None:
    words = [
        f"{stem}{ending}" for stem in ("connect", "relat", "generat") for ending in ("ing", "ed", "ions")
    ] * 50
    alone = [terms(word) for word in words]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(terms, words)) == alone


def test_a_word_is_found_inside_a_text_without_spaces() -> None:
    text = terms("所有员工每年都可以休假三十天。")
    assert set(terms("休假")) <= set(text)
    assert not set(terms("工资")) & set(text)


def test_latin_texts_keep_the_terms_that_collections_were_made_with() -> None:
    """Sparse vectors are stored: a change here would need every collection to be built again."""
    text = "Überprüfung der naïve Größen — l’été, señor; façade x² №5 µm ﬁn K8s’s e\u0301tat, ŁÓDŹ"
    assert terms(text) == [
        *("überprüfung", "der", "naïv", "größen", "l", "été", "señor", "façad"),
        *("x2", "no5", "μm", "fin", "k8s", "s", "état", "łódź"),
    ]
