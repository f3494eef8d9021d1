"""By structure, the default: whole blocks of a section together, and never more than the encoder reads."""

from __future__ import annotations

from collections.abc import Sequence

from llmops.ingestion.chunking.cuts import split
from llmops.ingestion.chunking.units import CountTokens, Path, TokenCounter, Unit, finish, placed
from llmops.records import Block, Chunk, Document


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
    counter = TokenCounter(document, count_tokens, max_tokens)
    return finish(document, sections(document, counter, min_tokens), counter)


def sections(document: Document, counter: TokenCounter, min_tokens: int) -> list[Unit]:
    """The document packed by structure, within the counter's limit as far as counts add up."""
    return joined_small(pack(_units(document, counter), counter), counter, min_tokens)


def fitting_paths(blocks: Sequence[tuple[Block, Path]], counter: TokenCounter) -> dict[Path, Path]:
    """Each path as it fits into a chunk, counted all at once."""
    counter.learn(path for _, path in blocks)
    return {path: counter.fitting(path) for path in {path for _, path in blocks}}


def _units(document: Document, counter: TokenCounter) -> list[Unit]:
    """Content blocks with their heading paths; blocks too large for a chunk in parts."""
    blocks = placed(document)
    fitting = fitting_paths(blocks, counter)
    counts = counter.spans([(block.start, block.end) for block, _ in blocks])
    units: list[Unit] = []
    for (block, long_path), n_tokens in zip(blocks, counts, strict=True):
        units += in_parts(block, fitting[long_path], n_tokens, counter)
    return units


def in_parts(block: Block, path: Path, n_tokens: int, counter: TokenCounter) -> list[Unit]:
    """A block, or its parts when there is no room for it under the path."""
    if n_tokens <= counter.room(path):
        return [Unit(block.start, block.end, n_tokens, path, (block,))]
    parts = split((block.start, block.end), counter.room(path), counter)
    return [Unit(start, end, n, path, (block,)) for (start, end), n in parts]


def pack(units: Sequence[Unit], counter: TokenCounter) -> list[Unit]:
    """Whole blocks of one section together, as many as fit."""
    packed: list[Unit] = []
    for unit in units:
        last = packed[-1] if packed else None
        if (
            last is not None
            and not (last.is_closed or unit.is_closed)
            and last.path == unit.path
            and last.n_tokens + unit.n_tokens <= counter.room(unit.path)
        ):
            n_tokens = last.n_tokens + unit.n_tokens
            packed[-1] = Unit(last.start, unit.end, n_tokens, unit.path, (*last.blocks, *unit.blocks))
        else:
            packed.append(unit)
    return packed


def joined_small(packed: Sequence[Unit], counter: TokenCounter, min_tokens: int) -> list[Unit]:
    """Sections of a few words join the section after them, or the one before, under their common headings."""
    joined: list[Unit] = []
    for unit in packed:
        last = joined[-1] if joined else None
        both = None
        if (
            last is not None
            and not (last.is_closed or unit.is_closed)
            and min(last.n_tokens, unit.n_tokens) < min_tokens
        ):
            both = _together(last, unit, counter)
        if both is not None:
            joined[-1] = both
        else:
            joined.append(unit)
    return joined


def _together(first: Unit, second: Unit, counter: TokenCounter) -> Unit | None:
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
    return Unit(start, second.end, n_tokens, path, (*first.blocks, *second.blocks))
