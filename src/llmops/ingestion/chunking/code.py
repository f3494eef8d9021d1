"""Code by definition; all else by structure.

A parser of source code gives every top-level definition a heading of its own, so that a definition that fits is a
chunk under its name. What is cut here is one that does not fit: at the definitions inside it, else at blank lines,
else at lines. Small neighbours join as small sections do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmops.ingestion.chunking.cuts import lines, split, words
from llmops.ingestion.chunking.source_lines import SourceLines
from llmops.ingestion.chunking.spec import CodeSpec
from llmops.ingestion.chunking.structure import fitting_paths, in_parts, joined_small, pack
from llmops.ingestion.chunking.units import Path, Span, TokenCounter, Unit, placed
from llmops.records import Block, Document

_MODIFIERS = r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|inline|virtual|\
override|unsafe|pub(?:\([a-z]+\))?)\s+)*".replace("\\\n", "")
_KEYWORDS = "def|class|function|func|fn|fun|impl|trait|struct|enum|interface|module|namespace|type|sub|proc|object"
_DEFINITION = re.compile(
    rf"(?P<indent>[ \t]*)(?:{_MODIFIERS}(?:{_KEYWORDS})\b|(?:public|private|protected|static)\s[^;={{}}]*\()"
)
_LEADING = re.compile(r"[ \t]*(?:@|#(?!include)|//|/\*|\*|--)")
_FENCE = re.compile(r"`{3,}\s*")


def code(document: Document, spec: CodeSpec, counter: TokenCounter) -> list[Unit]:
    """Definitions under their headings; those too long for a chunk by the definitions inside them."""
    blocks = placed(document)
    fitting = fitting_paths(blocks, counter)
    counts = counter.spans([(block.start, block.end) for block, _ in blocks])
    units: list[Unit] = []
    for (block, path), n_tokens in zip(blocks, counts, strict=True):
        if block.kind == "code" and n_tokens > counter.room(fitting[path]):
            units += _parts(block, fitting[path], document, counter)
        else:
            units += in_parts(block, fitting[path], n_tokens, counter)
    return joined_small(pack(units, counter), counter, spec.min_tokens)


def _parts(block: Block, path: Path, document: Document, counter: TokenCounter) -> list[Unit]:
    parts = split((block.start, block.end), counter.room(path), counter, _CUTS)
    source = SourceLines(block, document)
    return [Unit(*span, n, path, (source.narrowed(span),)) for span, n in parts]


def definitions(text: str) -> list[Span]:
    """Code cut before each of its outermost inner definitions, with the decorators and comments right above.

    >>> text = "class A:\\n    x = 1\\n\\n    @cached\\n    def f(self): ...\\n    def g(self): ..."
    >>> [text[start:end].split()[0] for start, end in definitions(text)]
    ['class', '@cached', 'def']
    """
    rows = lines(text)
    found = [
        (index, len(match["indent"].expandtabs(4)))
        for index, (start, end) in enumerate(rows)
        if (match := _DEFINITION.match(text, start, end))
    ]
    inner = [(index, indent) for index, indent in found if index > found[0][0]]
    outermost = min((indent for _, indent in inner), default=0)
    firsts = [_first_line(index, rows, text) for index, indent in inner if indent == outermost]
    return _cut_before(firsts, rows, text)


def paragraphs(text: str) -> list[Span]:
    """Code cut at blank lines."""
    rows = lines(text)
    firsts = [
        index for index, (start, _) in enumerate(rows) if index and text.count("\n", rows[index - 1][1], start) > 1
    ]
    return _cut_before(firsts, rows, text)


def code_lines(text: str) -> list[Span]:
    """Lines of code; a fence goes with the line it opens or closes."""
    rows = lines(text)
    return _cut_before(range(1, len(rows)), rows, text)


def _first_line(index: int, rows: Sequence[Span], text: str) -> int:
    """The first of the lines right above a definition that belong to it."""
    while (
        index > 1
        and _LEADING.match(text, *rows[index - 1])
        and text.count("\n", rows[index - 1][1], rows[index][0]) == 1
    ):
        index -= 1
    return index


def _cut_before(firsts: Sequence[int], rows: Sequence[Span], text: str) -> list[Span]:
    """Pieces that begin with these lines, but none that is a fence alone."""
    fences = {index for index, row in enumerate(rows) if _FENCE.fullmatch(text, *row)}
    begins = [0, *(index for index in firsts if index and not (index == len(rows) - 1 and index in fences))]
    if len(begins) > 1 and begins[1] == 1 and 0 in fences:
        del begins[1]
    ends = [*begins[1:], len(rows)]
    return [(rows[begin][0], rows[end - 1][1]) for begin, end in zip(begins, ends, strict=True)] if rows else []


_CUTS = (definitions, paragraphs, code_lines, words)
