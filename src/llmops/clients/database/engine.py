"""Opening the ledger, and turning what a database can say into one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from llmops.clients.database.migrate import migrate
from llmops.errors import ConfigurationError, MissingExtraError, StorageError

_BUSY_TIMEOUT_MS = 10_000
_ALONE = 0x616C6F6E  # "alon"; migrations have a lock of their own
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):.*@")
_PASSWORD_FIELD = re.compile(r"(?i)(password=)[^&\s]+")
_WRITE_ONE = "write postgresql://user:password@host/name"


class Database:
    """An open ledger at the newest schema. Every error of the driver leaves as a `StorageError`."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self.place = place

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with self._mapped(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def begin_alone(self) -> Iterator[Connection]:
        """As `begin`, with no other such transaction at the same time: for what is read before it is written."""
        with self._mapped(), self._engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _ALONE})
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading."""
        with self._mapped(), self._engine.connect() as connection:
            yield connection

    def compact(self) -> None:
        """Let nothing of what was deleted stay in the files; PostgreSQL's autovacuum does so in its own time."""
        if self.is_sqlite:
            with self._mapped(), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise StorageError(_explain(error, self.place)) from error


def open_database(url: str, path: Path) -> Database:
    """The ledger at `url`, or SQLite at `path` when `url` is empty; migrated to the newest schema.

    Raises:
        ConfigurationError: the URL cannot be understood.
        StorageError: the database cannot be opened, read or migrated.
    """
    place = _without_password(url) if url else str(path)
    parsed = _parse(url, place) if url else URL.create("sqlite", database=str(path))
    try:
        if not url:
            path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except (ArgumentError, NoSuchModuleError, TypeError) as error:
        raise ConfigurationError(f"LLMOPS_DATABASE_URL {place!r} cannot be used; {_WRITE_ONE}") from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve") from error
    except OSError as error:
        raise StorageError(f"cannot make the ledger {place}: {error.strerror}; check the folder") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
    database = Database(engine, place)
    try:
        with database.begin() as connection:
            migrate(connection)
    except BaseException:
        database.close()
        raise
    return database


def _parse(url: str, place: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # What cannot be parsed is not shown beyond its scheme: a password may stand anywhere in it.
        problem = f"LLMOPS_DATABASE_URL '{url.partition(':')[0]}:…' is not a database URL"
        raise ConfigurationError(f"{problem}; {_WRITE_ONE}") from error
    if "@" in (parsed.host or ""):
        problem = "LLMOPS_DATABASE_URL has more than one '@'"
        raise ConfigurationError(f"{problem}; write those of the password as %40")
    if parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        problem = f"LLMOPS_DATABASE_URL {place!r} names {parsed.drivername!r}"
        raise ConfigurationError(f"{problem}; a ledger lives in PostgreSQL or SQLite: {_WRITE_ONE}")
    return parsed


def _without_password(text: str) -> str:
    return _PASSWORD_FIELD.sub(r"\1…", _PASSWORD.sub(r"\1:…@", text))


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")  # what was erased is not to be read off the disk
    cursor.close()


def _explain(error: SQLAlchemyError, place: str) -> str:
    said = str(error.orig if isinstance(error, DBAPIError) and error.orig else error).strip().splitlines()[0]
    said = _without_password(said)
    cures = {
        "readonly": "make the folder and the file writable",
        "unable to open": "check that the folder exists and is writable",
        "is full": "free some disk space; nothing already written is lost",
        "disk i/o": "check the disk and its free space; nothing already written is lost",
        "malformed": "restore the file from a backup, or move it away and run `llmops ingest` again",
        "not a database": "restore the file from a backup, or move it away and run `llmops ingest` again",
        "locked": "another process holds it; try again",
        "connection": "is the database running, and is LLMOPS_DATABASE_URL right?",
    }
    cure = next((cure for word, cure in cures.items() if word in said.lower()), "run `llmops doctor`")
    return f"the ledger {place} failed ({said}); {cure}"
