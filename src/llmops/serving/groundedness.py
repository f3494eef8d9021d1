"""How much of an answer stands in what it cites: a lexical baseline that costs less than a millisecond."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llmops.metrics import lexical_groundedness
from llmops.records import Passage
from llmops.tokens import sentence_spans, terms

_MARKER = re.compile(r"\[(\d{1,4})\]")
_LONE_MARKERS = re.compile(r"(?:\s*\[\d{1,4}\])+\s*")


def statements_of(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Each sentence without its markers, with the numbers it cites; a marker after the full stop counts too."""
    found: list[tuple[str, tuple[int, ...]]] = []
    before_end = 0
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        numbers = tuple(int(number) for number in _MARKER.findall(sentence))
        leading = _LONE_MARKERS.match(sentence)
        opens_line = "\n" in text[before_end:start] and leading is not None and leading.end() < len(sentence)
        before_end = end
        if (
            leading and found and not opens_line
        ):  # "It opens. [1] It closes. [2]": the marker ends what came before
            before, cited = found[-1]
            of_before = tuple(int(number) for number in _MARKER.findall(leading[0]))
            found[-1] = (before, (*cited, *of_before))
            numbers = numbers[len(of_before) :]
            sentence = sentence[leading.end() :]
        words = _MARKER.sub("", sentence).strip()
        if words:
            found.append((words, numbers))
    return found


def groundedness(text: str, passages: Sequence[Passage]) -> float | None:
    """Mean share of each sentence's terms that stand in the passages it cites, or in all where it cites none.

    Returns:
        A value in [0, 1], or None when the text states nothing.
    """
    by_number: Mapping[int, Passage] = {passage.number: passage for passage in passages}
    known: dict[int, frozenset[str]] = {}

    def terms_of(number: int) -> frozenset[str]:
        if number not in known:
            passage = by_number[number]
            known[number] = frozenset(terms(f"{passage.title}\n{passage.text}"))
        return known[number]

    statements, contexts = [], []
    for words, numbers in statements_of(text):
        cited = [number for number in numbers if number in by_number] or list(by_number)
        statements.append(set(terms(words)))
        contexts.append(frozenset().union(*map(terms_of, cited)))
    return lexical_groundedness(statements, contexts)
