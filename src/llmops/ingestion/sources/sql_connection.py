"""A database that is only read, through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Select, create_engine, event, make_url, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from llmops.errors import ConfigurationError, MissingExtraError

_BUFFERED_ROWS = 100


class ReadOnly:
    """Connections in read-only transactions (PostgreSQL, MySQL, MariaDB, SQLite); elsewhere they are rolled back.

    Args:
        url_env: the variable that held `url`, for errors: the URL may hold a password and is never shown.
        timeout_s: for one statement, where the database can hold it (PostgreSQL).

    Raises:
        ConfigurationError: no URL that SQLAlchemy knows.
        MissingExtraError: the driver is not installed.
    """

    def __init__(self, url: str, *, url_env: str, timeout_s: float) -> None:
        self._timeout_ms = max(1, int(timeout_s * 1000))
        try:
            parsed = _with_driver(make_url(url))
            self._engine: Engine = create_engine(parsed, pool_pre_ping=True, pool_recycle=300)
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise ConfigurationError(f"{url_env} holds no SQLAlchemy URL of a database that is known") from error
        except ModuleNotFoundError as error:
            if error.name == "psycopg":
                raise MissingExtraError("psycopg", "serve") from error
            problem = f"the driver {error.name!r} of the database in {url_env} is not installed"
            raise ConfigurationError(f"{problem}; install it") from error
        self._dialect = self._engine.dialect.name
        if self._dialect == "sqlite" and parsed.database and not Path(parsed.database).is_file():
            raise ConfigurationError(f"{url_env}: there is no SQLite file {parsed.database!r}")
        if statement := _READ_ONLY.get(self._dialect):
            event.listen(self._engine, "connect", lambda connection, _: _run(connection, statement))

    def rows(self, query: Select[Any]) -> Iterator[Row[Any]]:
        """The rows of a query as they come, in a transaction of their own.

        Raises:
            SQLAlchemyError: the database fails.
        """
        is_postgresql = self._dialect == "postgresql"
        with self._engine.connect() as connection:
            if is_postgresql:
                connection.execution_options(postgresql_readonly=True)
                connection.execute(text(f"SET LOCAL statement_timeout = {self._timeout_ms}"))
            connection.execution_options(stream_results=True, max_row_buffer=_BUFFERED_ROWS)
            with connection.execute(query) as result:
                yield from result

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


def _run(connection: Any, statement: str) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()


def _with_driver(url: URL) -> URL:
    """PostgreSQL through psycopg, the driver that is ours."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url
