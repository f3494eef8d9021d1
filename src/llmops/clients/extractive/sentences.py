"""Passages to sentences that can be quoted: prose, list items, table rows and code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from llmops.clients.extractive.context import GivenPassage
from llmops.tokens import sentence_spans, terms

SentenceKind = Literal["prose", "lead", "item", "row", "code", "heading", "question"]

_FENCE = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,}).*?(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)", re.DOTALL | re.M)
_ITEM = re.compile(r"(?:[-*•+]|\d{1,3}[.)])\s")
_TABLE_RULER = re.compile(r"\|[\s:|+-]*")
_UNDERLINED = re.compile(r"[^\n]+\n([=\-~^\"*+])\1{2,}")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_FEW_TERMS = 3
_MANY_TERMS = 90
_ANNOUNCED_CHARACTERS = 400
_QUESTION_REACH = 3  # a question stands above this many sentences


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A verbatim piece of a passage.

    Attributes:
        position: index among the pieces of its passage.
        heading: the passage's title and the last heading or question above the sentence.
        announced_by: position of the lead that introduces this item, row or code ("The parts are:"), or None.
        embedded_text: the sentence under its headings; a lead stands with what it announces.
        terms: index terms of the sentence, repeats kept; a lead's with those it announces.
    """

    passage: GivenPassage
    position: int
    kind: SentenceKind
    text: str
    heading: str
    announced_by: int | None
    embedded_text: str
    terms: tuple[str, ...]

    @property
    def is_quotable(self) -> bool:
        """Headings, questions and rulers say what a passage is about and answer nothing themselves."""
        return self.kind not in ("heading", "question") and bool(self.terms)

    @property
    def is_weak(self) -> bool:
        """A fragment, a lone link, code, or a run of text too long to quote."""
        return self.kind == "code" or not _FEW_TERMS <= len(self.terms) <= _MANY_TERMS


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    text: str
    kind: SentenceKind
    starts_block: bool


_NOTHING = _Piece(text="", kind="prose", starts_block=True)


def split_sentences(passages: Sequence[GivenPassage]) -> list[Sentence]:
    """Every sentence of every passage, in order of passages and positions."""
    return [sentence for passage in passages for sentence in _split(passage)]


def _split(passage: GivenPassage) -> Iterator[Sentence]:
    pieces = _leads_found(list(_pieces(passage.text)))
    announced_by = _announcers(pieces)
    headings = _headings(pieces)
    for position, piece in enumerate(pieces):
        kind, text = piece.kind, piece.text
        if kind == "lead":
            announced = (p.text for p, lead in zip(pieces, announced_by, strict=True) if lead == position)
            text = "\n".join((text, *announced))[: len(text) + _ANNOUNCED_CHARACTERS]
            kind = "heading" if text == piece.text else kind
        heading = " > ".join(filter(None, (passage.title, headings[position])))
        yield Sentence(
            passage=passage,
            position=position,
            kind=kind,
            text=piece.text,
            heading=heading,
            announced_by=announced_by[position],
            embedded_text=f"{heading}\n{text}" if heading else text,
            terms=tuple(terms(text)),
        )


def _leads_found(pieces: list[_Piece]) -> list[_Piece]:
    """Unfinished prose right above code leads to it ("Install the package"), colon or not."""
    return [
        replace(piece, kind="lead")
        if piece.kind == "prose" and after.kind == "code" and piece.text[-1].isalnum()
        else piece
        for piece, after in zip_longest(pieces, pieces[1:], fillvalue=_NOTHING)
    ]


def _headings(pieces: Sequence[_Piece]) -> list[str]:
    """For each piece, what stands above it: a table's head, a question just asked, or the last heading."""
    found: list[str] = []
    section = table = question = ""
    asked_at = -_QUESTION_REACH
    for position, piece in enumerate(pieces):
        if piece.kind == "row":
            found.append(table)
        else:
            found.append(question if position - asked_at <= _QUESTION_REACH else section)
        if piece.kind == "heading":
            title = piece.text.strip("#|=-~ \n")
            section, table = (section, title) if piece.text.startswith("|") else (title, table)
        elif piece.kind == "question":
            question, asked_at = piece.text, position
    return found


def _announcers(pieces: Sequence[_Piece]) -> list[int | None]:
    """For each piece, the position of the lead it belongs to."""
    found: list[int | None] = []
    lead: int | None = None
    for position, piece in enumerate(pieces):
        is_prose = piece.kind in ("prose", "question") and piece.starts_block
        if is_prose or piece.kind in ("heading", "lead"):
            lead = None
        found.append(lead)
        if piece.kind == "lead":
            lead = position
    return found


def _pieces(text: str) -> Iterator[_Piece]:
    start = 0
    for fence in _FENCE.finditer(text):
        yield from _prose(text[start : fence.start()])
        yield _Piece(text=fence.group().strip("\n"), kind="code", starts_block=True)
        start = fence.end()
    yield from _prose(text[start:])


def _prose(text: str) -> Iterator[_Piece]:
    spans = [part for span in sentence_spans(text) for part in _heading_apart(text, *span)]
    for index, (start, end) in enumerate(spans):
        gap = text[spans[index - 1][1] : start] if index else ""
        following = text[slice(*spans[index + 1])] if index + 1 < len(spans) else ""
        yield _Piece(
            text=text[start:end],
            kind=_kind(text[start:end], text[text.rfind("\n", 0, start) + 1 : start], following),
            starts_block=index == 0 or _BLANK_LINE.search(gap) is not None,
        )


def _heading_apart(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    line_end = text.find("\n", start, end)
    if text[start] == "#" and line_end > 0:
        yield start, line_end
        body = text[line_end:end]
        start = end - len(body.lstrip())
    yield start, end


def _kind(sentence: str, before_on_line: str, following: str) -> SentenceKind:
    if _ITEM.match(sentence):
        return "item"
    if not before_on_line.strip() and len(before_on_line.expandtabs(4)) >= 4:
        return "code"
    if sentence.startswith("|"):
        return "heading" if "-" in following and _TABLE_RULER.fullmatch(following) else "row"
    if sentence.startswith("#") or _UNDERLINED.fullmatch(sentence):
        return "heading"
    if sentence.endswith(("?", "？", "؟")):
        return "question"
    return "lead" if sentence.endswith((":", "：")) else "prose"
