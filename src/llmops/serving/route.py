"""A route brought to life: its spec with the prompt, the model and the retriever it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmops.clients.protocols import ChatModel
from llmops.guardrails.guard import Guard
from llmops.prompts import Prompt
from llmops.records import Trace, Usage
from llmops.retrieval import Retriever
from llmops.serving.spec import Price, RouteSpec

Record = Callable[[Trace], None]
"""Where a finished trace goes: the writer's queue and the instruments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Everything `answer` needs, ready in memory.

    Attributes:
        prompt: None on a forwarding route.
        guard: None when no policy is named.
        spec_hashes: kind and name to hash of each spec that shapes an answer here.
    """

    spec: RouteSpec
    model: ChatModel
    price: Price
    prompt: Prompt | None
    retriever: Retriever | None
    guard: Guard | None = None
    spec_hashes: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.spec.name

    def cost_usd(self, usage: Usage) -> float:
        return (
            usage.input_tokens * self.price.input_usd_per_million_tokens
            + usage.output_tokens * self.price.output_usd_per_million_tokens
        ) / 1_000_000
