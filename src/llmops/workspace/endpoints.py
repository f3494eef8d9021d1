"""Model endpoints of a workspace: what they are after the environment had its say, and their clients."""

from __future__ import annotations

import os
from typing import assert_never

from llmops.clients.chat import OpenAIChat, Timeouts
from llmops.config import digest
from llmops.errors import ConfigurationError
from llmops.serving.spec import Endpoint, ExtractiveEndpoint, OpenAIEndpoint
from llmops.settings import Settings


def model_digest(endpoint: Endpoint) -> str:
    """SHA-256 (hex) of what an endpoint says about the model itself; where it listens does not matter."""
    match endpoint:
        case ExtractiveEndpoint():
            return digest(["extractive", endpoint.embedder])
        case OpenAIEndpoint():
            return digest(["openai", endpoint.model])
        case _:
            assert_never(endpoint)


def effective_endpoint(endpoint: Endpoint, settings: Settings) -> Endpoint:
    """The endpoint after the environment: `LLMOPS_CHAT_URL` answers in place of the extractive model."""
    if not isinstance(endpoint, ExtractiveEndpoint) or not settings.chat_url:
        return endpoint
    if not settings.chat_model:
        raise ConfigurationError("LLMOPS_CHAT_URL is set but LLMOPS_CHAT_MODEL is not; set it to the model's name")
    if not settings.chat_url.startswith(("http://", "https://")):
        raise ConfigurationError(f"LLMOPS_CHAT_URL {settings.chat_url!r} must begin with http:// or https://")
    return OpenAIEndpoint(
        type="openai", base_url=settings.chat_url, model=settings.chat_model, api_key_env="LLMOPS_CHAT_API_KEY"
    )


def openai_chat(name: str, endpoint: OpenAIEndpoint, settings: Settings) -> OpenAIChat:
    """The client of an OpenAI-compatible endpoint; its key comes from the environment."""
    variable = endpoint.api_key_env
    key = settings.chat_api_key if variable == "LLMOPS_CHAT_API_KEY" else os.environ.get(variable, "")
    if variable and not key and variable != "LLMOPS_CHAT_API_KEY":
        raise ConfigurationError(f"endpoint {name!r} needs its key in the environment variable {variable}")
    timeouts = Timeouts(**endpoint.timeouts.model_dump())
    return OpenAIChat(name=name, base_url=endpoint.base_url, model=endpoint.model, api_key=key, timeouts=timeouts)
