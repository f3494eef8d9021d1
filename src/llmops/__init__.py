"""llmops: an operations platform for LLM and RAG applications."""
