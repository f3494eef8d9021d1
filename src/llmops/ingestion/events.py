"""What a source says between two syncs: a document's readers changed, or it is gone. Obeyed at once, everywhere.

An event is on the ledger before it takes effect, so that a sync whose listing is older than the event does not
undo it: whatever such a sync writes is put right before anybody can be shown it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, delete, insert, select

from llmops.clients.database import Database
from llmops.clients.database.tables import source_events
from llmops.clients.protocols import VectorStore
from llmops.ingestion.documents import DocumentLedger
from llmops.ingestion.moments import next_moment
from llmops.releases import CollectionBook

_KEPT = timedelta(days=7)  # longer than any sync
_ORDER: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)


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
        with self.in_order:
            return self._take(event)

    def _take(self, event: SourceEvent) -> bool:
        with self._database.begin_alone() as connection:
            now = next_moment(connection, self._pipeline)
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
        self._collections.refresh()  # another process may be filling a new one
        stored = set(self._store.collections())
        known = [
            self.obey(event, shape.collection)
            for shape in self._collections.all()
            if shape.name == self._pipeline and shape.collection in stored
        ]
        return any(known)

    @property
    def in_order(self) -> threading.RLock:
        """Held while an event is obeyed and while a sync writes: in this process neither overtakes the other."""
        return _ORDER[f"{self._database.place}\n{self._pipeline}"]

    def obey(self, event: SourceEvent, collection: str) -> bool:
        """Let one collection follow an event; one that comes meanwhile is obeyed after it, so the newest wins.

        Returns:
            Whether the document was known there.
        """
        is_known = DocumentLedger(self._database, collection).get(event.document_id) is not None
        while True:
            self._apply(event, collection)
            newest = self._newest(event.document_id)
            if newest is None or newest == event:
                return is_known
            event = newest

    def _apply(self, event: SourceEvent, collection: str) -> None:
        """Points first, for they are what a search reads."""
        ledger = DocumentLedger(self._database, collection)
        if event.kind == "deleted":
            self._store.delete_document(collection, event.document_id)
            ledger.remove(event.document_id)
        else:
            self._store.set_access(collection, event.document_id, acl=event.acl)
            ledger.set_acl(event.document_id, event.acl)

    def since(self, moment: datetime) -> dict[str, SourceEvent]:
        """The newest event of each document after a moment, by document id."""
        return self._read(source_events.c.at >= moment)

    def newest_since(self, moment: datetime, document_id: str) -> SourceEvent | None:
        """The newest event of one document after a moment."""
        here = (source_events.c.document_id == document_id) & (source_events.c.at >= moment)
        return self._read(here).get(document_id)

    def _newest(self, document_id: str) -> SourceEvent | None:
        return self._read(source_events.c.document_id == document_id).get(document_id)

    def _read(self, condition: ColumnElement[bool]) -> dict[str, SourceEvent]:
        here = select(source_events).where(source_events.c.pipeline == self._pipeline, condition)
        with self._database.read() as connection:
            rows = connection.execute(here.order_by(source_events.c.event_id)).all()
        return {
            row.document_id: SourceEvent(kind=row.kind, document_id=row.document_id, acl=tuple(row.acl or ()))
            for row in rows
        }


def readers(acl: Sequence[str] | None, event: SourceEvent | None) -> tuple[str, ...]:
    """Who may read a document: what an event said after the listing, else what was listed; unknown is nobody."""
    if event is not None and event.kind == "access":
        return tuple(sorted(event.acl))
    return tuple(sorted(acl or ()))
