"""The right to be forgotten: what was erased stays erased, whatever its source goes on to list."""

from __future__ import annotations

from sqlalchemy import select

from llmops.clients.database import Database
from llmops.clients.database.tables import forgotten


def forgotten_documents(database: Database, pipeline: str) -> frozenset[str]:
    """Ids of the documents of a pipeline that must never come back."""
    query = select(forgotten.c.document_id).where(forgotten.c.pipeline == pipeline)
    with database.read() as connection:
        return frozenset(connection.execute(query).scalars())
