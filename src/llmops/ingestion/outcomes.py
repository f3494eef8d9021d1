"""What becomes of documents that can no longer be found, or cannot be stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llmops.clients.vectors.payload import to_payload
from llmops.errors import DocumentError
from llmops.ingestion.documents import DocumentRow
from llmops.ingestion.events import SourceEvent
from llmops.ingestion.prepare import Prepared
from llmops.records import DocumentState


@dataclass(frozen=True, kw_only=True, slots=True)
class Emptied:
    """What became of a document of which nothing is left."""

    state: DocumentState
    reason: str
    fingerprint: str
    listed: str

    def row(self, before: DocumentRow) -> DocumentRow:
        """The document's row from now on."""
        return replace(
            before,
            state=self.state,
            reason=self.reason,
            n_chunks=0,
            fingerprint=self.fingerprint,
            listed=self.listed,
            updated_at=datetime.now(UTC),
        )


def expired(row: DocumentRow) -> DocumentRow:
    """What is left of a document after its date."""
    reason = f"expired on {row.expires_at:%Y-%m-%d}"
    return replace(row, state="expired", reason=reason, n_chunks=0, signature=None, updated_at=datetime.now(UTC))


def is_deleted(event: SourceEvent | None) -> bool:
    """Whether the newest event of a document says that it is gone."""
    return event is not None and event.kind == "deleted"


def storable(item: Prepared) -> Prepared:
    """The document, failed with its reason where the store would not take it."""
    try:
        for chunk in item.chunks:
            to_payload(chunk)
    except DocumentError as error:
        return replace(item, state="failed", reason=str(error), chunks=(), signature=None)
    return item
