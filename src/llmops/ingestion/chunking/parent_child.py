"""Search small, hand over large: children are embedded, and their parent is what a model reads."""

from __future__ import annotations

from llmops.ingestion.chunking.cuts import leaves, lines, packed
from llmops.ingestion.chunking.spec import ParentChildSpec
from llmops.ingestion.chunking.structure import sections
from llmops.ingestion.chunking.units import TokenCounter, Unit, within_limit
from llmops.records import Document


def parent_child(document: Document, spec: ParentChildSpec, counter: TokenCounter) -> list[Unit]:
    """Parents by structure of at most `parent_tokens` under their headings, cut into children at lines, else
    sentences; a parent that is small enough is its own child."""
    parents = TokenCounter(document, counter.count_tokens, spec.parent_tokens)
    packed_sections = sections(document, parents, spec.min_tokens)
    texts = [document.text[unit.start : unit.end] for unit in packed_sections]
    children: list[Unit] = []
    for section, n_tokens in zip(packed_sections, counter.count_tokens(texts) if texts else [], strict=True):
        if n_tokens <= spec.parent_tokens:
            children += _children(section, n_tokens, counter)
            continue
        for parent, _ in within_limit([section], parents):  # counts of this tokenizer do not add up
            n_parent = counter.count_tokens([document.text[parent.start : parent.end]])[0]
            children += _children(parent, n_parent, counter)
    return children


def _children(parent: Unit, n_tokens: int, counter: TokenCounter) -> list[Unit]:
    """The parent in parts; `n_tokens` are the parent's, special tokens included."""
    path = counter.fitting(parent.path)
    room = counter.room(path)
    around = (parent.start, parent.end)
    if n_tokens - counter.n_special <= room:
        pieces = [(around, n_tokens - counter.n_special)]
    else:
        text = counter.text[parent.start : parent.end]
        own = [(parent.start + start, parent.start + end) for start, end in lines(text)]
        pieces = packed(leaves(own, room, counter), room)
    return [
        Unit(*span, n, path, counter.blocks_in(span), context=around, n_context_tokens=n_tokens)
        for span, n in pieces
    ]
