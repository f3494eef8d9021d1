"""What may stand under `chunk:` in an ingestion spec: a strategy and its sizes.

Sizes are word pieces of the embedder. Where no strategy is named, it is `structure`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from llmops.config import Section

CHUNKERS = "llmops.chunkers"
"""The entry point group of strategies that other packages bring."""

_BUILT_IN = ("structure", "sentence_window", "fixed", "parent_child", "table_rows", "code", "langchain")
_MAX = "At most so many word pieces a chunk, headings and special tokens included; at most the embedder's window."
_MIN = "Smaller sections are merged with a neighbour."


class _Sized(Section):
    """Sizes in word pieces of the embedder, headings and special tokens included."""

    max_tokens: int = Field(default=200, ge=32, description=_MAX)
    min_tokens: int = Field(default=40, ge=0, description=_MIN)

    @model_validator(mode="after")
    def _ordered(self) -> _Sized:
        if self.min_tokens > self.max_tokens // 2:
            raise ValueError(f"min_tokens {self.min_tokens} must be at most half of max_tokens {self.max_tokens}")
        return self


class ChunkSpec(_Sized):
    """By structure, the default: whole blocks of a section together, never across its headings.

    `strategy` is left out of what is dumped: a collection built before there were strategies keeps its recipe.
    """

    strategy: Literal["structure"] = Field(default="structure", exclude=True)


class SentenceWindowSpec(Section):
    """Search by sentence, hand over the sentences around."""

    strategy: Literal["sentence_window"]
    sentences: int = Field(default=1, ge=1, le=20, description="Sentences a chunk.")
    window: int = Field(default=3, ge=0, le=50, description="Sentences of context on each side, within a section.")
    max_tokens: int = Field(default=200, ge=32, description=_MAX)
    context_tokens: int = Field(default=256, ge=32, description="At most so many word pieces of context.")

    @model_validator(mode="after")
    def _ordered(self) -> SentenceWindowSpec:
        if self.context_tokens < self.max_tokens:
            raise ValueError(
                f"context_tokens {self.context_tokens} must be at least max_tokens {self.max_tokens}: a context "
                "holds its passage"
            )
        return self


class FixedSpec(Section):
    """Windows of one size over the whole text, whatever its structure."""

    strategy: Literal["fixed"]
    max_tokens: int = Field(default=200, ge=32, description=_MAX)
    overlap_tokens: int = Field(
        default=20, ge=0, description="Word pieces that a chunk shares with the one before."
    )

    @model_validator(mode="after")
    def _ordered(self) -> FixedSpec:
        if self.overlap_tokens > self.max_tokens // 2:
            raise ValueError(
                f"overlap_tokens {self.overlap_tokens} must be at most half of max_tokens {self.max_tokens}"
            )
        return self


class ParentChildSpec(Section):
    """Search small, hand over large: children are embedded, their parent is what a model reads."""

    strategy: Literal["parent_child"]
    child_tokens: int = Field(default=96, ge=32, description=_MAX)
    parent_tokens: int = Field(default=512, ge=64, description="Never embedded: it may exceed the window.")
    min_tokens: int = Field(default=40, ge=0, description=f"{_MIN} (Sections, before they become parents.)")

    @model_validator(mode="after")
    def _ordered(self) -> ParentChildSpec:
        if self.parent_tokens < 2 * self.child_tokens:
            raise ValueError(
                f"parent_tokens {self.parent_tokens} must be at least twice child_tokens {self.child_tokens}"
            )
        if self.min_tokens > self.parent_tokens // 2:
            raise ValueError(
                f"min_tokens {self.min_tokens} must be at most half of parent_tokens {self.parent_tokens}"
            )
        return self


class TableRowsSpec(_Sized):
    """Tables by rows under their header; all else by structure."""

    strategy: Literal["table_rows"]
    max_rows: int = Field(default=0, ge=0, description="At most so many rows a chunk; 0: as many as fit.")


class CodeSpec(_Sized):
    """Code by definition; all else by structure."""

    strategy: Literal["code"]


Splitter = Literal[
    "CharacterTextSplitter",
    "RecursiveCharacterTextSplitter",
    "MarkdownTextSplitter",
    "PythonCodeTextSplitter",
    "LatexTextSplitter",
    "JSFrameworkTextSplitter",
]
"""Splitters of LangChain that cut a text, keep it as it is, and need no download."""


class LangchainSpec(Section):
    """A text splitter of LangChain over the whole text."""

    strategy: Literal["langchain"]
    splitter: Splitter = "RecursiveCharacterTextSplitter"
    language: str = Field(default="", description="Separators of a programming language (LangChain's name of it).")
    unit: Literal["tokens", "characters"] = Field(
        default="tokens", description="What chunk_size and chunk_overlap count; tokens are the embedder's."
    )
    parameters: dict[str, Any] = Field(default={}, description="Of the splitter, such as chunk_size.")
    max_tokens: int = Field(default=200, ge=32, description=f"{_MAX} Larger pieces are cut.")

    @model_validator(mode="after")
    def _consistent(self) -> LangchainSpec:
        if self.language and self.splitter != "RecursiveCharacterTextSplitter":
            raise ValueError(f"language goes with RecursiveCharacterTextSplitter, not with {self.splitter}")
        if own := sorted({"length_function", "add_start_index"} & set(self.parameters)):
            raise ValueError(f"parameters may not set {own[0]}: llmops sets it (see unit)")
        return self


class PluginSpec(Section):
    """A strategy that another package brings through the entry point group `llmops.chunkers`."""

    strategy: str = Field(
        min_length=1, description="Name of the entry point.", json_schema_extra={"not": {"enum": list(_BUILT_IN)}}
    )
    parameters: dict[str, Any] = Field(default={}, description="For the strategy.")
    max_tokens: int = Field(default=200, ge=32, description=f"{_MAX} Larger pieces are cut.")


def plugged() -> tuple[str, ...]:
    """Names of the strategies that installed packages bring."""
    from importlib.metadata import entry_points

    return tuple(sorted({found.name for found in entry_points(group=CHUNKERS)} - set(_BUILT_IN)))


def _strategy(value: Any) -> Any:
    return (
        value.get("strategy", "structure") if isinstance(value, dict) else getattr(value, "strategy", "structure")
    )


def _tag(value: Any) -> str:
    strategy = _strategy(value)
    return strategy if strategy in _BUILT_IN else "plugin"


def _known(value: Any) -> Any:
    strategy = _strategy(value)
    if strategy not in _BUILT_IN and strategy not in plugged():
        raise ValueError(f"has no strategy {strategy!r}; there is: {', '.join([*_BUILT_IN, *plugged()])}")
    return value


AnyChunkSpec = Annotated[
    Annotated[ChunkSpec, Tag("structure")]
    | Annotated[SentenceWindowSpec, Tag("sentence_window")]
    | Annotated[FixedSpec, Tag("fixed")]
    | Annotated[ParentChildSpec, Tag("parent_child")]
    | Annotated[TableRowsSpec, Tag("table_rows")]
    | Annotated[CodeSpec, Tag("code")]
    | Annotated[LangchainSpec, Tag("langchain")]
    | Annotated[PluginSpec, Tag("plugin")],
    Discriminator(_tag),
    BeforeValidator(_known),
]
"""One strategy with its sizes; `strategy` says which, and without it is `ChunkSpec`."""


def recipe(spec: AnyChunkSpec) -> dict[str, Any]:
    """What a collection's shape stores: all that decides which chunks a document has, as JSON."""
    return spec.model_dump(mode="json")


def needed_window(spec: AnyChunkSpec) -> int:
    """The most word pieces that the encoder is asked to read at once, special tokens included."""
    return spec.child_tokens if isinstance(spec, ParentChildSpec) else spec.max_tokens
