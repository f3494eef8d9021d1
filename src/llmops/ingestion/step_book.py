"""What the steps of a queued sync hand each other: on the ledger, where an erasure reaches it, not in queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import Database
from llmops.clients.database.tables import sync_steps
from llmops.errors import StorageError

_PLAN = -1


class StepBook:
    """The plan of one sync and what its batches did; gone when the sync ends."""

    def __init__(self, database: Database, sync_id: str) -> None:
        self._database, self._sync_id = database, sync_id

    def plan(self, planned: Mapping[str, Any]) -> None:
        """Keep a plan, JSON; what steps of an earlier one did is dropped."""
        here = sync_steps.c.sync_id == self._sync_id
        values = {"sync_id": self._sync_id, "number": _PLAN, "outcome": dict(planned)}
        with self._database.begin() as connection:
            connection.execute(delete(sync_steps).where(here))
            connection.execute(insert(sync_steps).values(values))

    def keep(self, number: int, outcome: Mapping[str, Any]) -> None:
        """Keep what a batch did, JSON; of two that did it at the same time, the first is believed."""
        dialect = sqlite if self._database.is_sqlite else postgresql
        values = {"sync_id": self._sync_id, "number": number, "outcome": dict(outcome)}
        with self._database.begin() as connection:
            connection.execute(dialect.insert(sync_steps).values(values).on_conflict_do_nothing())

    def is_kept(self, number: int) -> bool:
        """Whether a batch was written."""
        return self._find(number) is not None

    def planned(self) -> dict[str, Any]:
        """The plan.

        Raises:
            StorageError: the sync has ended.
        """
        return self._outcome(_PLAN)

    def outcomes(self, n_batches: int) -> list[dict[str, Any]]:
        """What the batches did, in their order.

        Raises:
            StorageError: the sync has ended, or a batch was not written.
        """
        return [self._outcome(number) for number in range(n_batches)]

    def _outcome(self, number: int) -> dict[str, Any]:
        found = self._find(number)
        if found is None:
            raise StorageError(f"the sync {self._sync_id!r} is not under way any more; run the pipeline again")
        return found

    def _find(self, number: int) -> dict[str, Any] | None:
        here = (sync_steps.c.sync_id == self._sync_id) & (sync_steps.c.number == number)
        with self._database.read() as connection:
            found = connection.execute(select(sync_steps.c.outcome).where(here)).scalar_one_or_none()
        return dict(found) if found is not None else None
