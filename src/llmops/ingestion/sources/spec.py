"""What a pipeline's `source:` section may say: one section a kind, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmops.config import Section
from llmops.ingestion.sources.specs_api import (
    ConfluenceExportSource,
    ConfluenceSource,
    SharePointSource,
    SlackExportSource,
    SlackSource,
)
from llmops.ingestion.sources.specs_data import (
    GitSource,
    JsonLinesSource,
    LangChainSource,
    ObjectStoreSource,
    SqlSource,
    WebSource,
)

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


class PushSource(Section):
    """Documents that applications send to `POST /api/documents`; the ledger keeps them for rebuilds."""

    type: Literal["push"]
    acl: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Principals for documents sent without an acl; none: hidden."
    )
    max_file_bytes: int = Field(default=10_000_000, ge=1)
    metadata: dict[str, Scalar] = Field(default={}, description="Put on every document, for filters.")


SourceSpec = Annotated[
    FolderSource
    | PushSource
    | GitSource
    | WebSource
    | ConfluenceSource
    | ConfluenceExportSource
    | SharePointSource
    | SlackSource
    | SlackExportSource
    | ObjectStoreSource
    | SqlSource
    | JsonLinesSource
    | LangChainSource,
    Field(discriminator="type"),
]
