"""Documents into chunks: structure first, and never more than the encoder reads.

Word pieces are counted once for each block and heading path. Counts of texts that are cut at white space add up,
so packing needs no further counting; a last count of every finished chunk holds the limit whatever the tokenizer.
"""

from __future__ import annotations

import re
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from llmops.records import Block, Chunk, Document, embedded_text
from llmops.tokens import sentence_spans

CountTokens = Callable[[Sequence[str]], list[int]]
Path = tuple[str, ...]
Span = tuple[int, int]

_NAMESPACE = uuid.UUID("5a1f3c52-2d53-5d0e-8f0b-7d1c5b7f2a44")
_WORD = re.compile(r"\S+")
_LINE = re.compile(r"[^\n]*\S[^\n]*")
_CHARACTERS_A_TOKEN = 4  # a character is at most a few pieces, even after decomposition


@dataclass(frozen=True, slots=True)
class _Unit:
    """A stretch of the document that is packed whole; `n_tokens` without special tokens."""

    start: int
    end: int
    n_tokens: int
    path: Path
    blocks: tuple[Block, ...]


def chunk(
    document: Document, *, count_tokens: CountTokens, max_tokens: int = 200, min_tokens: int = 40
) -> list[Chunk]:
    """Passages in reading order.

    Args:
        count_tokens: word pieces of texts, special tokens included.
        max_tokens: limit of a chunk's `embedded_text` (headings and passage), never exceeded.
        min_tokens: sections smaller than this join a neighbour under the same parent.

    Returns:
        Chunks whose spans are ordered and disjoint and cover every word of the document's content.
    """
    counter = _Counter(document, count_tokens, max_tokens)
    units = _units(document, counter)
    packed = _join_small(_pack(units, counter), counter, min_tokens)
    return _finish(document, packed, counter)


