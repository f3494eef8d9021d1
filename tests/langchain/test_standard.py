"""LangChain's own tests of chat models and retrievers, in process and over HTTP.

Of the features they ask for, a route declares usage, streaming and another route per call. It has no tools, no
structured output and no images.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import ChatModelIntegrationTests, RetrieversIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from llmops.errors import RequestError
from llmops.langchain import ChatLlmops, LlmopsRetriever
from llmops.workspace.notebook import Notebook
from tests.gateway.running import Gateway

pytestmark = [
    pytest.mark.anyio,
    # What is skipped there has asked for a stop-watch before.
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"),
]
OWN_PROMPT = "a route with a prompt has its own system message and refuses another"


class TestChatUnit(ChatModelUnitTests):
    """What needs no answer."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatLlmops

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "assistant", "base_url": "http://127.0.0.1:1"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        expected = {"base_url": "http://127.0.0.1:8080", "api_key": "a-key"}
        variables = {"LLMOPS_BASE_URL": "http://127.0.0.1:8080", "LLMOPS_API_KEY": "a-key"}
        return variables, {"model": "assistant"}, expected


class RouteTests(ChatModelIntegrationTests):
    """A route as a chat model; a class below says where it runs."""

    route = "assistant"
    where: dict[str, Any]

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatLlmops

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.route, **self.where}

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str | None:
        return "team"


class InProcess:
    """In the open workspace."""

    @pytest.fixture(autouse=True)
    def _where(self, notebook: Notebook) -> None:
        self.where = {"notebook": notebook}


class OverHttp:
    """Behind a gateway."""

    @pytest.fixture(autouse=True)
    def _where(self, gateway: Gateway) -> None:
        self.where = {"base_url": gateway.url}


class TestRouteInProcess(InProcess, RouteTests):
    """The extractive route of the template."""

    @pytest.mark.xfail(reason=OWN_PROMPT, raises=RequestError)
    def test_double_messages_conversation(self, model: BaseChatModel) -> None:
        super().test_double_messages_conversation(model)


class TestRouteOverHttp(OverHttp, RouteTests):
    """The extractive route of the template."""

    @pytest.mark.xfail(reason=OWN_PROMPT, raises=RequestError)
    def test_double_messages_conversation(self, model: BaseChatModel) -> None:
        super().test_double_messages_conversation(model)


class ForwardTests(RouteTests):
    """A route without a prompt, to an endpoint of OpenAI's kind: it takes every message."""

    route = "forward"

    @property
    def model_override_value(self) -> str | None:
        return None  # the endpoint names its own model


class TestForwardInProcess(InProcess, ForwardTests):
    """In the open workspace."""


class TestForwardOverHttp(OverHttp, ForwardTests):
    """Behind a gateway."""


class SearchTests(RetrieversIntegrationTests):
    """A collection as a retriever."""

    where: dict[str, Any]

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return LlmopsRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"collection": "docs", **self.where}

    @property
    def retriever_query_example(self) -> str:
        return "When does the library open?"


class TestSearchInProcess(InProcess, SearchTests):
    """In the open workspace."""


class TestSearchOverHttp(OverHttp, SearchTests):
    """Behind a gateway."""
