from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.jobs.site import Site, edit, write_site


@pytest.fixture
def postgresql_database(postgresql: str) -> Iterator[str]:
    """A database of its own, where queues and ledger lie together, dropped again."""
    name = f"llmops_test_{uuid4().hex[:12]}"
    url = make_url(postgresql).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A workspace with nothing ingested; on PostgreSQL where a test asks for it by parameter."""
    is_shared = getattr(request, "param", "sqlite") == "postgresql"
    url = request.getfixturevalue("postgresql_database") if is_shared else ""
    return Site(write_site(tmp_path / "site"), {"LLMOPS_DATABASE_URL": url} if url else {})


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """What an undisturbed run in one go makes of the pages."""
    made = Site(write_site(tmp_path_factory.mktemp("clean")))
    made.does("ingest", "run", "docs")
    return made


@pytest.fixture(scope="session")
def clean_edited(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same of their second edition."""
    made = Site(write_site(tmp_path_factory.mktemp("clean-edited")))
    made.does("ingest", "run", "docs")  # the weights of words are those of the edition that made the collection
    edit(made.root)
    made.does("ingest", "run", "docs")
    return made
