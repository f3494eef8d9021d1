"""Whether an order stands in a text to be followed, or is told of: quoted, asked about, somebody else's."""

from __future__ import annotations

import re
from bisect import bisect_left

from llmops.guardrails.rules.cue import Voice

_BEFORE, _AFTER, _NEARBY = 120, 160, 80
_SENTENCE = re.compile(r"[.!?:;](?=[\s\"'])|\n[ \t]*\n|\n(?=[ \t]*[-*#>|])")
_DECORATION = " \t\n*_\"'`([{-#>|"
_NAME = re.compile(r"\w+(?:[_-]\w+)+")
# A subject before a verb: somebody does what the text could have ordered.
_SUBJECT = re.compile(
    r"\b(?:to|can|could|may|might|would|will|should|must|that|which|who|they|he|she|it|users?|attackers?|people"
    r"|not|never|don't|doesn't|didn't|i|we|if you|when you|models?|llms?|cannot|can't|and not|or)\s+$"
)
_TOLD_TO = re.compile(
    r"(?:(?:what if |(?<!\bif )(?<!\bwhen )(?<!\bthat )\b)you(?:'ll)?(?:\s+(?:to|can|could|may|might|will|should"
    r"|must|have to|need to|are to|now|not)){0,2}|\byou(?:'re| are| were| have been)(?:\s+now)?\s+(?:told|asked"
    r"|instructed|required|ordered|supposed)\s+to|\b(?:assistant|ai|chatbot|llm|chatgpt|agent)\s+(?:must|shall"
    r"|has to|will now)|\byour\s+(?:new\s+)?(?:task|job|goal|mission)\s+is\s+to|\bplease|\btienes que|\bwill now"
    r"|\bshall)\s+$"
)
_OPENING = re.compile(
    r"(?:\b(?:please|now|then|just|only|always|kindly|first|instead|must|will|shall|should|so|ok|okay|hello|hi"
    r"|chatgpt|ai|assistant|you|don't hesitate to|remember to|forget to|sure to|to proceed|need to|have to"
    r"|you to|can you|could you|would you|in mind to|seamlessly|consider|ensure)[\s,]+)$"
)
_ASKED = re.compile(
    r"\b(?:how (?:do|does|can|could|would|should|to|is|are|did|come|might)|why (?:do|does|did|is|are|would"
    r"|should)|what (?:is|are|does|do|happens|would happen)|difference between|when (?:do|does|should)"
    r"|should (?:i|we)|can (?:i|we|an?|the|someone|attackers?)|is it (?:possible|ok|safe)|wie (?:kann|konnen"
    r"|soll|sollte)|was (?:bedeutet|ist ein|ist eine)|como (?:puedo|se)|comment|(?:in|of) this (?:article|paper"
    r"|tutorial|chapter|section))\b"
)
_TOLD = re.compile(
    r"\b(?:prompt injections?|injection attacks?|jailbreak(?:ing)? (?:prompts?|attempts?|attacks?)|attackers?"
    r"|attacks?|adversar(?:y|ies|ial)|malicious|red[ -]?team\w*|such as|for example|for instance|e\.g|phrases?"
    r"|strings?|like|detect\w*|called|sentence|words?|text|message|says?|said|reads?|wrote|contain(?:s|ing)"
    r"|mean(?:s|t)?)\b"
)
_SUBJECT_FACTOR, _UNOPENED, _ASKED_FACTOR, _QUOTED, _NAMED, _TOLD_FACTOR = 0.45, 0.4, 0.5, 0.5, 0.5, 0.6


class Fences:
    """Fenced blocks (Markdown) that stand in a text; one that the text begins with is the text itself."""

    def __init__(self, text: str) -> None:
        marks = [match.start() for match in re.finditer(r"^[ \t]{0,3}```", text, re.MULTILINE)]
        self._marks = marks if marks and any(c.isalnum() for c in text[: marks[0]]) else []

    def enclose(self, position: int) -> bool:
        """Whether an odd number of fences stand before this position."""
        return bisect_left(self._marks, position) % 2 == 1


def mention_factor(
    text: str, start: int, end: int, voice: Voice, *, is_capital: bool, may_be_asked: bool, is_fenced: bool
) -> float:
    """By how much the surroundings of a match make it less of an attack, in (0, 1].

    Args:
        text: folded.
        start: of the match.
        end: of the match.
        voice: of the cue that matched.
        is_capital: the match begins with a capital, as sentences do.
        may_be_asked: whether a question around the match ("how do I …") speaks against an attack.
        is_fenced: the match stands in a fenced block (`Fences`).
    """
    before = text[max(0, start - _BEFORE) : start]
    cuts = [match.end() for match in _SENTENCE.finditer(before)]
    clause = before[cuts[-1] :] if cuts else before
    factor = 1.0
    if voice != "plain" and _SUBJECT.search(clause) and not _TOLD_TO.search(clause):
        factor *= _SUBJECT_FACTOR
    elif voice == "opening" and not is_capital and clause.strip(_DECORATION) and not _OPENING.search(clause):
        factor *= _UNOPENED
    if may_be_asked and _ASKED.search(clause):
        factor *= _ASKED_FACTOR
    if _is_quoted(before, text[end : end + _AFTER]) or is_fenced:
        factor *= _QUOTED
    elif _NAME.fullmatch(text, start, end):
        factor *= _NAMED
    if factor < 1 and _TOLD.search(before[-_NEARBY:]):
        factor *= _TOLD_FACTOR
    return factor


def _is_quoted(before: str, after: str) -> bool:
    """Inside quotation marks that open within a line that began with other words."""
    line = before[before.rfind("\n") + 1 :]
    rest = after.split("\n", 1)[0]
    for mark in "\"'`":
        opened = line.rfind(mark)
        if (
            opened > 0
            and mark in rest
            and not line[opened - 1].isalnum()
            and any(c.isalnum() for c in line[:opened])
        ):
            return line.count(mark) % 2 == 1 or mark == "'"
    return False
