"""Citations in a stream: every marker that leaves names a passage that was in the context."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llmops.records import Citation, Passage
from llmops.records.documents import Quote
from llmops.retrieval.packing import joined_locator
from llmops.tokens import sentence_spans, terms

_MARKER = re.compile(r"\[(\d{1,4}(?: ?, ?\d{1,4}){0,5})\]")
# An unfinished marker, or blanks before one that may go. It starts where blanks start: no second look at them.
_OPEN = re.compile(r"(?<![ \t])[ \t]*+(?:\[[\d, ]{0,39})?\Z")
_SAID_CHARACTERS = 600


class CitationFilter:
    """Lets text through, resolves `[1]` and `[1, 2]`, and removes markers that name no passage.

    Brackets that follow a letter or digit and name no passage are code (`row[0]`) and stay.

    A stream may be cut anywhere: text is held back only while it could still become a marker, so the output and
    the citations do not depend on the cuts.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages: Mapping[int, Passage] = {p.number: p for p in passages}
        self._cited: dict[int, Citation] = {}
        self._held = ""
        self._before = ""  # the last character that came in
        self._said = ""  # the last of what left
        self.n_dropped = 0

    def feed(self, text: str) -> str:
        """The part of the text so far that may leave now."""
        text = self._held + text
        open_marker = _OPEN.search(text)
        cut = open_marker.start() if open_marker else len(text)
        self._held = text[cut:]
        return self._resolve(text[:cut])

    def finish(self) -> str:
        """What was still held back at the end."""
        rest, self._held = self._held, ""
        return self._resolve(rest)

    @property
    def citations(self) -> tuple[Citation, ...]:
        """In the order of their first appearance."""
        return tuple(self._cited.values())

    def _resolve(self, text: str) -> str:
        parts: list[str] = []
        last = 0
        for match in _MARKER.finditer(text):
            numbers = [int(n) for n in match[1].split(",")]
            known = [n for n in numbers if n in self._passages]
            before = text[last : match.start()]
            last = match.end()
            previous = text[match.start() - 1] if match.start() else self._before
            if not known and previous.isalnum():
                parts.append(before + match[0])
                continue
            self.n_dropped += len(numbers) - len(known)
            parts.append(before if known else before.rstrip(" \t"))
            parts.extend(f"[{n}]" for n in known)
            for n in known:
                if n not in self._cited:
                    said = (self._said + "".join(parts))[-_SAID_CHARACTERS:]
                    self._cited[n] = cite(self._passages[n], said=said)
        left = "".join(parts) + text[last:]
        self._before = text[-1:] or self._before
        self._said = (self._said + left)[-_SAID_CHARACTERS:]
        return left


def cite(passage: Passage, *, said: str = "") -> Citation:
    """What a marker names: always a stretch of the document, word for word.

    Args:
        said: the text before the marker. Of a passage made of several stretches, its last sentence tells which.
    """
    hit = passage.hit
    locator, text = hit.chunk.locator, passage.text
    if len(passage.quotes) > 1:
        quote = _meant(passage, said)
        inside = [one for one in passage.hits if _holds(quote, one.chunk.handed_span)]
        hit, text = inside[0], quote.text
        locator = joined_locator([one.chunk.locator for one in inside])
    return Citation(
        number=passage.number,
        chunk_id=hit.chunk.chunk_id,
        document_id=hit.chunk.document_id,
        uri=hit.chunk.uri,
        title=passage.title,
        locator=locator,
        text=text,
    )


def _meant(passage: Passage, said: str) -> Quote:
    """The stretch with most words of the last sentence; the best hit's where none has more than another."""
    said = _MARKER.sub(" ", said)
    spans = sentence_spans(said)
    asked = set(terms(said[spans[-1][0] :])) if spans else set()
    best = passage.hits[0].chunk.handed_span
    return max(passage.quotes, key=lambda quote: (len(asked & set(terms(quote.text))), _holds(quote, best)))


def _holds(quote: Quote, span: tuple[int, int]) -> bool:
    return quote.start <= span[0] and span[1] <= quote.end
