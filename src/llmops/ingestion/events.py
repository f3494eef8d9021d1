"""What a source says between two syncs: a document's readers changed, or it is gone. Obeyed at once, everywhere.

An event is on the ledger before it takes effect, so that a sync whose listing is older than the event does not
undo it: whatever such a sync writes is put right before anybody can be shown it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import delete, insert, select

from llmops.clients.database import Database
from llmops.clients.database.tables import source_events
from llmops.clients.protocols import VectorStore
from llmops.ingestion.documents import DocumentLedger
from llmops.releases import CollectionBook

_KEPT = timedelta(days=7)  # longer than any sync


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceEvent:
    """What happened to one document; `acl` is who may read it from now on, for "access"."""

    kind: Literal["access", "deleted"]
    document_id: str
    acl: tuple[str, ...] = ()


class SourceEvents:
    """Events of one pipeline.

    Args:
        pipeline: its name; an event concerns every collection that carries it, also those that wait or were left.
    """

    def __init__(
        self, database: Database, store: VectorStore, collections: CollectionBook, *, pipeline: str
    ) -> None:
        self._database, self._store, self._collections, self._pipeline = database, store, collections, pipeline

    def take(self, event: SourceEvent) -> bool:
        """Record an event and obey it; returns whether the document was known. Effective on return."""
        now = datetime.now(UTC)
        with self._database.begin() as connection:
            old = (source_events.c.pipeline == self._pipeline) & (source_events.c.at < now - _KEPT)
            connection.execute(delete(source_events).where(old))
            connection.execute(
                insert(source_events).values(
                    pipeline=self._pipeline,
                    document_id=event.document_id,
                    at=now,
                    kind=event.kind,
                    acl=list(event.acl),
                )
            )
        stored = set(self._store.collections())
        known = [
            self.obey(event, shape.collection)
            for shape in self._collections.all()
            if shape.name == self._pipeline and shape.collection in stored
        ]
        return any(known)

    def obey(self, event: SourceEvent, collection: str) -> bool:
        """Let one collection follow an event: points first, for they are what a search reads."""
        ledger = DocumentLedger(self._database, collection)
        is_known = ledger.get(event.document_id) is not None
        if event.kind == "deleted":
            self._store.delete_document(collection, event.document_id)
            ledger.remove(event.document_id)
        else:
            self._store.set_access(collection, event.document_id, acl=event.acl)
            ledger.set_acl(event.document_id, event.acl)
        return is_known

    def since(self, moment: datetime) -> dict[str, SourceEvent]:
        """The newest event of each document after a moment, by document id."""
        here = (source_events.c.pipeline == self._pipeline) & (source_events.c.at >= moment)
        with self._database.read() as connection:
            rows = connection.execute(select(source_events).where(here).order_by(source_events.c.event_id)).all()
        return {
            row.document_id: SourceEvent(kind=row.kind, document_id=row.document_id, acl=tuple(row.acl or ()))
            for row in rows
        }


def readers(acl: Sequence[str] | None, event: SourceEvent | None) -> tuple[str, ...]:
    """Who may read a document: what an event said after the listing, else what was listed; unknown is nobody."""
    if event is not None and event.kind == "access":
        return tuple(sorted(event.acl))
    return tuple(sorted(acl or ()))
