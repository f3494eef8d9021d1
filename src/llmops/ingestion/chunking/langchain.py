"""A text splitter of LangChain over the whole text, its pieces found again as spans of the document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from llmops.errors import ConfigurationError, DocumentError, MissingExtraError
from llmops.ingestion.chunking.spec import LangchainSpec
from llmops.ingestion.chunking.units import Span, TokenCounter, Unit
from llmops.ingestion.chunking.windows import PathsInForce, from_spans, gaps
from llmops.records import Document


def langchain(document: Document, spec: LangchainSpec, counter: TokenCounter) -> list[Unit]:
    """What the splitter cuts, under the headings where each piece begins.

    Separators that it drops between two pieces stay with the piece before.

    Raises:
        MissingExtraError: `langchain-text-splitters` is not installed.
        ConfigurationError: the splitter refuses its parameters.
        DocumentError: the splitter changes the text, so that its pieces have no place in the document.
    """
    room = PathsInForce(document, counter).least_room
    try:
        pieces = _splitter(spec, counter, room).split_text(document.text)
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise ConfigurationError(
            f"{spec.splitter} refuses chunk.parameters {spec.parameters!r} ({error}); see LangChain's reference"
        ) from error
    spans = located(pieces, document.text)
    if spans is None:
        raise DocumentError(
            f"{spec.splitter} with chunk.parameters {spec.parameters!r} changes the text of {document.uri!r}, so "
            "that its pieces cannot be cited; choose parameters that only cut"
        )
    return from_spans(document, spans, counter)


def _splitter(spec: LangchainSpec, counter: TokenCounter, room: int) -> Any:
    try:
        import langchain_text_splitters as splitters
    except ImportError as error:
        raise MissingExtraError("langchain-text-splitters", "langchain") from error
    parameters = dict(spec.parameters)
    if spec.unit == "tokens":
        # LangChain measures single pieces again and again.
        parameters["length_function"] = cache(lambda text: counter.texts([text])[0])
        parameters.setdefault("chunk_size", room)
        parameters.setdefault("chunk_overlap", 0)
    kind = getattr(splitters, spec.splitter)
    if spec.language:
        return kind.from_language(splitters.Language(spec.language), **parameters)
    return kind(**parameters)


def located(pieces: Sequence[str], text: str) -> list[Span] | None:
    """Spans of the pieces in order, each with what is dropped behind it; None when a piece is no part of the text.

    A repeated text fits in several places: first each piece is sought where the one before ends, and if one is
    then not found, each as early as it may be, which finds every piece of a splitter that only cuts.
    """
    spans = _sought(pieces, text, is_early=False)
    spans = _sought(pieces, text, is_early=True) if spans is None else spans
    if spans is None:
        return None
    missing = dict(gaps(spans, text))
    if not spans or 0 in missing:  # the text begins with what was dropped
        spans = [(0, missing.pop(0, 0)), *spans]
    covered: list[Span] = []
    reach = 0
    for start, end in dict.fromkeys(spans):
        reach = max(reach, end)
        covered.append((start, missing.pop(reach, end)))
    return covered


def _sought(pieces: Sequence[str], text: str, *, is_early: bool) -> list[Span] | None:
    spans: list[Span] = []
    earliest = end = 0
    for piece in pieces:
        latest = end
        while latest < len(text) and text[latest].isspace() and not piece[:1].isspace():
            latest += 1
        at = -1 if is_early else text.rfind(piece, earliest, latest + len(piece))
        at = text.find(piece, earliest) if at < 0 else at
        if at < 0:
            return None
        spans.append((at, at + len(piece)))
        earliest, end = at, max(end, at + len(piece))
    return spans
