"""Words, sentences and BM25: how text is counted without a model."""

from llmops.tokens.bm25 import Bm25
from llmops.tokens.sentences import sentence_spans
from llmops.tokens.terms import terms

__all__ = ["Bm25", "sentence_spans", "terms"]
