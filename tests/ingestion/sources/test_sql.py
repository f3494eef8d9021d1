"""A query as a source: the same on SQLite and PostgreSQL, and only ever read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, create_engine, text

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError, SourceDeniedError, SourceError
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.sources.specs_data import ColumnNames, SqlSource
from llmops.ingestion.sources.sql import SqlQuery
from tests.ingestion.sources.contract import SourceContract

Make = Callable[..., SqlQuery]
COLUMNS = {"title": "name", "url": "link", "version": "changed", "acl": "readers", "metadata": ["team", "price"]}
TABLE = """CREATE TABLE pages (
    id INTEGER, text TEXT, name TEXT, link TEXT, changed TIMESTAMP, readers TEXT, team TEXT, price NUMERIC(10, 2)
)"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'wiki.sqlite3'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def database(url: str) -> Iterator[Engine]:
    """With five pages, of which one hides itself."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(TABLE))
    for n in range(1, 6):
        run(engine, page(n))
    yield engine
    engine.dispose()


def page(n: int, body: str = "", readers: str = "'everyone'") -> str:
    columns = f"{n}, '{body or f'text of {n}'}', 'Page {n}', 'https://example.org/{n}'"
    return f"INSERT INTO pages VALUES ({columns}, '2026-01-0{n % 9 + 1} 10:00:00', {readers}, 'a', 1.5)"


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    made: list[SqlQuery] = []

    def source(query: str = "SELECT * FROM pages", **fields: Any) -> SqlQuery:
        has_acl = bool(fields.get("columns", {}).get("acl"))
        given = {"type": "sql", "url_env": "WIKI_URL", "query": query, **fields}
        spec = SqlSource.model_validate_json(json.dumps({**({} if has_acl else {"acl": ["everyone"]}), **given}))
        made.append(SqlQuery(spec, {"WIKI_URL": url}))
        return made[-1]

    yield source
    for one in made:
        one.close()


def listing(source: SqlQuery) -> tuple[dict[str, Item], list[str]]:
    pages = list(source.pages(None, None))
    assert all(page.is_everything for page in pages)
    return {item.uri: item for page in pages for item in page.items}, [p for page in pages for p in page.problems]


class TablePlace:
    """The contract's documents as rows of a table."""

    def __init__(self, engine: Engine, url: str, has_version: bool) -> None:
        self.engine, self.url, self.has_version, self.n_writes = engine, url, has_version, 0
        run(engine, "CREATE TABLE wiki (id VARCHAR(40) PRIMARY KEY, text TEXT, changed INTEGER)")

    def open(self) -> SqlQuery:
        columns = ColumnNames(version="changed") if self.has_version else ColumnNames()
        spec = SqlSource(
            type="sql", url_env="U", query="SELECT * FROM wiki", columns=columns, acl=("ann",), page_rows=2
        )
        return SqlQuery(spec, {"U": self.url})

    def write(self, name: str, body: str) -> None:
        self.n_writes += 1
        upsert = (
            "INSERT INTO wiki VALUES (:id, :text, :n) ON CONFLICT (id) DO UPDATE SET text = :text, changed = :n"
        )
        with self.engine.begin() as connection:
            connection.execute(text(upsert), {"id": name, "text": body, "n": self.n_writes})

    def remove(self, name: str) -> None:
        run(self.engine, f"DELETE FROM wiki WHERE id = '{name}'")

    def uri(self, name: str) -> str:
        return name


class TestRows(SourceContract):
    """The contract."""

    @pytest.fixture(params=[True, False], ids=["a version column", "no version column"])
    def place(self, request: pytest.FixtureRequest, url: str) -> Iterator[TablePlace]:
        engine = create_engine(url)
        yield TablePlace(engine, url, request.param)
        engine.dispose()


def test_a_row_is_a_document(database: Engine, make: Make) -> None:
    source = make(columns=COLUMNS, metadata={"kind": "wiki"}, media_type="text/markdown", page_rows=2)
    items, problems = listing(source)
    assert (sorted(items), problems) == (["1", "2", "3", "4", "5"], [])
    one = items["2"]
    assert (one.title, one.url, one.acl) == ("Page 2", "https://example.org/2", ("everyone",))
    assert one.version.startswith("2026-01-03")
    assert one.metadata["kind"] == "wiki"
    assert (one.metadata["team"], float(str(one.metadata["price"]))) == ("a", 1.5)
    fetched = source.fetch(one, max_bytes=100)
    assert (fetched.raw, fetched.version, fetched.acl) == (b"text of 2", one.version, ("everyone",))


