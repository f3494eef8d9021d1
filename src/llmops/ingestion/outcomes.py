"""What becomes of documents that can no longer be found, or cannot be stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llmops.clients.vectors.payload import to_payload
from llmops.errors import DocumentError
from llmops.ingestion.documents import DocumentRow
from llmops.ingestion.events import SourceEvent
from llmops.ingestion.prepare import Prepared
from llmops.records import DocumentState

_MAX_BACKOFF = timedelta(days=1)


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


def attempts_of(item: Prepared, before: DocumentRow | None, *, is_away: bool, planned_at: datetime | None) -> int:
    """Failures in a row of this version; that its source is away is no failure of a document.

    Args:
        planned_at: of a job, whose step may be done again: that is no further failure.
    """
    if item.state != "failed":
        return 0
    if is_away:
        return before.attempts if before is not None else 0
    if before is not None and planned_at is not None and before.updated_at >= planned_at:
        return max(before.attempts, 1)
    return before.attempts + 1 if before is not None and _is_same_version(before, item) else 1


def _is_same_version(before: DocumentRow, item: Prepared) -> bool:
    """By what the source says, and by the bytes where both could be read."""
    is_same_content = before.fingerprint == item.fingerprint or not (before.fingerprint and item.fingerprint)
    return before.listed == item.listed and is_same_content


def retry_at(attempts: int, backoff_s: float) -> datetime:
    """When a document that failed so often is tried again: the pause doubles, up to a day."""
    return datetime.now(UTC) + min(timedelta(seconds=backoff_s * 2 ** min(attempts - 1, 30)), _MAX_BACKOFF)
