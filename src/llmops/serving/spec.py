"""What stands in `serving/`: routes (one file each) and model endpoints (`models.yaml`)."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.config import Name, Section, Spec, digest
from llmops.retrieval.spec import RetrievalSpec

_RELEASED = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}@[a-z0-9][a-z0-9._-]{0,63}")


class Price(Section):
    """What the endpoint charges."""

    input_usd_per_million_tokens: float = Field(default=0.0, ge=0)
    output_usd_per_million_tokens: float = Field(default=0.0, ge=0)


class TimeoutSpec(Section):
    """How long to wait, in seconds."""

    connect_s: float = Field(default=5.0, gt=0)
    first_byte_s: float = Field(default=120.0, gt=0)
    idle_s: float = Field(default=60.0, gt=0)
    total_s: float = Field(default=900.0, gt=0)


class ExtractiveEndpoint(Section):
    """The embedded model: answers with sentences of the context. `LLMOPS_CHAT_URL` replaces it everywhere."""

    type: Literal["extractive"]
    embedder: str = Field(
        default="all-MiniLM-L6-v2", description="Packaged model name, or a folder, relative to this file."
    )


class OpenAIEndpoint(Section):
    """Any server that speaks the OpenAI chat API: vLLM, Ollama, llama.cpp, a vendor."""

    type: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://", description="Up to and including /v1.")
    model: str = Field(min_length=1, description="What the endpoint calls it.")
    api_key_env: str = Field(default="", description="Environment variable that holds its key.")
    price: Price = Price()
    timeouts: TimeoutSpec = TimeoutSpec()


Endpoint = Annotated[ExtractiveEndpoint | OpenAIEndpoint, Field(discriminator="type")]


class ModelsSpec(Spec):
    """`serving/models.yaml`: the endpoints that routes name."""

    kind: ClassVar[str] = "models"

    endpoints: dict[Name, Endpoint] = Field(min_length=1)


class TraceSpec(Section):
    """How the contents of this route's traces are stored."""

    content: Literal["scrubbed", "encrypted", "none"] = "scrubbed"


class RouteSpec(Spec):
    """`serving/NAME.yaml`: what `model: NAME` means to a caller.

    With a prompt and retrieval it is a RAG route; with neither it forwards to its endpoint unchanged.
    """

    kind: ClassVar[str] = "route"

    name: Name
    description: str = Field(min_length=1)
    model: Name = Field(description="An endpoint in models.yaml.")
    prompt: str | None = Field(
        default=None, description="Prompt file, relative to this file; or NAME@ALIAS, what a release made of it."
    )
    retrieval: RetrievalSpec | None = None
    guardrails: Name | None = Field(default=None, description="A policy in guardrails/.")
    history_turns: int = Field(default=4, ge=0, le=50, description="Earlier turns handed to the model.")
    trace: TraceSpec = TraceSpec()
    examples: tuple[str, ...] = Field(default=(), description="Questions the chat page offers.")

    @property
    def shaping_hash(self) -> str:
        """SHA-256 (hex) of what the route itself adds to an answer: prompt and policy have hashes of their own."""
        shaping = {"model", "retrieval", "history_turns"}
        return digest(self.model_dump(mode="json", include=shaping, exclude_defaults=True))

    @property
    def released_prompt(self) -> tuple[str, str] | None:
        """Name and alias when the prompt is a released one, such as `answer@production`; None for a file."""
        name, at, alias = (self.prompt or "").partition("@")
        return (name, alias) if at and _RELEASED.fullmatch(self.prompt or "") else None
