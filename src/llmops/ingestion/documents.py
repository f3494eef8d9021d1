"""The ledger of documents: one row says what became of each, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import Database
from llmops.clients.database.tables import documents
from llmops.config import digest
from llmops.records import DocumentState

_SLICE = 500  # values a statement may carry


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRow:
    """What is known of one document in one collection.

    Attributes:
        state: "pending" while its points are being written; "failed" keeps the last good version searchable.
        reason: one sentence; of an indexed document it says which parts could not be read.
        fingerprint: hash of content, metadata and recipe: equal means there is nothing to embed.
        listed: hash of the version that the source listed and of the recipe; "" when the source has no versions.
        item: what fetching it again needs, where its uri alone does not say it.
        acl: principals who may read it, as on its points.
        labels: what governance found and put on it.
        signature: MinHash of its text, where near-duplicates are left out.
        attempts: failures in a row; the next try is at `retry_at`.
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
    listed: str = ""
    item: Mapping[str, Any] | None = None
    acl: tuple[str, ...] | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    signature: bytes | None = None
    attempts: int = 0
    retry_at: datetime | None = None
    expires_at: datetime | None = None


class DocumentLedger:
    def __init__(self, database: Database, collection: str) -> None:
        self._database, self.collection = database, collection

    def rows(self) -> dict[str, DocumentRow]:
        """All rows of the collection by document id."""
        query = select(documents).where(documents.c.collection == self.collection).order_by(documents.c.uri)
        with self._database.read() as connection:
            return {row.document_id: _row(row._mapping) for row in connection.execute(query)}

    def some(self, document_ids: Sequence[str]) -> dict[str, DocumentRow]:
        """The rows of these documents, as far as there are any."""
        found: dict[str, DocumentRow] = {}
        with self._database.read() as connection:
            for start in range(0, len(document_ids), _SLICE):
                some = documents.c.document_id.in_(document_ids[start : start + _SLICE])
                query = select(documents).where(documents.c.collection == self.collection, some)
                found.update((row.document_id, _row(row._mapping)) for row in connection.execute(query))
        return found

    def get(self, document_id: str) -> DocumentRow | None:
        """One row, as it is now."""
        here = (documents.c.collection == self.collection) & (documents.c.document_id == document_id)
        with self._database.read() as connection:
            row = connection.execute(select(documents).where(here)).one_or_none()
        return _row(row._mapping) if row is not None else None

    def set_acl(self, document_id: str, acl: Sequence[str]) -> bool:
        """Who may read a document from now on; False when there is no such row."""
        here = (documents.c.collection == self.collection) & (documents.c.document_id == document_id)
        with self._database.begin() as connection:
            return bool(connection.execute(update(documents).where(here).values(acl=list(acl))).rowcount)

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
            connection.execute(statement, [_values(row) for row in rows])

    def make_due(self, document_ids: Sequence[str]) -> None:
        """Let documents that failed be tried at the next sync, with all their attempts before them."""
        fresh = {"state": "failed", "attempts": 0, "retry_at": datetime.now(UTC)}
        with self._database.begin() as connection:
            for start in range(0, len(document_ids), _SLICE):
                some = documents.c.document_id.in_(document_ids[start : start + _SLICE])
                here = (documents.c.collection == self.collection) & some
                connection.execute(update(documents).where(here).values(fresh))

    def remove(self, *document_ids: str) -> None:
        """Forget rows, one transaction."""
        with self._database.begin() as connection:
            for start in range(0, len(document_ids), _SLICE):
                some = documents.c.document_id.in_(document_ids[start : start + _SLICE])
                connection.execute(delete(documents).where(documents.c.collection == self.collection, some))

    def clear(self) -> None:
        with self._database.begin() as connection:
            connection.execute(delete(documents).where(documents.c.collection == self.collection))

    def counts(self) -> dict[DocumentState, int]:
        return dict(Counter(row.state for row in self.rows().values()))


def _row(values: Mapping[Any, Any]) -> DocumentRow:
    """A row as the ledger holds it; one written before this version knew permissions has none."""
    fields = dict(values)
    fields["acl"] = tuple(fields["acl"]) if fields["acl"] is not None else None
    fields["labels"] = fields["labels"] or {}
    return DocumentRow(**fields)


def _values(row: DocumentRow) -> dict[str, Any]:
    values = asdict(row)
    values["acl"] = list(row.acl) if row.acl is not None else None
    return values
