"""What all strategies build chunks from: stretches of a document under their headings, counted and within a limit.

Word pieces are counted once for each block and heading path. Counts of texts that are cut at white space add up,
so packing needs no further counting; a last count of every finished chunk holds the limit whatever the tokenizer.
"""

from __future__ import annotations

import re
import uuid
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from llmops.records import Block, Chunk, Document, embedded_text

CountTokens = Callable[[Sequence[str]], list[int]]
Path = tuple[str, ...]
Span = tuple[int, int]

_NAMESPACE = uuid.UUID("5a1f3c52-2d53-5d0e-8f0b-7d1c5b7f2a44")


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of the document that becomes a chunk, or a part of one.

    Attributes:
        n_tokens: of the text alone, without special tokens; estimated where parts were added up.
        blocks: those it touches, in order; they say on which lines and pages it stands.
        is_closed: never joined with a neighbour.
        context: span of the larger passage that is handed over instead, or None.
        n_context_tokens: of the context, special tokens included.
    """

    start: int
    end: int
    n_tokens: int
    path: Path
    blocks: tuple[Block, ...]
    is_closed: bool = False
    context: Span | None = None
    n_context_tokens: int = 0


class TokenCounter:
    """Token counts, and the room that a heading path leaves within a limit."""

    def __init__(self, document: Document, count_tokens: CountTokens, max_tokens: int) -> None:
        self.text = document.text
        self._blocks = document.blocks
        self._starts = [block.start for block in document.blocks]
        self.count_tokens, self.max_tokens = count_tokens, max_tokens
        self.n_special = count_tokens([""])[0]
        self._paths: dict[Path, int] = {}

    def heading_before(self, position: int) -> Block | None:
        """The heading right above this position, when nothing stands between."""
        index = bisect_left(self._starts, position) - 1
        block = self._blocks[index] if index >= 0 else None
        return block if block is not None and block.kind == "heading" else None

    def block_at(self, position: int) -> int:
        """Index of the last block that begins at or before this position; 0 before the first."""
        return max(0, bisect_right(self._starts, position) - 1)

    def blocks_in(self, span: Span) -> tuple[Block, ...]:
        """The blocks that a span touches."""
        start, end = span
        touched = self._blocks[self.block_at(start) : bisect_left(self._starts, end)]
        return tuple(block for block in touched if block.end > start)

    def spans(self, spans: Sequence[Span]) -> list[int]:
        counts = self.count_tokens([self.text[start:end] for start, end in spans]) if spans else []
        return [n - self.n_special for n in counts]

    def texts(self, texts: Sequence[str]) -> list[int]:
        return [n - self.n_special for n in self.count_tokens(texts)] if texts else []

    def room(self, path: Path) -> int:
        """Tokens left for text under this path."""
        if path not in self._paths:
            self._paths[path] = self.texts([" > ".join(path)])[0] if path else 0
        return self.max_tokens - self.n_special - self._paths[path]

    def learn(self, paths: Iterable[Path]) -> None:
        """Count many paths at once."""
        new = [path for path in dict.fromkeys(paths) if path and path not in self._paths]
        self._paths.update(zip(new, self.texts([" > ".join(path) for path in new]), strict=True))

    def fitting(self, path: Path) -> Path:
        """The path, shortened from the outside in until it takes at most half of a chunk."""
        half = self.max_tokens // 2
        while len(path) > 1 and self.max_tokens - self.n_special - self.room(path) > half:
            path = path[1:]
        while path and self.max_tokens - self.n_special - self.room(path) > half:
            words = path[0].split()
            shorter = " ".join(words[: len(words) // 2]) if len(words) > 1 else path[0][: len(path[0]) // 2]
            path = (shorter,) if shorter else ()
        return path


def headings_above(document: Document) -> list[Path]:
    """For each block the headings above it, the document's title first unless it is the first heading."""
    above: list[Path] = []
    stack: list[Block] = []
    text = document.text

    def path() -> Path:
        names = tuple(text[h.start : h.end] for h in stack)
        title = () if names and _same(names[0], document.title) else (document.title,)
        return tuple(name for name in (*title, *names) if name)

    for block in document.blocks:
        is_heading = block.kind == "heading" and bool(text[block.start : block.end].strip())
        while is_heading and stack and stack[-1].level >= block.level:
            stack.pop()
        above.append(path())
        if is_heading:
            stack.append(block)
    return above


def placed(document: Document) -> list[tuple[Block, Path]]:
    """Blocks to be packed, each with the headings above it; a heading over nothing is content itself."""
    found: list[tuple[Block, Path]] = []
    waiting: tuple[Block, Path] | None = None
    for block, path in zip(document.blocks, headings_above(document), strict=True):
        if not document.text[block.start : block.end].strip():
            continue
        if block.kind != "heading":
            found.append((block, path))
            waiting = None
            continue
        if waiting is not None and block.level <= waiting[0].level:
            found.append(waiting)
        waiting = (block, path)
    if waiting is not None:
        found.append(waiting)
    return found


def _same(first: str, second: str) -> bool:
    return first.casefold().split() == second.casefold().split()


def finish(document: Document, units: Sequence[Unit], counter: TokenCounter) -> list[Chunk]:
    """Chunks with ids and locators, each counted once more in its final form."""
    ordered = sorted(within_limit(units, counter), key=lambda counted: counted[0].start)
    seen: Counter[tuple[Path, str]] = Counter()
    chunks: list[Chunk] = []
    for ordinal, (unit, n_tokens) in enumerate(ordered):
        text = document.text[unit.start : unit.end]
        occurrence = seen[(unit.path, text)]
        seen[(unit.path, text)] += 1
        name = "\x1f".join([document.document_id, *unit.path, text, str(occurrence)])
        context = unit.context if unit.context not in (None, (unit.start, unit.end)) else None
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
                tenant=document.tenant,
                url=document.url,
                context=document.text[context[0] : context[1]] if context else "",
                context_start=context[0] if context else 0,
                n_context_tokens=unit.n_context_tokens if context else 0,
            )
        )
    return chunks


def within_limit(units: Sequence[Unit], counter: TokenCounter) -> list[tuple[Unit, int]]:
    """Units with the tokens of their embedded text, special tokens included; those over the limit in parts."""
    texts = [embedded_text(unit.path, counter.text[unit.start : unit.end]) for unit in units]
    counted: list[tuple[Unit, int]] = []
    for unit, n_tokens in zip(units, counter.count_tokens(texts) if texts else [], strict=True):
        counted += [(unit, n_tokens)] if n_tokens <= counter.max_tokens else _halved(unit, counter)
    return counted


def _halved(unit: Unit, counter: TokenCounter) -> list[tuple[Unit, int]]:
    """Halves of a unit until each fits: for tokenizers whose counts do not add up."""
    text = counter.text[unit.start : unit.end]
    n_tokens = counter.count_tokens([embedded_text(unit.path, text)])[0]
    if n_tokens <= counter.max_tokens or len(text) < 2:
        return [(unit, n_tokens)]
    blanks = [match.start() for match in re.finditer(r"\s", text)]
    middle = min(blanks, key=lambda at: abs(at - len(text) // 2)) if blanks else len(text) // 2
    halves = [(unit.start, unit.start + middle), (unit.start + middle, unit.end)]
    stripped = [trimmed(half, counter.text) for half in halves]
    if not all(start < end for start, end in stripped):
        return [(unit, n_tokens)]
    parts = [replace(unit, start=start, end=end) for start, end in stripped]
    return [part for half in parts for part in _halved(half, counter)]


def trimmed(span: Span, text: str) -> Span:
    """The span without white space around it."""
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
