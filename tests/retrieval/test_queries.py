"""What is searched for a question: words that earlier turns lend it, and its other forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.retrieval.queries import SearchText, carried_terms, forms_of, parts_of, with_terms
from llmops.tokens import terms

COURT = "Where is the Superior Court of Ventura?"


def carried(question: str, *earlier: str, turns: int = 3, max_terms: int = 6) -> list[str]:
    return list(carried_terms(question, earlier, turns=turns, max_terms=max_terms))


@pytest.mark.parametrize(
    ("question", "lent"),
    [
        ("Does it open on Sundays?", ["Superior", "Court", "Ventura"]),
        ("How much?", ["Superior", "Court", "Ventura"]),
        ("And what about the parking fees for visitors there?", ["Superior", "Court", "Ventura"]),
        ("opening hours", ["Superior", "Court", "Ventura"]),
        ("Does the court have a car park?", ["Superior", "Ventura"]),
        ("Which documents must an employer keep for seven years after dismissal?", []),
        ("How do I renew a passport that was stolen abroad last summer?", []),
    ],
)
def test_a_question_that_leans_on_another_takes_its_words(question: str, lent: list[str]) -> None:
    assert carried(question, COURT) == lent


def test_the_first_question_has_nothing_to_lean_on() -> None:
    assert carried("How much is it?") == []
    assert carried("How much is it?", COURT, turns=0) == []


def test_the_latest_turn_lends_first_and_each_word_once() -> None:
    turns = ("Who runs the museum?", "Has the museum a cafe?", "Is the cafe open?")
    assert carried("When?", *turns) == ["cafe", "open", "museum", "runs"]
    assert carried("When?", *turns, turns=1) == ["cafe", "open"]
    assert carried("When?", *turns, max_terms=1) == ["cafe"]


@pytest.mark.parametrize(
    ("earlier", "question", "lent"),
    [
        (
            "Welche Versicherung brauche ich für ein Elektroauto?",
            "Und was kostet das?",
            ["Versicherung", "Elektroauto"],
        ),
        (
            "Quelle assurance pour une voiture électrique ?",
            "Et combien ça coûte ?",
            ["assurance", "voiture", "électrique"],
        ),
        ("¿Qué seguro necesito para un coche eléctrico?", "¿Y cuánto cuesta?", ["seguro", "coche", "eléctrico"]),
        ("请问埃菲尔铁塔有多高？", "它是什么时候建成的？", ["埃菲尔铁塔", "多高"]),
        ("東京タワーの高さはどのくらいですか", "それはいつ建てられましたか", ["東京タワー", "高"]),
    ],
)
def test_other_languages_lean_too(earlier: str, question: str, lent: list[str]) -> None:
    assert carried(question, earlier) == lent


def test_words_of_one_language_stay_content_in_another() -> None:
    """ "die", "war" and "sin" carry nothing in German and Spanish."""
    assert carried("How long?", "What is die casting in a war economy?") == ["die", "casting", "war", "economy"]


def test_the_questions_own_words_count_twice() -> None:
    made = with_terms("How much?", ("Ventura", "court"))
    assert made == SearchText(text="How much? Ventura court", words="How much? How much? Ventura court")
    assert with_terms("How much?", ()) == SearchText(text="How much?")


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("What is a gate, and how do I change it?", ("What is a gate", "how do I change it?")),
        ("What is a gate? Who approves a release?", ("What is a gate?", "Who approves a release?")),
        ("Was ist ein Gate und wie ändere ich es?", ("Was ist ein Gate", "wie ändere ich es?")),
        ("What is the difference between a gate and a verdict?", ()),
        ("Hello. What is a gate?", ()),
        ("What is a gate?", ()),
        ("", ()),
    ],
)
def test_several_questions_are_told_apart(question: str, parts: tuple[str, ...]) -> None:
    assert parts_of(question) == parts


def test_forms_are_the_question_its_words_and_its_parts() -> None:
    question = "What is a gate, and how do I change the gate?"
    forms = forms_of(SearchText(text=question), question, n=5)
    assert [form.text for form in forms] == [
        question,
        "gate change",
        "What is a gate",
        "how do I change the gate?",
    ]
    assert forms_of(SearchText(text=question), question, n=2) == forms[:2]
    assert forms_of(SearchText(text=question), question, n=1) == forms[:1]


@pytest.mark.parametrize("question", ["gate", "Gate", "what is it?"])
def test_a_form_that_says_the_same_is_not_searched_twice(question: str) -> None:
    assert forms_of(SearchText(text=question), question, n=5) == (SearchText(text=question),)


_questions = st.text(max_size=60) | st.lists(
    st.sampled_from(["what", "is", "it", "and how", "gate", "Release", "?", ".", "它", "东京", "und", "they"])
).map(" ".join)


@given(_questions, st.lists(_questions, max_size=4), st.integers(1, 4), st.integers(1, 8))
def test_what_is_carried_is_new_and_limited(question: str, earlier: list[str], turns: int, limit: int) -> None:
    lent = carried_terms(question, earlier, turns=turns, max_terms=limit)
    assert lent == carried_terms(question, earlier, turns=turns, max_terms=limit)
    assert len(lent) <= limit
    known = set(terms(question))
    for word in lent:
        assert any(word in turn for turn in earlier[-turns:])
        assert not set(terms(word)) <= known
        known |= set(terms(word))


@given(_questions, st.integers(1, 5))
def test_forms_begin_with_the_question_and_differ(question: str, n: int) -> None:
    forms = forms_of(SearchText(text=question), question, n=n)
    assert len(forms) <= n
    assert not question.strip() or forms[0].text == question
    assert len({" ".join(form.text.casefold().split()) for form in forms}) == len(forms)
