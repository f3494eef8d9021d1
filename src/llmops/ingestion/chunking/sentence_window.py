"""Search by sentence, hand over the sentences around."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from llmops.ingestion.chunking.cuts import leaves, lines
from llmops.ingestion.chunking.spec import SentenceWindowSpec
from llmops.ingestion.chunking.structure import fitting_paths
from llmops.ingestion.chunking.units import Path, Span, TokenCounter, Unit, placed
from llmops.records import Block, Document
from llmops.tokens import sentence_spans


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence, a table's row, a block of code, or a part of one that is too long for a chunk."""

    span: Span
    n_tokens: int
    path: Path
    block: Block
    section: int


def sentence_window(document: Document, spec: SentenceWindowSpec, counter: TokenCounter) -> list[Unit]:
    """Chunks of at most `sentences` sentences of one section, each with up to `window` more on both sides."""
    units: list[Unit] = []
    for _, section in groupby(_sentences(document, counter), key=lambda sentence: sentence.section):
        sentences = list(section)
        groups = _groups(sentences, spec.sentences, counter.room(sentences[0].path))
        units += _with_contexts(groups, sentences, spec, counter)
    return units


def _sentences(document: Document, counter: TokenCounter) -> list[_Sentence]:
    blocks = placed(document)
    fitting = fitting_paths(blocks, counter)
    headings = [block.start for block in document.blocks if block.kind == "heading"]
    found: list[_Sentence] = []
    for block, long_path in blocks:
        path, section = fitting[long_path], bisect_right(headings, block.start)
        pieces = leaves(_cut(block, document.text), counter.room(path), counter)
        found += [_Sentence(span, n, path, block, section) for span, n in pieces]
    return found


def _cut(block: Block, text: str) -> list[Span]:
    own = text[block.start : block.end]
    spans = lines(own) if block.kind == "table" else sentence_spans(own)
    if block.kind in ("code", "heading"):
        spans = [(0, len(own))]
    return [(block.start + start, block.start + end) for start, end in spans]


def _groups(sentences: Sequence[_Sentence], n_sentences: int, room: int) -> list[tuple[int, int]]:
    """Half-open ranges of the sentences that make one chunk each."""
    groups: list[tuple[int, int]] = []
    n_open = 0
    for index, sentence in enumerate(sentences):
        first = groups[-1][0] if groups else 0
        if groups and index - first < n_sentences and n_open + sentence.n_tokens <= room:
            groups[-1], n_open = (first, index + 1), n_open + sentence.n_tokens
        else:
            groups.append((index, index + 1))
            n_open = sentence.n_tokens
    return groups


def _with_contexts(
    groups: Sequence[tuple[int, int]],
    sentences: Sequence[_Sentence],
    spec: SentenceWindowSpec,
    counter: TokenCounter,
) -> list[Unit]:
    """A unit for each group; a context over its limit gives up its outermost sentences until it fits."""
    widest = [_widest(group, sentences, spec, counter) for group in groups]
    counts = counter.count_tokens([_text(window, sentences, counter) for window in widest])
    units: list[Unit] = []
    for (first, last), found, n_found in zip(groups, widest, counts, strict=True):
        window, n_context = found, n_found
        while n_context > spec.context_tokens and window != (first, last):
            left, right = window
            is_left = first - left >= right - last
            window = (left + 1, right) if is_left else (left, right - 1)
            n_context = counter.count_tokens([_text(window, sentences, counter)])[0]
        own = sentences[first:last]
        blocks = tuple(dict.fromkeys(sentence.block for sentence in own))
        units.append(
            replace(
                Unit(own[0].span[0], own[-1].span[1], sum(s.n_tokens for s in own), own[0].path, blocks),
                context=_span(window, sentences),
                n_context_tokens=n_context,
            )
        )
    return units


def _widest(
    group: tuple[int, int], sentences: Sequence[_Sentence], spec: SentenceWindowSpec, counter: TokenCounter
) -> tuple[int, int]:
    """The range grown by one sentence before and one after in turn, while there is room by added counts."""
    first, last = group
    n_tokens = counter.n_special + sum(sentence.n_tokens for sentence in sentences[first:last])
    for _ in range(spec.window):
        for step in (-1, 1):
            at = first - 1 if step < 0 else last
            if 0 <= at < len(sentences) and n_tokens + sentences[at].n_tokens <= spec.context_tokens:
                n_tokens += sentences[at].n_tokens
                first, last = (at, last) if step < 0 else (first, at + 1)
    return first, last


def _span(window: tuple[int, int], sentences: Sequence[_Sentence]) -> Span:
    return sentences[window[0]].span[0], sentences[window[1] - 1].span[1]


def _text(window: tuple[int, int], sentences: Sequence[_Sentence], counter: TokenCounter) -> str:
    start, end = _span(window, sentences)
    return counter.text[start:end]
