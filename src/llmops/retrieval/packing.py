"""Hits into the context: best first, within a token budget, neighbours together where the route asks for it.

Hits with the same context are one passage, always. With `merge`, hits of one document become one passage when
their texts overlap or touch, or when they are neighbours in one section with nothing but white space between them.
Its text is then made of stretches that stand in the document word for word (`Passage.quotes`), and says nothing
twice; where the white space between two is not known, line breaks stand for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from llmops.records import Chunk, Hit, Passage
from llmops.records.documents import Quote
from llmops.retrieval.spec import PackSpec

CountTokens = Callable[[Sequence[str]], list[int]]
_WHITE_GAP = 4  # between chunks of one section stand line breaks; more characters may be a heading
_LOCATOR = re.compile(r"(?P<unit>[a-z]+?)s? (?P<first>\d+)(?:-(?P<last>\d+))?")


def pack(
    hits: Sequence[Hit],
    *,
    budget_tokens: int,
    spec: PackSpec | None = None,
    count_tokens: CountTokens | None = None,
) -> tuple[Passage, ...]:
    """Passages numbered from 1; a hit that does not fit is left out and smaller ones may follow.

    The best hit is always in, so that a small budget never makes an answer from nothing.

    Args:
        hits: best first.
        count_tokens: word pieces of texts, special tokens included; without it, a merged passage counts as much as
            its hits do alone, which is never too little.
    """
    spec = spec or PackSpec()
    groups: list[_Group] = []
    left = budget_tokens
    for hit in hits:
        joined = [group for group in groups if group.takes(hit, merge=spec.merge)]
        if not joined and spec.max_passages is not None and len(groups) >= spec.max_passages:
            continue
        grown = _together(joined, hit, count_tokens)
        if grown is None:
            joined, grown = [], _alone(hit)
        cost = grown.n_tokens - sum(group.n_tokens for group in joined)
        if cost <= left or not groups:
            groups = [group for group in groups if group not in joined] + [grown]
            left -= cost
    return tuple(_passage(group, number) for number, group in enumerate(_ordered(groups, spec.order), start=1))


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of the document that is known word for word, and the ordinals of its first and last chunk."""

    start: int
    end: int
    text: str
    first: int
    last: int
    heading_path: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """What becomes one passage. `hits` in the order of ranks, `runs` in the order of the document."""

    hits: tuple[Hit, ...]
    runs: tuple[_Run, ...]
    n_tokens: int

    def takes(self, hit: Hit, *, merge: bool) -> bool:
        if self.hits[0].chunk.document_id != hit.chunk.document_id:
            return False
        run = _run(hit.chunk)
        if not merge:
            own = self.runs[0]
            return bool(hit.chunk.context) and (own.start, own.end, own.text) == (run.start, run.end, run.text)
        return any(_touch(own, run) or _follow(*sorted((own, run), key=_place)) for own in self.runs)


def _run(chunk: Chunk) -> _Run:
    start, end = chunk.handed_span
    return _Run(start, end, chunk.handed_text, chunk.ordinal, chunk.ordinal, chunk.heading_path)


def _place(run: _Run) -> tuple[int, int]:
    return run.start, run.end


def _touch(one: _Run, other: _Run) -> bool:
    """Whether two overlap or stand side by side; what both hold must be the same text, else they are of two
    versions of the document."""
    start, end = max(one.start, other.start), min(one.end, other.end)
    if start > end:
        return False
    return one.text[start - one.start : end - one.start] == other.text[start - other.start : end - other.start]


def _follow(before: _Run, after: _Run) -> bool:
    """Whether one is the next chunk of the same section."""
    is_near = 0 < after.start - before.end <= _WHITE_GAP
    # The rows of a table have its header for their innermost heading; one path then goes on from the other.
    common = _common(before.heading_path, after.heading_path)
    is_one_section = common in (before.heading_path, after.heading_path)
    return is_near and after.first == before.last + 1 and is_one_section


