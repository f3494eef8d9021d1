"""A collection as a LangChain retriever."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.utils import from_env, secret_from_env
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from llmops.langchain.line import Line, open_line
from llmops.workspace.notebook import Notebook


class LlmopsRetriever(BaseRetriever):
    """The best passages of a collection that the caller may read, best first.

    A document's `id` is the chunk's; its metadata are those of the source document with `source` (its uri),
    `title`, `locator`, `heading_path`, `document_id`, `score` and `rank`.

    Attributes:
        notebook: what `llmops.open(DIR)` gives; or else
        base_url: where a gateway runs; default: the environment variable `LLMOPS_BASE_URL`.
        api_key: a key of that gateway; default: `LLMOPS_API_KEY`.
        collection: a pipeline's name; the only one there is needs no name.
        route: search with this route's settings instead.
        k: how many passages, in [1, 100].
        filter: metadata that every passage must match.
        principals: who asks, in a notebook, or for an administrator's key.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    notebook: Notebook | None = Field(default=None, exclude=True, repr=False)
    base_url: str | None = Field(default_factory=from_env("LLMOPS_BASE_URL", default=None))
    api_key: SecretStr | None = Field(default_factory=secret_from_env("LLMOPS_API_KEY", default=None))
    collection: str | None = None
    route: str | None = None
    k: int = Field(default=8, ge=1, le=100)
    filter: dict[str, Any] | None = None
    principals: tuple[str, ...] = ()
    timeout: float | None = None
    max_retries: int = 2

    _line: Line = PrivateAttr()

    @model_validator(mode="after")
    def _find_line(self) -> LlmopsRetriever:
        is_named = "base_url" in self.model_fields_set
        self._line = open_line(
            self.notebook,
            self.base_url if self.notebook is None or is_named else None,
            api_key=self.api_key.get_secret_value() if self.api_key else "",
            principals=self.principals,
            timeout_s=self.timeout,
            max_retries=self.max_retries,
        )
        return self

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 (LangChain's)
        **kwargs: Any,
    ) -> list[Document]:
        return [_document(hit) for hit in self._line.search(self._body(query, kwargs))]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002 (LangChain's)
        **kwargs: Any,
    ) -> list[Document]:
        return [_document(hit) for hit in await self._line.asearch(self._body(query, kwargs))]

    def _body(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        own = {"collection": self.collection, "route": self.route, "k": self.k, "filter": self.filter}
        body = {"query": query, **own, **given}
        return {name: value for name, value in body.items() if value is not None}


def _document(hit: dict[str, Any]) -> Document:
    names = ("title", "locator", "heading_path", "document_id", "score", "rank")
    about = {name: hit[name] for name in names if name in hit}
    text = hit.get("context") or hit["text"]
    return Document(
        id=hit["chunk_id"], page_content=text, metadata={**hit["metadata"], **about, "source": hit["uri"]}
    )
