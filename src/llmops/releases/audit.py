"""The audit log: who did what, in a chain in which no event can be changed or left out unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import desc, insert, select
from sqlalchemy.engine import Connection, Row

from llmops.clients.database import Database
from llmops.clients.database.tables import StorableText, audit
from llmops.config import digest
from llmops.errors import StorageError

_GENESIS = "0" * 64


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEvent:
    """One event.

    Attributes:
        sequence: 1 for the first; without gaps.
        subject: what it was done to, such as "prompt:answer@production".
        hash: SHA-256 (hex) of the event with the hash of the one before it.
    """

    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]
    previous_hash: str
    hash: str


def append_event(
    connection: Connection, *, actor: str, action: str, subject: str, details: Mapping[str, Any]
) -> None:
    """Add an event inside a transaction of `Database.begin_alone`: it is there when what it tells of is."""
    last = connection.execute(
        select(audit.c.sequence, audit.c.hash).order_by(desc(audit.c.sequence)).limit(1)
    ).first()
    sequence, previous_hash = (last.sequence + 1, last.hash) if last is not None else (1, _GENESIS)
    event = {
        "sequence": sequence,
        "at": datetime.now(UTC),
        "actor": _kept(connection, actor)[:128],
        "action": action,
        "subject": _kept(connection, subject)[:256],
        "details": dict(details),
        "previous_hash": previous_hash,
    }
    connection.execute(insert(audit).values({**event, "hash": _hash(event)}))


def record_event(
    database: Database, *, actor: str, action: str, subject: str, details: Mapping[str, Any] | None = None
) -> None:
    """Add an event in a transaction of its own."""
    with database.begin_alone() as connection:
        append_event(connection, actor=actor, action=action, subject=subject, details=details or {})


def latest_events(database: Database, limit: int = 50) -> list[AuditEvent]:
    """The newest events, newest first."""
    with database.read() as connection:
        rows = connection.execute(select(audit).order_by(desc(audit.c.sequence)).limit(limit)).all()
    return [_event(row) for row in rows]


def verify_chain(database: Database) -> int:
    """Check every event against the one before it, and return their number.

    A log whose last events were cut off still verifies: keep the last hash elsewhere to see that too.

    Raises:
        StorageError: an event was changed, added or left out; names the first.
    """
    try:
        with database.read() as connection:
            rows: Sequence[Row[Any]] = connection.execute(select(audit).order_by(audit.c.sequence)).all()
    except (ValueError, TypeError) as error:  # what stands there is no time or no JSON
        problem = f"the audit log was changed: an event cannot be read ({error})"
        raise StorageError(f"{problem}; compare the ledger with a backup") from error
    previous_hash = _GENESIS
    for expected, row in enumerate(rows, start=1):
        values = dict(row._mapping)
        said = values.pop("hash")
        if row.sequence != expected or row.previous_hash != previous_hash or said != _hash(values):
            raise StorageError(
                f"the audit log was changed: event {row.sequence} does not follow from the one before it; "
                "compare the ledger with a backup"
            )
        previous_hash = said
    return len(rows)


def _kept(connection: Connection, text: str) -> str:
    """Text as the ledger's columns keep it: what is hashed is what will be read again."""
    return StorableText().process_bind_param(text, connection.dialect) or ""


def _hash(values: Mapping[str, Any]) -> str:
    return digest({**values, "at": values["at"].isoformat(timespec="microseconds")})


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(**row._mapping)
