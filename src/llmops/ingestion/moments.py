"""The order of syncs and events as the ledger has it: clocks run backwards, and differ from machine to machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from llmops.clients.database.tables import source_events, syncs

_NEXT = timedelta(microseconds=1)


def next_moment(connection: Connection, pipeline: str) -> datetime:
    """Now, and in any case after every sync that began and every event that was taken of a pipeline.

    Whether an event came after a listing is read from these moments. Call it in the transaction that writes the
    moment down, with no other such transaction at the same time.
    """
    newest: tuple[datetime | None, ...] = (
        connection.execute(select(func.max(syncs.c.started_at)).where(syncs.c.pipeline == pipeline)).scalar(),
        connection.execute(
            select(func.max(source_events.c.at)).where(source_events.c.pipeline == pipeline)
        ).scalar(),
    )
    return max([datetime.now(UTC), *(moment + _NEXT for moment in newest if moment is not None)])
