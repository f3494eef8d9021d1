"""The ledger of documents: one row says what became of each, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import Database
from llmops.clients.database.tables import documents
from llmops.config import digest
from llmops.records import DocumentState


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRow:
    """What is known of one document in one collection.

    Attributes:
        state: "pending" while its points are being written; "failed" keeps the last good version searchable.
        reason: one sentence, empty when indexed.
        fingerprint: hash of content, permissions, metadata and recipe: equal means there is nothing to do.
    """

    collection: str
    document_id: str
    uri: str
    title: str
    state: DocumentState
    reason: str
    n_chunks: int
    n_bytes: int
    content_hash: str
    fingerprint: str
    updated_at: datetime


class DocumentLedger:
    def __init__(self, database: Database, collection: str) -> None:
        self._database, self.collection = database, collection

    def rows(self) -> dict[str, DocumentRow]:
        """All rows of the collection by document id."""
        query = select(documents).where(documents.c.collection == self.collection).order_by(documents.c.uri)
        with self._database.read() as connection:
            return {row.document_id: DocumentRow(**row._mapping) for row in connection.execute(query)}

    def content_digest(self) -> str:
        """SHA-256 (hex) of what is searchable here: the same documents, read the same way, give the same one."""
        query = select(documents.c.document_id, documents.c.fingerprint, documents.c.n_chunks)
        here = query.where(documents.c.collection == self.collection, documents.c.n_chunks > 0)
        with self._database.read() as connection:
            return digest(sorted([row.document_id, row.fingerprint] for row in connection.execute(here)))

    def put(self, rows: Sequence[DocumentRow]) -> None:
        """Insert or replace, one transaction."""
        if not rows:
            return
        dialect = sqlite if self._database.is_sqlite else postgresql
        insert = dialect.insert(documents)
        update = {c.name: insert.excluded[c.name] for c in documents.c if not c.primary_key}
        statement = insert.on_conflict_do_update(index_elements=["collection", "document_id"], set_=update)
        with self._database.begin() as connection:
            connection.execute(statement, [asdict(row) for row in rows])

    def remove(self, document_id: str) -> None:
        here = (documents.c.collection == self.collection) & (documents.c.document_id == document_id)
        with self._database.begin() as connection:
            connection.execute(delete(documents).where(here))

    def clear(self) -> None:
        with self._database.begin() as connection:
            connection.execute(delete(documents).where(documents.c.collection == self.collection))

    def counts(self) -> dict[DocumentState, int]:
        return dict(Counter(row.state for row in self.rows().values()))
