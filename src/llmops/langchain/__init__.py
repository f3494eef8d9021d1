"""LangChain components: a route as a chat model and a collection as a retriever, in process or over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmops.langchain.chat import ChatLlmops
    from llmops.langchain.retriever import LlmopsRetriever

__all__ = ["ChatLlmops", "LlmopsRetriever"]


def __getattr__(name: str) -> Any:
    """The components are made of LangChain's classes, which are loaded when one is used.

    Raises:
        MissingExtraError: langchain-core is not installed.
    """
    if name not in __all__:
        raise AttributeError(f"module 'llmops.langchain' has no attribute {name!r}")
    try:
        import langchain_core  # noqa: F401 (its absence is said here)
    except ImportError as error:
        from llmops.errors import MissingExtraError

        raise MissingExtraError("langchain-core", "langchain") from error
    if name == "ChatLlmops":
        from llmops.langchain.chat import ChatLlmops

        return ChatLlmops
    from llmops.langchain.retriever import LlmopsRetriever

    return LlmopsRetriever
