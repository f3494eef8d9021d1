"""The right to be forgotten: what was erased stays erased, whatever its source goes on to list."""

from __future__ import annotations

from sqlalchemy import func, select

from llmops.clients.database import Database
from llmops.clients.database.tables import forgotten


def n_forgotten(database: Database) -> int:
    """How many documents were erased, of all pipelines: it changes with every erasure."""
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(forgotten)).scalar_one()


def forgotten_documents(database: Database, pipeline: str) -> frozenset[str]:
    """Ids of the documents of a pipeline that must never come back."""
    query = select(forgotten.c.document_id).where(forgotten.c.pipeline == pipeline)
    with database.read() as connection:
        return frozenset(connection.execute(query).scalars())
