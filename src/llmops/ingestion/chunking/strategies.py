"""From a document and a chunk spec to chunks, whatever the strategy."""

from __future__ import annotations

from typing import assert_never

from llmops.ingestion.chunking.code import code
from llmops.ingestion.chunking.langchain import langchain
from llmops.ingestion.chunking.parent_child import parent_child
from llmops.ingestion.chunking.plugin import plugin
from llmops.ingestion.chunking.sentence_window import sentence_window
from llmops.ingestion.chunking.spec import (
    AnyChunkSpec,
    ChunkSpec,
    CodeSpec,
    FixedSpec,
    LangchainSpec,
    ParentChildSpec,
    PluginSpec,
    SentenceWindowSpec,
    TableRowsSpec,
    needed_window,
)
from llmops.ingestion.chunking.structure import sections
from llmops.ingestion.chunking.table_rows import table_rows
from llmops.ingestion.chunking.units import CountTokens, TokenCounter, Unit, finish
from llmops.ingestion.chunking.windows import fixed
from llmops.records import Chunk, Document


def chunk_document(
    document: Document, spec: AnyChunkSpec, *, count_tokens: CountTokens, window: int
) -> list[Chunk]:
    """Passages in reading order: together they cover every word of the content, and none is over a limit.

    Args:
        count_tokens: word pieces of texts, special tokens included.
        window: the most that the encoder reads. A chunk's `embedded_text` has at most that many word pieces, and
            at most as many as the spec says.

    Returns:
        Chunks ordered by where they start. The same document gives the same chunks, and a passage whose text and
        headings did not change keeps its id.

    Raises:
        ConfigurationError: the spec asks for what is not installed, or for parameters that do not exist.
        DocumentError: another's splitter does not cut this document but changes it.
    """
    counter = TokenCounter(document, count_tokens, min(needed_window(spec), window))
    return finish(document, _units(document, spec, counter), counter)


def _units(document: Document, spec: AnyChunkSpec, counter: TokenCounter) -> list[Unit]:
    match spec:
        case ChunkSpec():
            return sections(document, counter, spec.min_tokens)
        case SentenceWindowSpec():
            return sentence_window(document, spec, counter)
        case FixedSpec():
            return fixed(document, spec, counter)
        case ParentChildSpec():
            return parent_child(document, spec, counter)
        case TableRowsSpec():
            return table_rows(document, spec, counter)
        case CodeSpec():
            return code(document, spec, counter)
        case LangchainSpec():
            return langchain(document, spec, counter)
        case PluginSpec():
            return plugin(document, spec, counter)
        case _ as never:
            assert_never(never)
