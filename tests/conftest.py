"""What all tests share: no network but loopback, no settings of the machine, one encoder."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from llmops.clients.database import Database, open_database
from llmops.clients.protocols import Embedder

os.environ["HF_HUB_OFFLINE"] = "1"
REPOSITORY = Path(__file__).resolve().parents[1]
_SHARED = Path(os.environ.get("LLMOPS_SHARED") or REPOSITORY.parent / "shared")
_KEPT = ("LLMOPS_TEST_", "LLMOPS_SHARED")


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: it sees every connection of this process's Python code, whichever library makes it."""
    if event not in ("socket.connect", "socket.sendto") or not isinstance(arguments[1], tuple):
        return
    host = str(arguments[1][0])
    if host in ("localhost", ""):
        return
    try:
        allowed = ipaddress.ip_address(host).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise AssertionError(f"a test may talk to loopback only, not to {host!r}")


sys.addaudithook(_refuse_network)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`LLMOPS_*` of the machine must not decide what a test sees."""
    for name in list(os.environ):
        if name.startswith(("LLMOPS_", "MLFLOW_")) and not name.startswith(_KEPT):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public data beside the repository."""
    if not _SHARED.is_dir():
        pytest.skip("no public data: set LLMOPS_SHARED to its folder")
    return _SHARED


@pytest.fixture(scope="session")
def postgresql() -> str:
    """The URL of a PostgreSQL server for tests."""
    url = os.environ.get("LLMOPS_TEST_DATABASE_URL") or "postgresql://postgres@127.0.0.1/test"
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 2})
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        pytest.skip(f"no PostgreSQL for tests (set LLMOPS_TEST_DATABASE_URL): {reason}")
    finally:
        engine.dispose()
    return url


@pytest.fixture
def postgresql_url(postgresql: str) -> Iterator[str]:
    """A URL whose tables land in a schema of their own, dropped again."""
    schema = f"llmops_test_{uuid4().hex[:12]}"
    url = make_url(postgresql).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A ledger on each kind of database."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    opened = open_database(url, tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """The packaged encoder, loaded once."""
    from llmops.clients.embeddings import load_embedder

    return load_embedder("all-MiniLM-L6-v2", cache_dir=tmp_path_factory.mktemp("models"), threads=2)