class _Counter:
    """Token counts, and the room that a heading path leaves."""

    def __init__(self, document: Document, count_tokens: CountTokens, max_tokens: int) -> None:
        self.text = document.text
        self._blocks = document.blocks
        self._starts = [block.start for block in document.blocks]
        self.count_tokens, self.max_tokens = count_tokens, max_tokens
        self._n_special = count_tokens([""])[0]
        self._paths: dict[Path, int] = {}

    def heading_before(self, position: int) -> Block | None:
        """The heading right above this position, when nothing stands between."""
        index = bisect_left(self._starts, position) - 1
        block = self._blocks[index] if index >= 0 else None
        return block if block is not None and block.kind == "heading" else None

    def spans(self, spans: Sequence[Span]) -> list[int]:
        counts = self.count_tokens([self.text[start:end] for start, end in spans]) if spans else []
        return [n - self._n_special for n in counts]

    def texts(self, texts: Sequence[str]) -> list[int]:
        return [n - self._n_special for n in self.count_tokens(texts)] if texts else []

    def room(self, path: Path) -> int:
        """Tokens left for text under this path."""
        if path not in self._paths:
            self._paths[path] = self.texts([" > ".join(path)])[0] if path else 0
        return self.max_tokens - self._n_special - self._paths[path]

    def learn(self, paths: Iterable[Path]) -> None:
        """Count many paths at once."""
        new = [path for path in dict.fromkeys(paths) if path and path not in self._paths]
        self._paths.update(zip(new, self.texts([" > ".join(path) for path in new]), strict=True))

    def fitting(self, path: Path) -> Path:
        """The path, shortened from the outside in until it takes at most half of a chunk."""
        half = self.max_tokens // 2
        while len(path) > 1 and self.max_tokens - self._n_special - self.room(path) > half:
            path = path[1:]
        while path and self.max_tokens - self._n_special - self.room(path) > half:
            words = path[0].split()
            shorter = " ".join(words[: len(words) // 2]) if len(words) > 1 else path[0][: len(path[0]) // 2]
            path = (shorter,) if shorter else ()
        return path


def _units(document: Document, counter: _Counter) -> list[_Unit]:
    """Content blocks with their heading paths; blocks too large for a chunk in parts."""
    placed = _placed(document)
    counter.learn(path for _, path in placed)
    fitting = {path: counter.fitting(path) for path in {path for _, path in placed}}
    counts = counter.spans([(block.start, block.end) for block, _ in placed])
    units: list[_Unit] = []
    for (block, long_path), n_tokens in zip(placed, counts, strict=True):
        path = fitting[long_path]
        if n_tokens <= counter.room(path):
            units.append(_Unit(block.start, block.end, n_tokens, path, (block,)))
        else:
            parts = _split((block.start, block.end), counter.room(path), counter)
            units += [_Unit(start, end, n, path, (block,)) for (start, end), n in parts]
    return units


def _placed(document: Document) -> list[tuple[Block, Path]]:
    """Blocks to be packed, each with the headings above it; a heading over nothing is content itself."""
    placed: list[tuple[Block, Path]] = []
    stack: list[Block] = []
    waiting: Block | None = None
    text = document.text

    def path(headings: Sequence[Block]) -> Path:
        names = tuple(text[h.start : h.end] for h in headings)
        title = () if names and _same(names[0], document.title) else (document.title,)
        return tuple(name for name in (*title, *names) if name)

    for block in document.blocks:
        if not text[block.start : block.end].strip():
            continue
        if block.kind != "heading":
            placed.append((block, path(stack)))
            waiting = None
            continue
        if waiting is not None and block.level <= waiting.level:
            placed.append((waiting, path([h for h in stack if h is not waiting])))
        while stack and stack[-1].level >= block.level:
            stack.pop()
        stack.append(block)
        waiting = block
    if waiting is not None:
        placed.append((waiting, path([h for h in stack if h is not waiting])))
    return placed


def _same(first: str, second: str) -> bool:
    return first.casefold().split() == second.casefold().split()


def _split(span: Span, room: int, counter: _Counter) -> list[tuple[Span, int]]:
    """Parts of at most `room` tokens: at lines, else sentences, else words, else characters."""
    start, end = span
    text = counter.text[start:end]
    for cut in (_lines, sentence_spans, _words, _runs(max(1, room // _CHARACTERS_A_TOKEN))):
        pieces = [(start + a, start + b) for a, b in cut(text)]
        if len(pieces) > 1:
            break
    else:
        return [(span, counter.spans([span])[0])]
    parts: list[tuple[Span, int]] = []
    open_part: Span | None = None
    n_open = 0
    for piece, n in zip(pieces, counter.spans(pieces), strict=True):
        if n > room:
            if open_part is not None:
                parts.append((open_part, n_open))
                open_part = None
            parts += _split(piece, room, counter)
        elif open_part is not None and n_open + n <= room:
            open_part, n_open = (open_part[0], piece[1]), n_open + n
        else:
            if open_part is not None:
                parts.append((open_part, n_open))
            open_part, n_open = piece, n
    if open_part is not None:
        parts.append((open_part, n_open))
    return parts


def _lines(text: str) -> list[Span]:
    return [match.span() for match in _LINE.finditer(text)]


def _words(text: str) -> list[Span]:
    return [match.span() for match in _WORD.finditer(text)]


def _runs(length: int) -> Callable[[str], list[Span]]:
    return lambda text: [(i, min(i + length, len(text))) for i in range(0, len(text), length)]


def _pack(units: Sequence[_Unit], counter: _Counter) -> list[_Unit]:
    """Whole blocks of one section together, as many as fit."""
    packed: list[_Unit] = []
    for unit in units:
        last = packed[-1] if packed else None
        if (
            last is not None
            and last.path == unit.path
            and last.n_tokens + unit.n_tokens <= counter.room(unit.path)
        ):
            packed[-1] = _joined(last, unit, unit.path, last.n_tokens + unit.n_tokens)
        else:
            packed.append(unit)
    return packed


def _join_small(packed: Sequence[_Unit], counter: _Counter, min_tokens: int) -> list[_Unit]:
    """Sections of a few words join the section after them, or the one before, under their common headings."""
    joined: list[_Unit] = []
    for unit in packed:
        last = joined[-1] if joined else None
        both = None
        if last is not None and min(last.n_tokens, unit.n_tokens) < min_tokens:
            both = _together(last, unit, counter)
        if both is not None:
            joined[-1] = both
        else:
            joined.append(unit)
    return joined


def _together(first: _Unit, second: _Unit, counter: _Counter) -> _Unit | None:
    """Both as one, with the headings between them in the text; None when they are no neighbours or too much."""
    common = 0
    while common < min(len(first.path), len(second.path)) and first.path[common] == second.path[common]:
        common += 1
    path = first.path[:common]
    is_related = common >= max(len(first.path), len(second.path)) - 1 and (
        common > 0 or not (first.path or second.path)
    )
    if not is_related:
        return None
    # A heading that leaves the path of the first must stay readable: take it into the text.
    start = first.start
    if len(first.path) > common:
        heading = counter.heading_before(first.start)
        if heading is None or counter.text[heading.start : heading.end] != first.path[-1]:
            return None
        start = heading.start
    n_tokens = counter.spans([(start, second.end)])[0]
    if n_tokens > counter.room(path):
        return None
    return _Unit(start, second.end, n_tokens, path, (*first.blocks, *second.blocks))


def _joined(first: _Unit, second: _Unit, path: Path, n_tokens: int) -> _Unit:
    return _Unit(first.start, second.end, n_tokens, path, (*first.blocks, *second.blocks))


def _finish(document: Document, units: Sequence[_Unit], counter: _Counter) -> list[Chunk]:
    """Chunks with ids and locators, each counted once more in its final form."""
    texts = [embedded_text(unit.path, document.text[unit.start : unit.end]) for unit in units]
    counted: list[tuple[_Unit, int]] = []
    for unit, n_tokens in zip(units, counter.count_tokens(texts) if texts else [], strict=True):
        counted += [(unit, n_tokens)] if n_tokens <= counter.max_tokens else _halved(unit, document, counter)
    seen: Counter[tuple[Path, str]] = Counter()
    chunks: list[Chunk] = []
    for ordinal, (unit, n_tokens) in enumerate(counted):
        text = document.text[unit.start : unit.end]
        occurrence = seen[(unit.path, text)]
        seen[(unit.path, text)] += 1
        name = "\x1f".join([document.document_id, *unit.path, text, str(occurrence)])
        chunks.append(
            Chunk(
                chunk_id=str(uuid.uuid5(_NAMESPACE, name)),
                document_id=document.document_id,
                uri=document.uri,
                title=document.title,
                ordinal=ordinal,
                text=text,
                start=unit.start,
                end=unit.end,
                heading_path=unit.path,
                locator=_locator(unit.blocks),
                n_tokens=n_tokens,
                acl=document.acl,
                metadata=document.metadata,
            )
        )
    return chunks


def _halved(unit: _Unit, document: Document, counter: _Counter) -> list[tuple[_Unit, int]]:
    """Halves of a unit until each fits: for tokenizers whose counts do not add up."""
    text = document.text[unit.start : unit.end]
    n_tokens = counter.count_tokens([embedded_text(unit.path, text)])[0]
    if n_tokens <= counter.max_tokens or len(text) < 2:
        return [(unit, n_tokens)]
    blanks = [match.start() for match in re.finditer(r"\s", text)]
    middle = min(blanks, key=lambda at: abs(at - len(text) // 2)) if blanks else len(text) // 2
    halves = [(unit.start, unit.start + middle), (unit.start + middle, unit.end)]
    trimmed = [_trimmed(half, document.text) for half in halves]
    if not all(start < end for start, end in trimmed):
        return [(unit, n_tokens)]
    parts = [replace(unit, start=start, end=end) for start, end in trimmed]
    return [part for half in parts for part in _halved(half, document, counter)]


def _trimmed(span: Span, text: str) -> Span:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _locator(blocks: Sequence[Block]) -> str:
    pages = [block.page for block in blocks if block.page is not None]
    if pages:
        return f"page {pages[0]}" if pages[0] == pages[-1] else f"pages {pages[0]}-{pages[-1]}"
    first = [block.first_line for block in blocks if block.first_line is not None]
    last = [block.last_line for block in blocks if block.last_line is not None]
    if not first or not last:
        return ""
    return f"line {first[0]}" if first[0] == last[-1] else f"lines {min(first)}-{max(last)}"
