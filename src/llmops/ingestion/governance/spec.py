"""The `governance:` section of a pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmops.config import Section


class GovernanceSpec(Section):
    """What is done about what documents hold, before anything of them is stored.

    `label` keeps the text and puts what was found into the document's labels; `redact` replaces it by its kind;
    `refuse` stores nothing of the document and says why.
    """

    pii: Literal["keep", "label", "redact", "refuse"] = Field(default="keep", description="Personal data.")
    entities: tuple[str, ...] = Field(default=(), description="Kinds of personal data; none: all that are known.")
    secrets: Literal["keep", "label", "redact", "refuse"] = Field(
        default="redact", description="Keys, tokens and passwords of known formats."
    )
    licence: str = Field(default="", description="Put on every document as the label `licence`.")
    labels: dict[str, str] = Field(default={}, description="Put on every document, for filters.")
    retention_days: int | None = Field(default=None, ge=1, description="Days after which a document expires.")
