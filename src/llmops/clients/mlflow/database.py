"""MLflow's tables in a database that this process opens itself: made, brought up to date, and found again."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, text

from llmops.clients.mlflow.place import Place
from llmops.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

_LOCK_ID = 0x6C6C6D6C  # "llml": one process at a time makes MLflow's tables on PostgreSQL
_TABLES = (("experiments", "artifact_location"), ("runs", "artifact_uri"))


class Store(Protocol):
    """What a registry keeps of MLflow's stores: their connections, to close them."""

    engine: Engine


def open_stores(place: Place) -> Sequence[Store]:
    """MLflow's two stores at its newest schema; one process at a time.

    Raises:
        ConfigurationError: the schema is older (not embedded) or unknown.
    """
    if place.file:
        place.file.parent.mkdir(parents=True, exist_ok=True)
    with _locked_file(place.file) if place.file else nullcontext():
        if place.file and not place.file.exists():
            _make(place.file)
        with _connected(place) as connection:
            _check_schema(connection, place)
            stores = _stores(place)
        if place.kind == "embedded":
            _follow_move(stores[0].engine, _root(place))
    return stores


def _stores(place: Place) -> tuple[Store, Store]:
    from mlflow.store.model_registry import sqlalchemy_store as prompts
    from mlflow.store.tracking import sqlalchemy_store as runs

    run_store: Store = runs.SqlAlchemyStore(place.uri, _root(place))  # type: ignore[no-untyped-call]  # MLflow's
    prompt_store: Store = prompts.SqlAlchemyStore(place.uri)  # type: ignore[no-untyped-call]  # MLflow's
    return run_store, prompt_store


def _schema() -> Any:
    """What MLflow's own `mlflow db` commands call; it has no types."""
    from mlflow.store.db import utils

    return utils


def _root(place: Place) -> str:
    assert place.artifacts is not None
    return place.artifacts.as_uri()


@contextmanager
def _locked_file(file: Path) -> Iterator[None]:
    """Wait until no other process opens this file for the first time."""
    with file.with_name(file.name + ".lock").open("a") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(file: Path) -> None:
    """All tables under another name, then one rename: a process that is killed leaves no half of them."""
    schema = _schema()
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    engine = schema.create_sqlalchemy_engine(f"sqlite:///{new}")
    try:
        schema._initialize_tables(engine)
    finally:
        engine.dispose()
    new.replace(file)


@contextmanager
def _connected(place: Place) -> Iterator[Connection]:
    """A connection of our own first: MLflow tries for minutes where nothing answers."""
    engine = create_engine(place.uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if place.file is None:
            connection.execute(text("SELECT pg_advisory_lock(:id)"), {"id": _LOCK_ID})
        yield connection


def _check_schema(connection: Connection, place: Place) -> None:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    if not inspect(connection).has_table("alembic_version"):
        return
    revision = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "base")
    script = ScriptDirectory.from_config(_schema()._get_alembic_config(""))
    if revision in ("base", *script.get_heads()):
        return
    try:
        script.get_revision(revision)
    except CommandError as exc:
        problem = (
            f"the registry {place.shown!r} has a schema ({revision!r}) that the installed MLflow does not know"
        )
        cure = "upgrade mlflow, or use another database if this one belongs to another program"
        raise ConfigurationError(f"{problem}; {cure}") from exc
    if place.kind != "embedded":
        problem = f"the registry {place.shown!r} was written by an older MLflow"
        raise ConfigurationError(f"{problem}; back it up, then run `mlflow db upgrade` with its URI")
    assert place.file is not None
    _upgrade(place.file)


def _upgrade(file: Path) -> None:
    schema = _schema()
    shutil.copy2(file, file.with_name(file.name + ".before-upgrade"))  # SQLite takes back no half of a migration
    engine = schema.create_sqlalchemy_engine(f"sqlite:///{file}")
    try:
        schema._upgrade_db(engine)
    finally:
        engine.dispose()


def _follow_move(engine: Engine, root: str) -> None:
    """Artifacts are recorded with the whole path: when the workspace has moved, they are where it is now."""
    with engine.begin() as connection:
        found = connection.execute(text("SELECT artifact_location FROM experiments WHERE experiment_id = 0"))
        old = str(found.scalar() or "").removesuffix("/0")
        if old == root or not old.startswith("file:") or not old.endswith("/" + root.rpartition("/")[2]):
            return
        for table, column in _TABLES:
            moved = f"UPDATE {table} SET {column} = :new || substr({column}, :n + 1)"
            begins = f"substr({column}, 1, :n) = :old"
            values = {"new": root + "/", "old": old + "/", "n": len(old) + 1}
            connection.execute(text(f"{moved} WHERE {begins}"), values)
