"""How a route finds its context."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from llmops.config import Name, Section


class RetrievalSpec(Section):
    """How a route finds its context."""

    collection: Name
    k: int = Field(default=8, ge=1, le=100, description="Passages handed to the model, at most.")
    candidates: int = Field(default=100, ge=1, le=1000, description="Depth of each search before fusion.")
    fusion: Literal["dbsf", "rrf", "dense", "sparse"] = "dbsf"
    rrf_k: int = Field(default=60, ge=1, description="Rank constant of reciprocal rank fusion.")
    heading_weight: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Weight of the likeness of question and heading in ordering the best 20; 0 leaves it out.",
    )
    context_tokens: int = Field(default=1500, ge=50, description="Token budget of the packed context.")
    filter: dict[str, JsonValue] = Field(default={}, description="Metadata every hit must match.")

    @model_validator(mode="after")
    def _headings_need_meaning(self) -> RetrievalSpec:
        if self.heading_weight and self.fusion == "sparse":
            raise ValueError(
                "heading_weight compares meanings, which the fusion 'sparse' does without; set it to 0"
            )
        return self