def _alone(hit: Hit) -> _Group:
    return _Group((hit,), (_run(hit.chunk),), hit.chunk.n_handed_tokens)


def _together(groups: Sequence[_Group], hit: Hit, count_tokens: CountTokens | None) -> _Group | None:
    """A hit with the groups that take it; None when they hold two versions of the same place."""
    if not groups:
        return _alone(hit)
    hits = tuple(sorted((*(h for group in groups for h in group.hits), hit), key=lambda found: found.rank))
    before = [own for group in groups for own in group.runs]
    runs = _united([*before, _run(hit.chunk)])
    if any(one.end > other.start for one, other in pairwise(runs)):
        return None
    if len(groups) == 1 and _spans(runs) == _spans(before):
        return _Group(hits, runs, groups[0].n_tokens)  # nothing new to read
    if count_tokens is not None:
        return _Group(hits, runs, count_tokens([_text(runs)])[0])
    return _Group(hits, runs, sum(group.n_tokens for group in groups) + hit.chunk.n_handed_tokens)


def _united(runs: Sequence[_Run]) -> tuple[_Run, ...]:
    """Runs that touch become one; the order is the document's."""
    united: list[_Run] = []
    for run in sorted(runs, key=_place):
        last = united[-1] if united else None
        if last is None or not _touch(last, run):
            united.append(run)
            continue
        new_text = last.text + run.text[max(0, last.end - run.start) :]
        united[-1] = _Run(
            start=last.start,
            end=max(last.end, run.end),
            text=new_text,
            first=min(last.first, run.first),
            last=max(last.last, run.last),
            heading_path=_common(last.heading_path, run.heading_path),
        )
    return tuple(united)


def _spans(runs: Sequence[_Run]) -> list[tuple[int, int]]:
    return [(run.start, run.end) for run in runs]


def _text(runs: Sequence[_Run]) -> str:
    parts = [runs[0].text]
    for before, after in pairwise(runs):
        parts += ["\n\n" if after.start - before.end > 1 else "\n", after.text]
    return "".join(parts)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return one[:n]


def _ordered(groups: Sequence[_Group], order: str) -> list[_Group]:
    by_rank = sorted(groups, key=lambda group: group.hits[0].rank)
    if order == "rank":
        return by_rank
    documents = list(dict.fromkeys(group.hits[0].chunk.document_id for group in by_rank))
    place = {document_id: index for index, document_id in enumerate(documents)}
    return sorted(by_rank, key=lambda group: (place[group.hits[0].chunk.document_id], group.runs[0].start))


def _passage(group: _Group, number: int) -> Passage:
    best = group.hits[0]
    if len(group.hits) == 1 and not best.chunk.context:
        return Passage(number=number, hit=best)
    heading_path = best.chunk.heading_path
    for hit in group.hits:
        heading_path = _common(heading_path, hit.chunk.heading_path)
    handed = replace(
        best.chunk,
        text=_text(group.runs),
        start=group.runs[0].start,
        end=group.runs[-1].end,
        heading_path=heading_path,
        locator=joined_locator([hit.chunk.locator for hit in group.hits]),
        n_tokens=group.n_tokens,
        context="",
        context_start=0,
        n_context_tokens=0,
    )
    quotes = tuple(Quote(start=run.start, end=run.end, text=run.text) for run in group.runs)
    return Passage(
        number=number,
        hit=replace(best, chunk=handed),
        hits=group.hits,
        quotes=quotes if len(quotes) > 1 else (),
    )


def joined_locator(locators: Sequence[str]) -> str:
    """From the first to the last of what they name ("lines 3-9", "page 4"); the best hit's when kinds differ."""
    found = [_LOCATOR.fullmatch(locator) for locator in locators]
    places = [match for match in found if match is not None]
    if len(places) < len(found) or len({match["unit"] for match in places}) > 1:
        return locators[0]
    first = min(int(match["first"]) for match in places)
    last = max(int(match["last"] or match["first"]) for match in places)
    unit = places[0]["unit"]
    return f"{unit} {first}" if first == last else f"{unit}s {first}-{last}"
