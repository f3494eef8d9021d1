"""The embedded chat model `extractive`: quotes the sentences that answer, cited, or says it does not know."""

from llmops.clients.extractive.chat import MODEL, UNKNOWN_ANSWER, ExtractiveChat

__all__ = ["MODEL", "UNKNOWN_ANSWER", "ExtractiveChat"]
