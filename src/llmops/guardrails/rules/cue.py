"""How a rule is written down: the words that open it, what has to follow, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Voice = Literal["plain", "order", "opening"]
WORD = re.compile(r"[^\W_]++")
_GAP = r"(?:,?[\s*_~#>|`-]{1,40}+)"


@dataclass(frozen=True, slots=True)
class Cue:
    """One pattern of a rule.

    It is tried only where one of its opening words stands, and what follows is bounded or possessive: a text takes
    time linear in its length. Patterns see folded text (`llmops.guardrails.folding`).

    Attributes:
        score: in (0, 1]: how sure it is on its own. Cues below 0.5 are attacks only in company.
        heads: what it opens with, separated by `|`, each beginning with a word.
        rest: the regular expression of what follows; a blank stands for any gap between words of a sentence.
        voice: "order" opens with a verb, and where that verb has a subject the text only tells of the order;
            "opening" is so common a verb that it has to open its sentence.
    """

    rule: str
    score: float
    heads: str
    rest: str
    voice: Voice = "plain"


Index = Mapping[str, Sequence[tuple[Cue, re.Pattern[str]]]]


def words(n: int) -> str:
    """A pattern for at most `n` words that do not matter, as few as possible."""
    return rf"(?: [\w'/]{{1,24}}+){{0,{n}}}?"


def indexed(cues: Iterable[Cue]) -> Index:
    """The cues with their compiled patterns, by the first word of each of their heads."""
    index: dict[str, list[tuple[Cue, re.Pattern[str]]]] = {}
    for cue in cues:
        pattern = re.compile(f"(?:{cue.heads})(?![^\\W_]){cue.rest}".replace(" ", _GAP))
        for opening in dict.fromkeys(WORD.findall(head)[0] for head in cue.heads.split("|")):
            index.setdefault(opening, []).append((cue, pattern))
    return index