@pytest.mark.parametrize("columns", [{}, {"version": "changed"}])
def test_only_a_row_that_changed_has_another_version(
    database: Engine, make: Make, columns: dict[str, str]
) -> None:
    source = make(columns=columns)
    before, _ = listing(source)
    assert listing(source)[0] == before
    run(database, "UPDATE pages SET text = 'new', changed = '2020-01-01 00:00:00' WHERE id = 3")  # runs backwards
    run(database, "DELETE FROM pages WHERE id = 4")
    after, _ = listing(source)
    assert {uri for uri in after if after[uri].version != before[uri].version} == {"3"}
    assert sorted(set(before) - set(after)) == ["4"]


@pytest.mark.parametrize(
    ("stored", "acl"),
    [
        ("NULL", None),
        ("''", ()),
        ("'group:b, ann'", ("ann", "group:b")),
        ("""'["ann"]'""", ("ann",)),
        ("'[ann'", None),
    ],
)
def test_principals_come_from_a_column_and_null_hides(
    database: Engine, make: Make, stored: str, acl: tuple[str, ...] | None
) -> None:
    run(database, page(9, readers=stored))
    source = make(columns={"acl": "readers"})
    item = listing(source)[0]["9"]
    assert item.acl == acl
    assert source.fetch(item, max_bytes=100).acl == acl
    run(database, "UPDATE pages SET readers = 'bob' WHERE id = 9")
    assert listing(source)[0]["9"].acl == ("bob",)


def test_an_array_of_principals(make: Make, database: Engine) -> None:
    if database.dialect.name != "postgresql":
        pytest.skip("SQLite has no arrays")
    source = make("SELECT id, text, ARRAY['b', 'a'] AS readers FROM pages", columns={"acl": "readers"})
    assert listing(source)[0]["1"].acl == ("a", "b")


def test_a_listing_goes_on_after_a_break(database: Engine, make: Make) -> None:
    source = make(page_rows=2)
    first = next(source.pages(None, None))
    assert [item.uri for item in first.items] == ["1", "2", "3"]
    run(database, "DELETE FROM pages WHERE id = 3")  # the row where it goes on
    run(database, page(8))
    rest = [
        item.uri for page in source.pages(json.loads(json.dumps(first.checkpoint)), None) for item in page.items
    ]
    assert rest == ["4", "5", "8"]


def test_rows_that_come_and_go_while_it_is_listed_do_not_hide_others(database: Engine, make: Make) -> None:
    source = make(page_rows=1)
    pages = source.pages(None, None)
    got = [item.uri for item in next(pages).items]
    run(database, "DELETE FROM pages WHERE id = 1")
    run(database, page(7))
    got += [item.uri for page in pages for item in page.items]
    assert got == ["1", "2", "3", "4", "5", "7"]


def test_text_ids_and_ids_of_other_kinds(database: Engine, make: Make) -> None:
    source = make("SELECT 'page:' || id AS id, text FROM pages", page_rows=1)
    items, problems = listing(source)
    assert (sorted(items), problems) == ([f"page:{n}" for n in range(1, 6)], [])
    assert source.fetch(items["page:3"], max_bytes=100).raw == b"text of 3"
    if database.dialect.name == "postgresql":
        run(database, "CREATE TABLE keyed AS SELECT gen_random_uuid() AS id, text FROM pages")
        source = make("SELECT * FROM keyed", page_rows=1)
        items, problems = listing(source)
        assert (len(items), problems) == (5, [])
        assert {source.fetch(item, max_bytes=100).raw for item in items.values()} == {
            f"text of {n}".encode() for n in range(1, 6)
        }


def test_rows_without_an_id_or_with_the_same_one_are_problems(database: Engine, make: Make) -> None:
    run(database, "INSERT INTO pages (id, text) VALUES (NULL, 'nameless')")
    run(database, page(2, "again"))
    for page_rows in (2, 3, 100):
        items, problems = listing(make(page_rows=page_rows))
        assert sorted(items) == ["1", "2", "3", "4", "5"]
        assert problems[0] == "a row has no id (NULL); mend source.query"
        assert "the id '2' stands on more than one row; mend source.query" in problems
    run(database, "UPDATE pages SET id = 2 WHERE id < 5")
    items, problems = listing(make(page_rows=2))
    assert sorted(items) == ["2", "5"]
    assert "more than 2 rows share the id 2; mend source.query" in problems


def test_a_row_that_vanishes_after_it_was_listed_is_gone(database: Engine, make: Make) -> None:
    source = make(columns={"version": "changed"})
    items, _ = listing(source)
    run(database, "DELETE FROM pages WHERE id = 1")
    with pytest.raises(DocumentGoneError, match="does not return this row any more"):
        source.fetch(items["1"], max_bytes=100)
    run(database, "UPDATE pages SET text = 'newer', changed = '2027-01-01 00:00:00' WHERE id = 2")
    fetched = source.fetch(items["2"], max_bytes=100)
    assert fetched.raw == b"newer"
    assert fetched.version != items["2"].version
    run(database, "UPDATE pages SET text = NULL WHERE id = 2")
    assert source.fetch(items["2"], max_bytes=100).raw == b""


