"""Retrieval: hybrid search with permissions, fusion, and packing into a context."""

from llmops.retrieval.packing import pack
from llmops.retrieval.retriever import Retriever
from llmops.retrieval.spec import RetrievalSpec

__all__ = ["RetrievalSpec", "Retriever", "pack"]
