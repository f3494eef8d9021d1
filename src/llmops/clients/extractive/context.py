"""What the reader is given: the passages and the question, read back from the rendered messages."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmops.records import Message

_OPEN = re.compile(r"<passage(?P<attributes>\s(?:[^<>\"']|\"[^\"]{0,2000}\"|'[^']{0,2000}')*)?>", re.I)
_CLOSE = re.compile(r"</passage\s{0,9}>", re.I)
_ATTRIBUTE = re.compile(r"(?P<name>[\w-]+)\s*=\s*(?:\"(?P<a>[^\"]*)\"|'(?P<b>[^']*)'|(?P<c>[^\s\"'>]+))")
# The renderer neutralises passage tags inside a passage; a quotation shows them as they were.
_NEUTRALISED = re.compile(r"&lt;(?=/?passage)", re.I)
_LABEL = re.compile(r"^[ \t]*[*_]*question[*_]*[ \t]*:[*_]*[ \t]*", re.I | re.M)
_ANSWER_LABEL = re.compile(r"^[ \t]*[*_]*answer[*_]*[ \t]*:[*_]*[ \t]*$", re.I | re.M)
_LONE_TAG = re.compile(r"^[ \t]*</?[a-z][\w-]*>[ \t]*$", re.I | re.M)
_AND_THEN = re.compile(
    r"[,;]? and (?=(?:what|which|how|who|when|where|why|does|do|is|are|can|should)\b)|(?<=\?) ", re.I
)
_ASKED_SENTENCES = re.compile(
    r"\b(?:(?:at most|up to|no more than|maximum of|in|use|with|write|exactly|only)\s+){1,3}"
    r"(?P<n>\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten|a single)\s+(?:\w+\s+)?sentences?\b",
    re.I,
)
_NUMBERS = {
    word: n for n, word in enumerate("one two three four five six seven eight nine ten".split(), start=1)
} | {"a single": 1}
_PART_CHARACTERS = 12
_MAX_DIGITS = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenPassage:
    """A passage as the messages carry it; `number` is what a citation names, `rank` counts from 0."""

    number: int
    rank: int
    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenContext:
    question: str
    passages: tuple[GivenPassage, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The questions that one asks at once ("what is …, and how does …"); empty when it asks but one."""
        parts = [
            part for part in _AND_THEN.split(" ".join(self.question.split())) if len(part) >= _PART_CHARACTERS
        ]
        return tuple(parts) if len(parts) > 1 else ()


def read_context(messages: Sequence[Message]) -> GivenContext:
    """The question of the last user message, with its passages or those of the latest message that has any."""
    asked = next((m.content for m in reversed(messages) if m.role == "user"), "")
    passages, outside = _passages_apart(asked)
    for message in reversed(messages):
        if passages:
            break
        if message.role in ("user", "system"):
            passages, _ = _passages_apart(message.content)
    return GivenContext(question=_question(outside), passages=tuple(passages))


def asked_sentences(messages: Sequence[Message]) -> int | None:
    """How many sentences the system part asks for ("at most 2 sentences"); None when it does not say.

    The user's part holds passages and a question, whose words are no orders.
    """
    for message in messages:
        if message.role == "system" and (match := _ASKED_SENTENCES.search(message.content)):
            said = " ".join(match["n"].lower().split())
            number = int(said) if said.isdecimal() else _NUMBERS[said]
            return number or None
    return None


def _passages_apart(content: str) -> tuple[list[GivenPassage], list[str]]:
    """The passages, and the text before, between and after them."""
    passages: list[GivenPassage] = []
    outside: list[str] = []
    end = 0
    while (opening := _OPEN.search(content, end)) and (closing := _CLOSE.search(content, opening.end())):
        text = content[opening.end() : closing.start()]
        passages.append(_passage(opening["attributes"] or "", text, len(passages)))
        outside.append(content[end : opening.start()])
        end = closing.end()
    return passages, [*outside, content[end:]]


def _passage(attributes: str, text: str, rank: int) -> GivenPassage:
    values = {
        a["name"].lower(): html.unescape(next(v for v in a.group("a", "b", "c") if v is not None))
        for a in _ATTRIBUTE.finditer(attributes)
    }
    number = values.get("id", "").strip()
    return GivenPassage(
        number=int(number) if number.isdecimal() and len(number) <= _MAX_DIGITS else rank + 1,
        rank=rank,
        title=values.get("title", ""),
        text=_NEUTRALISED.sub("<", text),
    )


def _question(outside: Sequence[str]) -> str:
    whole = "\n".join(outside)
    labels = list(_LABEL.finditer(whole))
    if labels:
        return _bare(_ANSWER_LABEL.split(whole[labels[-1].end() :])[0])
    return _bare(outside[-1]) or _bare(whole)


def _bare(text: str) -> str:
    return _LONE_TAG.sub("", _ANSWER_LABEL.sub("", text)).strip()
