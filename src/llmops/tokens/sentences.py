"""Where sentences begin and end."""

from __future__ import annotations

import re

_ABBREVIATIONS = frozenset(
    """e.g i.e etc cf vs al fig figs eq eqs no nos vol sec ch pp ed eds dr mr mrs ms prof st jr sr inc ltd
    co corp u.s u.k a.m p.m approx dept est gen gov rev sen rep jan feb mar apr jun jul aug sep sept oct nov
    dec ph.d""".split()
)
# A line break ends a sentence when the next line is empty or begins a list item, table row or heading.
_BREAK = re.compile(r"\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*•+|#>]|\d{1,3}[.)])\s)")
# The look-behind and the possessive repeats keep a long row of dots linear: each of its dots would scan the rest.
_END = re.compile(r"(?P<latin>(?<![.!?…])[.!?…]++[\"'”’)\]*_`]*+)(?=\s)|[。！？؟]++[」』”]*")
_NEXT = re.compile(r"\s+[\"'“‘(\[*_`]*(?P<first>\S)")
_LONG_WORD = 5
_LAST_WORD = re.compile(r"([\w.]+)$")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Half-open spans of the sentences, without surrounding white space, in order.

    >>> text = "See Fig. 3, e.g. this. Then stop."
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['See Fig. 3, e.g. this.', 'Then stop.']
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for line_end, next_start in [
        *((m.start(), m.end()) for m in _BREAK.finditer(text)),
        (len(text), len(text)),
    ]:
        begin = start
        for match in _END.finditer(text, start, line_end):
            if match.group("latin") is None or _ends_sentence(text, match, line_end):
                _add(spans, text, begin, match.end())
                begin = match.end()
        _add(spans, text, begin, line_end)
        start = next_start
    return spans


def _ends_sentence(text: str, match: re.Match[str], limit: int) -> bool:
    following = _NEXT.match(text, match.end(), limit)
    if following is None:
        return True
    first = following["first"]
    word = _LAST_WORD.search(text, max(0, match.start() - 30), match.start())
    token = word[1].lower().strip(".") if word else ""
    if first.islower() and first.isascii():
        # Some names begin small ("… is stopped. llmops writes …"); after a short word it may be an abbreviation.
        return match["latin"] == "." and len(token) >= _LONG_WORD and token not in _ABBREVIATIONS
    if match["latin"][0] != "." or word is None:
        return True
    if token in _ABBREVIATIONS:
        return False
    is_initial = len(token) == 1 and token.isalpha() and word[1].isupper()
    is_item_number = token.isdigit() and word.start() == _line_start(text, match.start())
    return not (is_initial or is_item_number)


def _line_start(text: str, position: int) -> int:
    start = text.rfind("\n", 0, position) + 1
    return start + len(text[start:position]) - len(text[start:position].lstrip())


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        spans.append((start, end))
