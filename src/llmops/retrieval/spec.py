"""How a route finds its context."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag, model_validator

from llmops.config import Name, Section

RERANKERS = "llmops.rerankers"
"""The entry point group of rerankers that other packages bring."""

EQUAL_WEIGHTS = 0.5
_TOP = "How many of the best hits are put in a new order."
_ON_ERROR = "A failure keeps the order as it was, and is recorded; or it fails the request."
_WEIGHED = ("dbsf", "rrf", "minmax")


class LexicalRerank(Section):
    """Word coverage, nearness and headings, weighed: no weights to load, one process, a few milliseconds."""

    type: Literal["lexical"]
    top: int = Field(default=50, ge=2, le=200, description=_TOP)
    weight: float = Field(
        default=0.2, ge=0, le=1, description="Share of the words in the new score; the rest is the old score."
    )


class CrossEncoderRerank(Section):
    """A cross-encoder of sentence-transformers, read from a local folder."""

    type: Literal["cross_encoder"]
    model: str = Field(min_length=1, description="Folder with the weights, relative to the route's file.")
    top: int = Field(default=30, ge=2, le=200, description=_TOP)
    max_tokens: int = Field(default=512, ge=16, le=8192, description="Word pieces read of a question and passage.")
    batch: int = Field(default=16, ge=1, le=256, description="Pairs scored at once.")
    device: str = Field(default="cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$", description="Where it computes.")


class EndpointRerank(Section):
    """A server with `POST /rerank` as Cohere, Jina and vLLM speak it."""

    type: Literal["endpoint"]
    url: str = Field(pattern=r"^https?://", description="The whole address, such as http://host:8000/v1/rerank.")
    model: str = Field(min_length=1, description="What the endpoint calls its model.")
    api_key_env: str = Field(default="", description="Environment variable that holds its key.")
    top: int = Field(default=50, ge=2, le=200, description=_TOP)
    timeout_s: float = Field(default=5.0, gt=0, le=120, description="Longest wait for the whole answer.")
    on_error: Literal["keep", "fail"] = Field(default="keep", description=_ON_ERROR)


class PluginRerank(Section):
    """A reranker that another package brings through the entry point group `llmops.rerankers`."""

    type: str = Field(min_length=1, description="Name of the entry point.")
    parameters: dict[str, JsonValue] = Field(default={}, description="For the reranker.")
    top: int = Field(default=50, ge=2, le=200, description=_TOP)
    on_error: Literal["keep", "fail"] = Field(default="keep", description=_ON_ERROR)


_BUILT_IN = ("lexical", "cross_encoder", "endpoint")


@cache
def plugged() -> tuple[str, ...]:
    """Names of the rerankers that installed packages bring."""
    from importlib.metadata import entry_points

    return tuple(sorted({found.name for found in entry_points(group=RERANKERS)} - set(_BUILT_IN)))


def _type(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def _tag(value: Any) -> str:
    kind = _type(value)
    return kind if kind in _BUILT_IN else "plugin"


def _known(value: Any) -> Any:
    kind = _type(value)
    if kind not in _BUILT_IN and kind not in plugged():
        there_is = ", ".join([*_BUILT_IN, *plugged()])
        raise ValueError(
            f"needs a type: one of {there_is}" if kind is None else f"has no type {kind!r}; there is: {there_is}"
        )
    return value


RerankSpec = Annotated[
    Annotated[LexicalRerank, Tag("lexical")]
    | Annotated[CrossEncoderRerank, Tag("cross_encoder")]
    | Annotated[EndpointRerank, Tag("endpoint")]
    | Annotated[PluginRerank, Tag("plugin")],
    Discriminator(_tag),
    BeforeValidator(_known),
]
"""One reranker with its settings; `type` says which."""


class TermsRewrite(Section):
    """A question that leans on the turns before it is searched with their content words; no model is asked."""

    type: Literal["terms"]
    turns: int = Field(default=3, ge=1, le=10, description="Earlier questions whose words may be carried over.")
    max_terms: int = Field(default=6, ge=1, le=50, description="Words carried over, at most.")


class ModelRewrite(Section):
    """A chat model writes the question so that it stands alone; the plain question is kept when it fails."""

    type: Literal["model"]
    endpoint: Name | None = Field(default=None, description="An endpoint in models.yaml; the route's own without.")
    max_tokens: int = Field(default=96, ge=16, le=1024, description="Tokens that it may write.")
    timeout_s: float = Field(default=5.0, gt=0, le=60, description="Longest wait for the whole answer.")


RewriteSpec = Annotated[TermsRewrite | ModelRewrite, Field(discriminator="type")]


class PackSpec(Section):
    """How hits become the passages that a model reads."""

    merge: bool = Field(default=False, description="Neighbouring hits of one document become one passage.")
    order: Literal["rank", "document"] = Field(
        default="rank", description="Best first, or each document's passages together in reading order."
    )
    max_passages: int | None = Field(default=None, ge=1, le=100, description="Passages, at most, after merging.")


class RetrievalSpec(Section):
    """How a route finds its context."""

    collection: Name
    k: int = Field(default=8, ge=1, le=100, description="Hits handed to packing, at most.")
    candidates: int = Field(default=100, ge=1, le=1000, description="Depth of each search before fusion.")
    fusion: Literal["dbsf", "rrf", "minmax", "dense", "sparse"] = "dbsf"
    rrf_k: int = Field(default=60, ge=1, description="Rank constant of reciprocal rank fusion.")
    dense_weight: float = Field(
        default=EQUAL_WEIGHTS,
        ge=0,
        le=1,
        description="Share of the dense search in a fusion of both; the rest is the sparse search's.",
    )
    heading_weight: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Weight of the likeness of question and heading in ordering the best 20; 0 leaves it out.",
    )
    multi_query: int = Field(
        default=1, ge=1, le=5, description="Forms of the question that are searched; each is a search of its own."
    )
    rewrite: RewriteSpec | None = Field(
        default=None, description="How a question that leans on earlier turns is made to stand alone."
    )
    rerank: RerankSpec | None = Field(default=None, description="Who puts the best hits in a new order.")
    mmr_lambda: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Maximal marginal relevance: 1 is relevance alone, 0 is difference alone; left out without.",
    )
    mmr_top: int = Field(default=40, ge=2, le=200, description="Hits among which it chooses.")
    context_tokens: int = Field(default=1500, ge=50, description="Token budget of the packed context.")
    pack: PackSpec = PackSpec()
    filter: dict[str, JsonValue] = Field(default={}, description="Metadata every hit must match.")

    @model_validator(mode="after")
    def _headings_need_meaning(self) -> RetrievalSpec:
        if self.heading_weight and self.fusion == "sparse":
            raise ValueError(
                "heading_weight compares meanings, which the fusion 'sparse' does without; set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _weights_need_two_searches(self) -> RetrievalSpec:
        if self.dense_weight != EQUAL_WEIGHTS and self.fusion not in _WEIGHED:
            raise ValueError(
                f"dense_weight weighs two searches, and the fusion {self.fusion!r} makes one; leave it out,"
                f" or choose one of {', '.join(_WEIGHED)}"
            )
        return self
