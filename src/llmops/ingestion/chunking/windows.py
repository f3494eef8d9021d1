"""Windows of one size over the whole text; and spans that someone else has cut, made into units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmops.ingestion.chunking.cuts import leaves, split, words
from llmops.ingestion.chunking.spec import FixedSpec
from llmops.ingestion.chunking.units import Path, Span, TokenCounter, Unit, headings_above, trimmed
from llmops.records import Document


class PathsInForce:
    """The heading path at a position, shortened to fit into a chunk; headings themselves stand in the text."""

    def __init__(self, document: Document, counter: TokenCounter) -> None:
        above = headings_above(document)
        counter.learn(above)
        self._counter = counter
        self._title = counter.fitting((document.title,) if document.title else ())
        fitting = {path: counter.fitting(path) for path in set(above)}
        self._paths = [fitting[path] for path in above]

    def at(self, position: int) -> Path:
        return self._paths[self._counter.block_at(position)] if self._paths else self._title

    @property
    def least_room(self) -> int:
        """Tokens left for text under the longest of the paths."""
        return min(self._counter.room(path) for path in [*self._paths, self._title])


def fixed(document: Document, spec: FixedSpec, counter: TokenCounter) -> list[Unit]:
    """Windows of as many words as fit; each begins with the last `overlap_tokens` of the one before.

    A word that is too long for a chunk is cut.
    """
    paths = PathsInForce(document, counter)
    pieces = _counted_words(document.text, paths.least_room, counter)
    units: list[Unit] = []
    start = n_covered = 0
    while n_covered < len(pieces):
        path = paths.at(pieces[start][0][0])
        end, n_tokens = _filled(pieces, start, counter.room(path))
        if end <= n_covered:  # under longer headings there is room for the overlap alone
            start += 1
            continue
        span = (pieces[start][0][0], pieces[end - 1][0][1])
        units.append(Unit(*span, n_tokens, path, counter.blocks_in(span)))
        n_covered, start = end, _stepped_back(pieces, start, end, spec.overlap_tokens)
    return units


def _filled(pieces: Sequence[tuple[Span, int]], start: int, room: int) -> tuple[int, int]:
    """Where a window from `start` ends, and its tokens."""
    end, n_tokens = start, 0
    while end < len(pieces) and (end == start or n_tokens + pieces[end][1] <= room):
        n_tokens += pieces[end][1]
        end += 1
    return end, n_tokens


def _stepped_back(pieces: Sequence[tuple[Span, int]], start: int, end: int, overlap: int) -> int:
    """Where the next window starts: at most `overlap` tokens before this one's end, and after its start."""
    at, n_tokens = end, 0
    while at - 1 > start and n_tokens + pieces[at - 1][1] <= overlap:
        at -= 1
        n_tokens += pieces[at][1]
    return at


def _counted_words(text: str, room: int, counter: TokenCounter) -> list[tuple[Span, int]]:
    """Words with their tokens, each different one counted once; none of more than `room`."""
    spans = words(text)
    unique = list(dict.fromkeys(text[start:end] for start, end in spans))
    n_tokens = dict(zip(unique, counter.texts(unique), strict=True))
    pieces: list[tuple[Span, int]] = []
    for start, end in spans:
        n = n_tokens[text[start:end]]
        pieces += [((start, end), n)] if n <= room else leaves([(start, end)], room, counter)
    return pieces


def from_spans(document: Document, spans: Iterable[Span], counter: TokenCounter) -> list[Unit]:
    """Units of spans that are ordered by their start; those too long for a chunk in parts."""
    paths = PathsInForce(document, counter)
    stripped = [span for raw in spans if (span := trimmed(raw, document.text))[0] < span[1]]
    units: list[Unit] = []
    waiting = list(zip(stripped, counter.spans(stripped), strict=True))[::-1]
    while waiting:
        span, n_tokens = waiting.pop()
        path = paths.at(span[0])
        parts = split(span, counter.room(path), counter) if n_tokens > counter.room(path) else []
        if len(parts) > 1:
            waiting += reversed(parts)  # each under the headings where it begins
        else:
            units.append(Unit(*span, n_tokens, path, counter.blocks_in(span)))
    return units


def gaps(spans: Iterable[Span], text: str) -> list[Span]:
    """Stretches of the text that no span covers and that are not blank; the spans are ordered by their start."""
    found: list[Span] = []
    covered = 0
    for start, end in [*spans, (len(text), len(text))]:
        if start > covered and not text[covered:start].isspace():
            found.append((covered, start))
        covered = max(covered, end)
    return found
