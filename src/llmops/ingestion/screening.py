"""What may be kept of a document that an application sends, before anything of it is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from llmops.errors import DocumentError, DocumentRefusedError
from llmops.ingestion.governance.apply import govern
from llmops.ingestion.parsing import media_type_of, parse
from llmops.ingestion.parsing.kept import kept
from llmops.ingestion.parsing.media_types import KEPT
from llmops.ingestion.prepare import expiry
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Document

WithheldState = Literal["refused", "expired", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Withheld:
    """Why nothing of a document is kept."""

    state: WithheldState
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Screened:
    """What is kept: the bytes as they came, the document as the policy changed it, or nothing."""

    item: Item
    raw: bytes
    withheld: Withheld | None = None


def screened(spec: IngestionSpec, item: Item, raw: bytes) -> Screened:
    """Apply the pipeline's policy to a document's bytes.

    Where nothing had to be redacted they stay as they are. A document that cannot be read cannot be judged either:
    under a policy that redacts or refuses, nothing of it is kept.
    """
    policy = spec.governance
    is_strict = not {policy.pii, policy.secrets} <= {"keep", "label"}
    try:
        document = _document(spec, item, raw)
        if document is None:
            return Screened(item=item, raw=raw)  # no parser: it is skipped, with that reason
        over = expiry(document, item, spec)
        if over is not None and over <= datetime.now(UTC):
            return _nothing(item, Withheld(state="expired", reason=f"expired on {over:%Y-%m-%d}"))
        if not is_strict:
            return Screened(item=item, raw=raw)
        passed = govern(document, policy).document
    except DocumentRefusedError as error:
        return _nothing(item, Withheld(state="refused", reason=str(error)))
    except DocumentError as error:
        if not is_strict:
            return Screened(item=item, raw=raw)  # it is tried again, and by a later version
        reason = f"{error}; nothing of it was kept: send it again"
        return _nothing(item, Withheld(state="failed", reason=reason))
    if (passed.text, passed.title) == (document.text, document.title):
        return Screened(item=item, raw=raw)
    return Screened(item=replace(item, title=passed.title, media_type=KEPT), raw=kept(passed))


def _document(spec: IngestionSpec, item: Item, raw: bytes) -> Document | None:
    media_type = item.media_type or media_type_of(item.uri, raw[:4096])
    if media_type is None:
        return None
    parsed = parse(raw, uri=item.uri, media_type=media_type, max_bytes=spec.source.max_file_bytes)
    return Document(
        document_id="",
        uri=item.uri,
        title=item.title or parsed.title,
        text=parsed.text,
        blocks=parsed.blocks,
        media_type=parsed.media_type,
        content_hash="",
        acl=(),
        metadata={**parsed.metadata, **item.metadata, **spec.source.metadata},
    )


def _nothing(item: Item, why: Withheld) -> Screened:
    return Screened(item=replace(item, title="", metadata={}), raw=b"", withheld=why)
