"""What is searched for a question: itself, the words that earlier turns lend it, and its other forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmops.retrieval.function_words import UNSPACED_EMPTY, UNSPACED_POINTING, FunctionWords, language_of
from llmops.tokens import sentence_spans, terms
from llmops.tokens.scripts import unspaced_spans

_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
_AND_THEN = re.compile(
    r"[,;]?\s+(?:and|und|et|y)\s+(?=(?:what|which|how|who|when|where|why|does|do|is|are|can|should"
    r"|was|welche[rs]?|wie|wer|wann|wo|warum|que|quel|quelle|comment|qui|quand|où|qué|cuál|cómo|quién|cuándo)\b)",
    re.IGNORECASE,
)
_FEW_WORDS = 3
_SOME_WORDS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchText:
    """One form of a question as it is searched.

    Attributes:
        text: what the encoder reads.
        words: what BM25 counts; "" when it is `text`.
    """

    text: str
    words: str = ""


def carried_terms(question: str, earlier: Sequence[str], *, turns: int, max_terms: int) -> tuple[str, ...]:
    """Content words of the last earlier questions that a question leans on; empty when it stands alone.

    It leans on them when it has at most 3 content words, or at most 6 and points back ("it", "those") or goes on
    ("and ...", "what about ..."). The latest turn's words come first, each once, as they were written; words that
    the question has already are left out. Both limits were tuned on MT-RAG's development part.

    Args:
        earlier: the user's questions before this one, oldest first.
    """
    recent = earlier[-turns:] if turns else ()
    language = language_of(_lower_words(" ".join([*recent, question])))
    if not recent or not _leans(question, language):
        return ()
    known = set(terms(question))
    carried: list[str] = []
    for turn in reversed(recent):
        for word in content_words(turn, language):
            new = set(terms(word)) - known
            if new and len(carried) < max_terms:
                known |= new
                carried.append(word)
    return tuple(carried)


def with_terms(question: str, carried: Sequence[str]) -> SearchText:
    """The question followed by what it leans on; BM25 counts the question's own words twice."""
    if not carried:
        return SearchText(text=question)
    lent = " ".join(carried)
    return SearchText(text=f"{question} {lent}", words=f"{question} {question} {lent}")


def forms_of(search: SearchText, question: str, *, n: int) -> tuple[SearchText, ...]:
    """Up to `n` forms: the search itself, its content words alone, and the questions that it asks at once.

    Args:
        search: the question as it is searched first.
        question: as the user wrote it, from which its parts are read.
    """
    language = language_of(_lower_words(search.text))
    keywords = " ".join(dict.fromkeys(content_words(search.text, language)))
    forms: dict[str, SearchText] = {}
    for form in (search, SearchText(text=keywords), *(SearchText(text=part) for part in parts_of(question))):
        forms.setdefault(" ".join(form.text.casefold().split()), form)
    forms.pop("", None)
    return tuple(forms.values())[:n]


def parts_of(question: str) -> tuple[str, ...]:
    """The questions of a text that asks several, cut at sentences and before "and how"; () when it asks one."""
    sentences = [question[start:end] for start, end in sentence_spans(question)]
    parts = [part.strip() for sentence in sentences for part in _AND_THEN.split(sentence)]
    asking = [part for part in parts if content_words(part, language_of(_lower_words(part)))]
    return tuple(asking) if len(asking) > 1 else ()


def content_words(text: str, language: FunctionWords) -> list[str]:
    """Words that say what a text is about, in order, repeats kept."""
    return [word for word in _words(text) if word.casefold() not in language.empty and _is_word(word)]


def _leans(question: str, language: FunctionWords) -> bool:
    n_content = sum(_weight(word) for word in content_words(question, language))
    if n_content <= _FEW_WORDS:
        return True
    words = _lower_words(question)
    points_back = (
        any(word in language.pointing for word in words) or UNSPACED_POINTING.search(question) is not None
    )
    opening = " ".join(words)
    goes_on = any(opening.startswith(f"{first} ") for first in language.opening)
    return n_content <= _SOME_WORDS and (points_back or goes_on)


def _words(text: str) -> Iterable[str]:
    for match in _WORD.finditer(text):
        word, end = match[0], 0
        for start, stop in unspaced_spans(word):
            yield from _spaced(word[end:start])
            yield from filter(None, UNSPACED_EMPTY.split(word[start:stop]))
            end = stop
        yield from _spaced(word[end:])


def _spaced(word: str) -> list[str]:
    return [word] if word else []


def _is_word(word: str) -> bool:
    return len(word) > 1 or word.isdecimal() or bool(unspaced_spans(word))


def _weight(word: str) -> int:
    """A stretch without spaces holds about one word in two to three characters."""
    return max(1, round(len(word) / 3)) if unspaced_spans(word) else 1


def _lower_words(text: str) -> list[str]:
    return [match[0].casefold() for match in _WORD.finditer(text)]
