"""A route as a LangChain chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils import from_env, secret_from_env
from pydantic import Field, PrivateAttr, SecretStr, model_validator

from llmops.langchain.line import Line, open_line
from llmops.langchain.messages import chunk_of, message_of, wire_messages
from llmops.workspace.notebook import Notebook

_PARAMETERS = ("temperature", "top_p", "max_tokens", "seed", "filter")


class ChatLlmops(BaseChatModel):
    """A route of an open workspace, or of a gateway.

    A route with a prompt answers with citations: `response_metadata["citations"]`, beside `groundedness`,
    `guardrails` and the `inference_id` that feedback is given on. It has a system prompt of its own and refuses
    another. Tools and structured output are not offered.

    Attributes:
        model: the route's name.
        notebook: what `llmops.open(DIR)` gives; or else
        base_url: where a gateway runs; default: the environment variable `LLMOPS_BASE_URL`.
        api_key: a key of that gateway; default: `LLMOPS_API_KEY`.
        principals: who asks, in a notebook, or for an administrator's key.
        filter: metadata that every passage must match.
        timeout: seconds for an answer over HTTP.
        max_retries: of a gateway that is busy.
    """

    model: str
    notebook: Notebook | None = Field(default=None, exclude=True, repr=False)
    base_url: str | None = Field(default_factory=from_env("LLMOPS_BASE_URL", default=None))
    api_key: SecretStr | None = Field(default_factory=secret_from_env("LLMOPS_API_KEY", default=None))
    principals: tuple[str, ...] = ()
    filter: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    timeout: float | None = None
    max_retries: int = 2
    streaming: bool = False

    _line: Line = PrivateAttr()

    @model_validator(mode="after")
    def _find_line(self) -> ChatLlmops:
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

    @property
    def _llm_type(self) -> str:
        return "llmops"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "base_url": self.base_url, "filter": self.filter}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        return LangSmithParams(
            **{**params, "ls_provider": "llmops", "ls_model_name": kwargs.get("model") or self.model}
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 (LangChain's)
        **kwargs: Any,
    ) -> ChatResult:
        body = self._body(messages, stop, kwargs)
        return self._result(self._line.complete(body), body)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 (LangChain's)
        **kwargs: Any,
    ) -> ChatResult:
        body = self._body(messages, stop, kwargs)
        return self._result(await self._line.acomplete(body), body)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        body = self._body(messages, stop, kwargs)
        for event in self._line.stream(body):
            if (message := chunk_of(event, route=body["model"])) is not None:
                chunk = ChatGenerationChunk(message=message)
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        body = self._body(messages, stop, kwargs)
        async for event in self._line.astream(body):
            if (message := chunk_of(event, route=body["model"])) is not None:
                chunk = ChatGenerationChunk(message=message)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _body(self, messages: list[BaseMessage], stop: list[str] | None, given: dict[str, Any]) -> dict[str, Any]:
        """The request; what a call is given wins over what the model was made with."""
        own = {name: getattr(self, name) for name in _PARAMETERS}
        body = {**own, "model": self.model, "stop": stop or self.stop or None, **given}
        return {name: value for name, value in body.items() if value is not None} | {
            "messages": wire_messages(messages)
        }

    def _result(self, answer: dict[str, Any], body: dict[str, Any]) -> ChatResult:
        message = message_of(answer, route=body["model"], place=self._line.place)
        about = {"model_name": message.response_metadata["model_name"], "token_usage": answer.get("usage")}
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=about)
