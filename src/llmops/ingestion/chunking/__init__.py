"""Documents into chunks, by one of several strategies; by structure where none is named."""

from llmops.ingestion.chunking.plugin import Chunker, Piece
from llmops.ingestion.chunking.spec import AnyChunkSpec, ChunkSpec, needed_window, recipe
from llmops.ingestion.chunking.strategies import chunk_document
from llmops.ingestion.chunking.structure import chunk
from llmops.ingestion.chunking.units import CountTokens

__all__ = [
    "AnyChunkSpec",
    "ChunkSpec",
    "Chunker",
    "CountTokens",
    "Piece",
    "chunk",
    "chunk_document",
    "needed_window",
    "recipe",
]
