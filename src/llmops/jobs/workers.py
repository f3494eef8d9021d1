"""Workers on the ledger: each says that it lives, and the living take over what the dead had begun."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import Database
from llmops.clients.database.tables import workers

BEAT_S = 2.0
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
DEAD_AFTER = timedelta(seconds=15)
"""Silence after which a worker counts as dead: several beats, and longer than a long garbage collection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A process that takes jobs. `place` is its host and process id."""

    worker_id: str
    place: str
    queues: tuple[str, ...]
    started_at: datetime
    beat_at: datetime

    @property
    def is_alive(self) -> bool:
        """Whether it said so lately."""
        return datetime.now(UTC) - self.beat_at < DEAD_AFTER


class WorkerBook:
    """All workers of a workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, worker_id: str, queues: Sequence[str]) -> None:
        """Say that this worker lives."""
        now = datetime.now(UTC)
        values = {
            "worker_id": worker_id,
            "place": f"{socket.gethostname()}:{os.getpid()}",
            "queues": list(queues),
            "started_at": now,
            "beat_at": now,
        }
        dialect = sqlite if self._database.is_sqlite else postgresql
        statement = dialect.insert(workers).values(values)
        changed = {name: statement.excluded[name] for name in ("place", "queues", "beat_at")}
        with self._database.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["worker_id"], set_=changed))

    def all(self) -> list[Worker]:
        """Workers, those that were started first first."""
        with self._database.read() as connection:
            rows = connection.execute(select(workers).order_by(workers.c.started_at)).all()
        return [Worker(**{**row._mapping, "queues": tuple(row.queues)}) for row in rows]

    def dead(self) -> list[str]:
        """Ids of workers that have been silent for too long."""
        return [worker.worker_id for worker in self.all() if not worker.is_alive]

    def retire(self, worker_id: str) -> None:
        """A worker that stops: it counts as dead at once, so that another goes on with what it had begun."""
        here = workers.c.worker_id == worker_id
        with self._database.begin() as connection:
            connection.execute(update(workers).where(here).values(beat_at=_LONG_AGO))

    def leave(self, worker_id: str) -> None:
        """A worker whose jobs others have."""
        with self._database.begin() as connection:
            connection.execute(delete(workers).where(workers.c.worker_id == worker_id))
