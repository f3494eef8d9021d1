"""Strategies of other packages: an entry point in the group `llmops.chunkers` that names a `Chunker`.

    [project.entry-points."llmops.chunkers"]
    by_clause = "contracts.chunking:by_clause"

It says where to cut; ids, headings, locators and the limit of a chunk are made here as for every other strategy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, Protocol

from llmops.errors import ConfigurationError, DocumentError
from llmops.ingestion.chunking.spec import CHUNKERS, PluginSpec
from llmops.ingestion.chunking.units import CountTokens, Span, TokenCounter, Unit
from llmops.ingestion.chunking.windows import from_spans, gaps
from llmops.records import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A passage that a chunker cuts: `document.text[start:end]`, and the span around it that is handed over."""

    start: int
    end: int
    context: Span | None = None


class Chunker(Protocol):
    """Says where a document is cut."""

    def __call__(
        self, document: Document, *, parameters: Mapping[str, Any], max_tokens: int, count_tokens: CountTokens
    ) -> Iterable[Piece]:
        """Pieces ordered by their start that cover every word of `document.text`; they may overlap.

        Args:
            parameters: `chunk.parameters` as they stand in the spec.
            max_tokens: longer pieces are cut again, headings and special tokens included.
            count_tokens: word pieces of texts, special tokens included.

        Raises:
            ValueError: the parameters are wrong; it becomes a `ConfigurationError`.
            DocumentError: this document cannot be cut.
        """
        ...


def plugin(document: Document, spec: PluginSpec, counter: TokenCounter) -> list[Unit]:
    """What another package's chunker cuts.

    Raises:
        ConfigurationError: the chunker is not installed or cannot be loaded, or it refuses its parameters.
        DocumentError: it leaves words out or names spans that are not in the document.
    """
    chunker = _load(spec.strategy)
    try:
        pieces = list(
            chunker(
                document,
                parameters=spec.parameters,
                max_tokens=counter.max_tokens,
                count_tokens=counter.count_tokens,
            )
        )
    except ValueError as error:
        raise ConfigurationError(
            f"the chunker {spec.strategy!r} refuses chunk.parameters {spec.parameters!r} ({error})"
        ) from error
    _check(pieces, spec.strategy, document)
    units = from_spans(document, [(piece.start, piece.end) for piece in pieces], counter)
    return _with_contexts(units, pieces, counter)


def _load(name: str) -> Chunker:
    found = [entry for entry in entry_points(group=CHUNKERS) if entry.name == name]
    if not found:
        raise ConfigurationError(f"no installed package has the chunker {name!r}; install the one that brings it")
    try:
        chunker: Chunker = found[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"the chunker {name!r} cannot be loaded from {found[0].value!r} ({error})"
        ) from error
    return chunker


def _check(pieces: list[Piece], name: str, document: Document) -> None:
    size, last = len(document.text), 0
    for piece in pieces:
        around = piece.context or (piece.start, piece.end)
        if (
            not last <= piece.start < piece.end <= size
            or not 0 <= around[0] <= piece.start < piece.end <= around[1] <= size
        ):
            raise DocumentError(f"the chunker {name!r} names {piece!r} in {document.uri!r}, of {size} characters")
        last = piece.start
    for start, end in gaps([(piece.start, piece.end) for piece in pieces], document.text):
        left_out = document.text[start:end].strip()[:40]
        raise DocumentError(f"the chunker {name!r} leaves out {left_out!r} of {document.uri!r}")


def _with_contexts(units: list[Unit], pieces: list[Piece], counter: TokenCounter) -> list[Unit]:
    """The units with the context of the last piece that holds them."""
    contexts = list(dict.fromkeys(piece.context for piece in pieces if piece.context is not None))
    n_tokens = dict(
        zip(
            contexts,
            counter.count_tokens([counter.text[a:b] for a, b in contexts]) if contexts else [],
            strict=True,
        )
    )
    starts = [piece.start for piece in pieces]
    made: list[Unit] = []
    for unit in units:  # cut from the last piece that begins before it, unless pieces overlap
        at = bisect_right(starts, unit.start) - 1
        while at > 0 and unit.end > pieces[at].end:
            at -= 1
        context = pieces[at].context
        n = n_tokens[context] if context is not None else 0
        made.append(replace(unit, context=context, n_context_tokens=n))
    return made
