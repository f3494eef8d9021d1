"""Retrieval: hybrid search with permissions, fusion, reranking, and packing into a context."""

from llmops.retrieval.packing import pack
from llmops.retrieval.reranking import open_reranker
from llmops.retrieval.retriever import Found, Retriever
from llmops.retrieval.rewriting import Rewriting, rewrite, rewrites
from llmops.retrieval.spec import RetrievalSpec

__all__ = ["Found", "RetrievalSpec", "Retriever", "Rewriting", "open_reranker", "pack", "rewrite", "rewrites"]
