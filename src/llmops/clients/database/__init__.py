"""The database of the ledger: SQLite in WAL mode, or PostgreSQL by URL."""

from llmops.clients.database.engine import Database, open_database

__all__ = ["Database", "open_database"]
