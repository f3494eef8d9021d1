"""Source code: every definition under a heading with its qualified name, every line kept."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from llmops.ingestion.parsing.builder import Parsed, TextBuilder
from llmops.ingestion.parsing.media_types import media_type_of
from llmops.ingestion.parsing.plain import decode
from llmops.ingestion.parsing.source_outline import WHOLE_LINES, Piece, outline

_PYTHON = "text/x-python"
_REST = "module level"
_FILENAME = "<source code of a document>"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def parse_source_code(raw: bytes, uri: str) -> Parsed:
    """Definitions as code blocks with their lines; what stands between them is a block of its own.

    Python is read with its own grammar, other languages by their indentation and the words that open a definition.
    A Python module's docstring is prose, as is nothing else.
    """
    text = decode(raw).replace("\r\n", "\n").replace("\r", "\n")
    kind = media_type_of(uri, raw[:200]) or "text/plain"
    lines = text.split("\n")
    pieces = _python(text, lines) if kind == _PYTHON else None
    builder = TextBuilder()
    _add(pieces if pieces is not None else outline(lines, kind), lines, builder)
    return builder.build(uri=uri, media_type=kind, title=PurePosixPath(uri).name or uri)


def _add(pieces: Sequence[Piece], lines: Sequence[str], builder: TextBuilder) -> None:
    """Append code under its headings; loose code after a definition must not seem a part of it."""
    has_headings = False
    for piece in pieces:
        first, last = _trimmed(piece.first, piece.last, lines)
        if first > last:
            continue
        if piece.name or has_headings:
            rest = f"{piece.within}: other lines" if piece.within else _REST
            builder.add("heading", piece.name or rest, level=piece.level, lines=(first, first))
            has_headings = True
        text = "\n".join(lines[first - 1 : last])
        builder.add("paragraph" if piece.prose else "code", piece.prose or text, lines=(first, last))


def _trimmed(first: int, last: int, lines: Sequence[str]) -> tuple[int, int]:
    """Without blank lines at both ends; 1-based."""
    while first <= last and not lines[first - 1].strip():
        first += 1
    while last >= first and not lines[last - 1].strip():
        last -= 1
    return first, last


def _python(source: str, lines: Sequence[str]) -> list[Piece] | None:
    """Pieces of a Python module; None where it is not the Python of this interpreter."""
    # A stray backslash in a stranger's string is no concern of this process's log.
    warnings.filterwarnings("ignore", module=re.escape(_FILENAME))
    if "\f" in source:  # the grammar and an editor count lines with form feeds differently
        return None
    try:
        module = ast.parse(source, filename=_FILENAME)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    pieces: list[Piece] = []
    at = 1
    docstring = ast.get_docstring(module)
    end = (module.body[0].end_lineno or 1) if docstring else 0
    if docstring and all(node.lineno > end for node in module.body[1:2]):
        first = module.body[0].lineno
        pieces += [Piece(first=1, last=first - 1), Piece(first=first, last=end, prose=docstring)]
        at = end + 1
    return [*pieces, *_definitions(module.body, "", 1, (at, len(lines)), lines)]


def _definitions(
    body: Sequence[ast.stmt], prefix: str, level: int, span: tuple[int, int], lines: Sequence[str]
) -> Iterator[Piece]:
    """Definitions of a body and what stands between them, in order, covering all lines of the span."""
    at, end = span
    for node in body:
        if not isinstance(node, Definition):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        last = node.end_lineno or node.lineno
        while first - 1 >= at and lines[first - 2].lstrip().startswith("#"):  # a comment right above belongs to it
            first -= 1
        if first < at:  # two definitions on one line
            continue
        yield Piece(first=at, last=first - 1, level=level, within=prefix.rstrip("."))
        name = f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef) and last - first >= WHOLE_LINES:
            inner = list(_definitions(node.body, f"{name}.", level + 1, (first, last), lines))
            yield Piece(first=inner[0].first, last=inner[0].last, name=name, level=level)
            yield from inner[1:]
        else:
            yield Piece(first=first, last=last, name=name, level=level)
        at = last + 1
    yield Piece(first=at, last=end, level=level, within=prefix.rstrip("."))
