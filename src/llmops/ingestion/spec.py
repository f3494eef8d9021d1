"""What stands in an ingestion spec (`ingestion/NAME.yaml`): a source and how it becomes a collection."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from llmops.config import Name, Section, Spec, beside

Scalar = str | int | float | bool


class FolderSource(Section):
    """Files below a folder.

    `acl` says who may read them: a folder has no permissions of its own. `[everyone]` is every caller.
    """

    type: Literal["folder"]
    path: str = Field(min_length=1, description="Relative to this file.")
    include: tuple[str, ...] = Field(default=("**/*",), min_length=1, description="Globs below the folder.")
    exclude: tuple[str, ...] = Field(default=(), description="Globs that win over include.")
    acl: tuple[str, ...] = Field(min_length=1, description="Principals who may read every file.")
    max_file_bytes: int = Field(default=50_000_000, ge=1)
    follow_symlinks: bool = Field(default=False, description="Also read links that lead out of the folder.")
    metadata: dict[str, Scalar] = Field(default={}, description="Put on every document, for filters.")


class ChunkSpec(Section):
    """Sizes in word pieces of the embedder, headings and special tokens included."""

    max_tokens: int = Field(default=200, ge=32, description="At most the embedder's window (256 here).")
    min_tokens: int = Field(default=40, ge=0, description="Smaller sections are merged with a neighbour.")

    @model_validator(mode="after")
    def _ordered(self) -> ChunkSpec:
        if self.min_tokens > self.max_tokens // 2:
            raise ValueError(f"min_tokens {self.min_tokens} must be at most half of max_tokens {self.max_tokens}")
        return self


class EmbedSpec(Section):
    """The encoder."""

    model: str = Field(
        default="all-MiniLM-L6-v2", description="Packaged model name, or a folder, relative to this file."
    )


class IngestionSpec(Spec):
    """One pipeline; the collection carries its name."""

    kind: ClassVar[str] = "ingestion"

    name: Name
    description: str = Field(min_length=1)
    source: FolderSource
    chunk: ChunkSpec = ChunkSpec()
    embed: EmbedSpec = EmbedSpec()

    @property
    def encoder(self) -> str:
        """The packaged model's name, or the folder of another, found from this file."""
        return beside(self.file, self.embed.model)