def test_a_text_over_the_limit_stays_in_the_database(database: Engine, make: Make) -> None:
    run(database, page(9, "x" * 300_000))
    source = make(max_file_bytes=1000)
    items, _ = listing(source)
    with pytest.raises(DocumentError, match=r"is larger than 1,000 bytes \(it has 300,000\)"):
        source.fetch(items["9"], max_bytes=1000)
    run(database, page(8, "é" * 600))
    with pytest.raises(DocumentError, match=r"is larger than 1,000 bytes \(it has 1,200\)"):
        source.fetch(listing(source)[0]["8"], max_bytes=1000)


def test_bytes_are_handed_on_as_they_are(database: Engine, make: Make) -> None:
    cast = "CAST(text AS BLOB)" if database.dialect.name == "sqlite" else "convert_to(text, 'UTF8')"
    source = make(f"SELECT id, {cast} AS text FROM pages")
    items, _ = listing(source)
    assert source.fetch(items["1"], max_bytes=100).raw == b"text of 1"


def test_a_query_with_colons_percents_comments_and_a_semicolon(database: Engine, make: Make) -> None:
    with database.begin() as connection:
        connection.execute(text("INSERT INTO pages (id, text) VALUES (9, :body)"), {"body": "at 12:30 :noon 5%"})
    query = "WITH few AS (SELECT * FROM pages WHERE text LIKE '% :noon 5%%') SELECT id, text FROM few; -- the end"
    source = make(query.replace("; --", " --"))
    items, _ = listing(source)
    assert source.fetch(items["9"], max_bytes=100).raw == b"at 12:30 :noon 5%"
    if database.dialect.name == "postgresql":
        assert len(listing(make("SELECT id::bigint AS id, text FROM pages;"))[0]) == 6


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM pages RETURNING id, text",
        "SELECT 1 AS id, 'x' AS text) AS document; DELETE FROM pages; --",
        "SELECT id FROM pages",
        "SELECT * FROM nowhere",
        "nonsense",
    ],
)
def test_a_query_that_is_none_or_writes_is_refused(database: Engine, make: Make, query: str) -> None:
    with pytest.raises((ConfigurationError, SourceError), match="the database"):
        listing(make(query))
    assert len(listing(make())[0]) == 5


def test_functions_that_write_are_refused(database: Engine, make: Make) -> None:
    if database.dialect.name != "postgresql":
        pytest.skip("SQLite has no functions that write")
    run(
        database,
        "CREATE FUNCTION wipe() RETURNS text LANGUAGE sql AS 'DELETE FROM pages; SELECT ''x''::text'",
    )
    with pytest.raises(SourceError, match="read-only transaction"):
        listing(make("SELECT id, wipe() AS text FROM pages"))
    with pytest.raises(SourceError, match="statement timeout"):
        listing(make("SELECT id, text || pg_sleep(20) AS text FROM pages", timeout_s=0.05))
    assert len(listing(make())[0]) == 5


def test_a_database_that_is_away_or_refuses_us(postgresql: str, tmp_path: Path) -> None:
    spec = SqlSource.model_validate({"type": "sql", "url_env": "U", "query": "SELECT 1", "acl": ("a",)})

    def listed(url: str) -> None:
        source = SqlQuery(spec, {"U": url})
        try:
            listing(source)
        finally:
            source.close()

    with pytest.raises(SourceError, match="the database cannot be read: connection failed"):
        listed("postgresql://someone:hush@127.0.0.1:1/none?connect_timeout=2")
    with pytest.raises(SourceDeniedError, match="the database refuses us"):
        listed("postgresql://nobody_at_all@127.0.0.1/test")
    with pytest.raises(ConfigurationError, match="U: there is no SQLite file"):
        listed(f"sqlite:///{tmp_path / 'none.sqlite3'}")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="U holds no SQLAlchemy URL") as caught:
        listed("hush hush")
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="'U' is not set: put the database's SQLAlchemy URL there"):
        SqlQuery(spec, {})


def test_who_may_read_is_said_once() -> None:
    given = {"type": "sql", "url_env": "U", "query": "SELECT 1", "acl": ("a",), "columns": {"acl": "readers"}}
    with pytest.raises(ValidationError, match=r"either acl for all, or columns\.acl for each"):
        SqlSource.model_validate(given)
