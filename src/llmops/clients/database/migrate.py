"""Bringing a ledger to the newest schema with Alembic, which is imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from llmops.errors import ConfigurationError

HEAD = "0004"
"""The newest revision in `migrations/versions/`; a test holds the two together."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_ID = 0x6C6C6D6F  # "llmo": one migration at a time on PostgreSQL


def migrate(connection: Connection) -> None:
    """Upgrade inside the given transaction; nothing is done (and Alembic not imported) at the newest schema."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
    elif connection.dialect.name == "sqlite":
        # pysqlite begins a transaction only at the first change; two first starts must not interleave.
        connection.exec_driver_sql("BEGIN IMMEDIATE") if not _at_head(connection) else None
    if _at_head(connection):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        problem = f"the ledger was written by a newer llmops ({error})"
        raise ConfigurationError(f"{problem}; upgrade llmops or use another LLMOPS_DATABASE_URL") from error


def _at_head(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
