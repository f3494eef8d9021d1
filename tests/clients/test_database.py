"""The ledger's schema, the same on SQLite and PostgreSQL; and what is said when it cannot be opened."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import column, insert, inspect, select, text, update
from sqlalchemy import table as lightweight_table

from llmops.clients.database import Database, migrate, open_database
from llmops.clients.database.tables import UtcDateTime, aliases, documents, metadata
from llmops.errors import ConfigurationError, LlmopsError, StorageError
from llmops.releases import CollectionBook, CollectionShape
from llmops.releases.audit import verify_chain
from llmops.tracing import ContentVault, TraceReader

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ROWS: dict[str, dict[str, Any]] = {
    "traces": {
        "inference_id": "inf_1",
        "route": "r",
        "started_at": NOW,
        "status": "ok",
        "caller": "c",
        "model": "m",
        "prompt_digest": "d",
        "spec_hashes": {"route:r": "h"},
        "input_tokens": 1,
        "output_tokens": 2,
        "cost_usd": 0.25,
        "ttft_ms": 1.5,
        "duration_ms": 2.5,
        "content_policy": "none",
        "spans": b"\x00\xff[]",
        "error": "",
        "findings": [{"check": "pii"}],
    },
    "feedback": {
        "feedback_id": "fb_1",
        "inference_id": "inf_1",
        "created_at": NOW,
        "name": "thumb",
        "value": False,
        "comment": "ok — “quoted” 🙂",
        "correction": "",
        "caller": "c",
    },
    "collections": {
        "collection": "docs-1",
        "name": "docs",
        "state": "ready",
        "embedder": "e",
        "embedder_digest": "d",
        "dimension": 4,
        "chunker": {"max_tokens": 200},
        "average_terms": 12.5,
        "spec_hash": "h",
        "created_at": NOW,
        "boilerplate": ["b1"],
    },
    "aliases": {
        "kind": "collection",
        "name": "docs",
        "alias": "production",
        "target": "docs-1",
        "version": None,
        "since": NOW,
    },
    "releases": {
        "sequence": 1,
        "release_id": "rel_1",
        "at": NOW,
        "kind": "prompt",
        "name": "answer",
        "alias": "production",
        "target": "d2",
        "version": 2,
        "previous": "d1",
        "previous_version": 1,
        "action": "promote",
        "actor": "ada",
        "verdict_id": "ver_1",
        "is_forced": False,
        "reason": "",
    },
    "artifacts": {
        "kind": "prompt",
        "name": "answer",
        "digest": "d2",
        "content": "---\nname: answer",
        "version": 2,
        "author": "ada",
        "commit": "c",
        "created_at": NOW,
    },
    "verdicts": {
        "verdict_id": "ver_1",
        "suite": "s",
        "suite_digest": "d",
        "outcome": "pass",
        "contents": {"prompt:answer": "d2"},
        "checks": [{"rule": "r"}],
        "at": NOW,
        "actor": "ada",
        "commit": "",
        "run_id": "",
        "report": b"\x78\x9c",
    },
    "audit": {
        "sequence": 1,
        "at": NOW,
        "actor": "ada",
        "action": "release.promote",
        "subject": "prompt:answer@production",
        "details": {"target": "d2"},
        "previous_hash": "0",
        "hash": "1",
    },
    "documents": {
        "collection": "docs-1",
        "document_id": "d1",
        "uri": "a.md",
        "title": "A",
        "state": "indexed",
        "reason": "",
        "n_chunks": 1,
        "n_bytes": 2,
        "content_hash": "h",
        "fingerprint": "f",
        "updated_at": NOW,
        "listed": "l",
        "item": {"uri": "a.md", "acl": None},
        "acl": ["a"],
        "labels": {"licence": "MIT"},
        "signature": b"\x00\x01",
        "attempts": 2,
        "retry_at": NOW,
        "expires_at": NOW,
    },
    "syncs": {
        "sync_id": "s1",
        "pipeline": "docs",
        "collection": "docs-1",
        "state": "held",
        "source_hash": "h",
        "started_at": NOW,
        "ended_at": None,
        "checkpoint": {"place": {"cursor": "c"}},
        "reason": "too much",
        "report": {"n_found": 1},
        "owner": "host:1",
    },
    "sync_items": {"sync_id": "s1", "document_id": "d1", "position": 0, "batch": 1, "item": {"uri": "a.md"}},
    "sync_steps": {"sync_id": "s1", "number": -1, "outcome": {"n_batches": 1}},
    "source_events": {
        "event_id": 1,
        "pipeline": "docs",
        "document_id": "d1",
        "at": NOW,
        "kind": "access",
        "acl": [],
    },
    "memberships": {"origin": "docs", "group_principal": "group:a", "member": "user:ada", "at": NOW},
    "pushed_documents": {
        "pipeline": "docs",
        "document_id": "d1",
        "uri": "a.md",
        "item": {"version": "1"},
        "raw": b"\xff\x00",
        "at": NOW,
    },
    "workers": {"worker_id": "w1", "place": "host:1", "queues": ["ingest"], "started_at": NOW, "beat_at": NOW},
    "forgotten": {"pipeline": "docs", "document_id": "d2", "at": NOW, "actor": "ada"},
    "api_keys": {
        "key_id": "k1",
        "name": "n",
        "key_hash": "h",
        "role": "app",
        "principals": ["a", "b"],
        "tenant": "acme",
        "created_at": NOW,
        "revoked_at": None,
    },
}
TABLES = metadata.tables
OLD_ALIASES = lightweight_table("aliases", column("alias"), column("collection"), column("since", UtcDateTime))


def fill(database: Database) -> None:
    with database.begin() as connection:
        for name, row in ROWS.items():
            connection.execute(insert(TABLES[name]).values(row))


def contents(database: Database) -> dict[str, dict[str, Any]]:
    with database.read() as connection:
        return {name: dict(connection.execute(select(table)).one()._mapping) for name, table in TABLES.items()}


def downgrade(database: Database, revision: str = "base") -> None:
    """Take the ledger back to a revision, or to before its first."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def reopen(database: Database) -> Database:
    """The same ledger, opened once more."""
    url = database._engine.url.render_as_string(hide_password=False)
    return open_database(url, Path("unused"))


def test_every_row_comes_back_as_it_was_written(database: Database) -> None:
    fill(database)
    assert contents(database) == ROWS


def test_every_table_is_filled_by_these_tests() -> None:
    assert set(metadata.tables) == set(ROWS)
    for name, table in metadata.tables.items():
        assert set(ROWS[name]) == set(table.c.keys())


def test_the_migrated_schema_is_what_the_code_says(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_opening_again_loses_nothing(database: Database) -> None:
    fill(database)
    again = reopen(database)
    try:
        assert contents(again) == ROWS
    finally:
        again.close()


def test_a_downgrade_leaves_nothing_and_opening_begins_anew(database: Database) -> None:
    fill(database)
    downgrade(database)
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 0
    again = reopen(database)
    try:
        fill(again)
    finally:
        again.close()


KEPT_SINCE_0001 = ("traces", "feedback", "collections", "documents", "api_keys")
N_OLD_ROWS = 3
NEWER = {
    "traces": {"findings"},
    "collections": {"boilerplate"},
    "documents": {"listed", "item", "acl", "labels", "signature", "attempts", "retry_at", "expires_at"},
    "api_keys": {"tenant"},
}
"""Columns that revision 0001 did not have."""


def to_revision(database: Database, revision: str) -> None:
    """Bring a ledger forward to a revision, as an earlier llmops did."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def old_row(name: str, number: int) -> dict[str, Any]:
    """A row as revision 0001 had it; its keys differ from one number to the next."""
    row = {key: value for key, value in ROWS[name].items() if key not in NEWER.get(name, ())}
    keys = [key.name for key in TABLES[name].primary_key] + ["key_hash"] * (name == "api_keys")
    return row | {key: f"{row[key]}.{number}" for key in keys}


def old_ledger(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Fill a ledger of revision 0001; what its tables hold."""
    downgrade(database)
    to_revision(database, "0001")
    held = {name: [old_row(name, number) for number in range(N_OLD_ROWS)] for name in KEPT_SINCE_0001}
    with database.begin() as connection:
        for name, rows in held.items():
            connection.execute(insert(TABLES[name]), rows)
        for number in range(N_OLD_ROWS):
            row = {"alias": f"docs{number}", "collection": f"docs{number}-1", "since": NOW}
            connection.execute(insert(OLD_ALIASES).values(row))
    return held


def held_now(database: Database, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """All rows without the columns that revision 0001 did not have, ordered by key."""
    found = {}
    with database.read() as connection:
        for name in names:
            columns = [one for one in TABLES[name].c if one.name not in NEWER.get(name, ())]
            query = select(*columns).order_by(*TABLES[name].primary_key)
            found[name] = [dict(row._mapping) for row in connection.execute(query)]
    return found


def test_a_ledger_of_revision_0001_keeps_every_row(database: Database) -> None:
    held = old_ledger(database)
    again = reopen(database)
    try:
        assert held_now(again, KEPT_SINCE_0001) == held
        with again.read() as connection:
            assert set(connection.execute(select(TABLES["traces"].c.findings)).scalars()) == {None}
            found = [dict(row._mapping) for row in connection.execute(select(aliases).order_by(aliases.c.name))]
            compared = compare_metadata(MigrationContext.configure(connection), metadata)
        assert found == [
            {
                "kind": "collection",
                "name": f"docs{number}",
                "alias": "production",
                "target": f"docs{number}-1",
                "version": None,
                "since": NOW,
            }
            for number in range(N_OLD_ROWS)
        ]
        assert compared == []
    finally:
        again.close()


def test_an_upgraded_ledger_can_be_used(database: Database) -> None:
    old_ledger(database)
    again = reopen(database)
    try:
        book = CollectionBook(again)
        assert book.names() == ["docs0", "docs1", "docs2"]
        with again.begin() as connection:
            connection.execute(update(TABLES["traces"]).values(spans=b"[]"))
        read = TraceReader(again, ContentVault("", Path("unused"))).latest()
        assert [trace.findings for trace in read] == [()] * N_OLD_ROWS
        shape = CollectionShape(**{**ROWS["collections"], "collection": "docs0-2", "name": "docs0"})
        book.register(shape)
        assert book.point("docs0", "docs0-2").previous == "docs0-1"
        assert verify_chain(again) == 1
    finally:
        again.close()


def test_an_upgrade_that_fails_leaves_the_old_ledger_as_it_was(database: Database) -> None:
    held = old_ledger(database)
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE audit (mine INTEGER)"))  # the last table that 0002 makes
    with pytest.raises(StorageError, match=r"the ledger .* failed \(.*audit"):
        reopen(database)
    assert held_now(database, KEPT_SINCE_0001) == held
    with database.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        assert len(connection.execute(select(OLD_ALIASES)).all()) == N_OLD_ROWS
        connection.execute(text("DROP TABLE audit"))
    again = reopen(database)
    try:
        assert held_now(again, KEPT_SINCE_0001) == held
    finally:
        again.close()


def test_several_threads_may_upgrade_a_ledger_at_once(database: Database) -> None:
    held = old_ledger(database)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: reopen(database), range(4)))
    for one in opened:
        one.close()
    assert held_now(database, KEPT_SINCE_0001) == held


def test_a_downgrade_to_0001_keeps_what_0001_knows_and_comes_back(database: Database) -> None:
    fill(database)
    staging = {**ROWS["aliases"], "alias": "staging", "target": "docs-9"}
    prompt = {**ROWS["aliases"], "kind": "prompt", "name": "answer", "target": "d2", "version": 2}
    with database.begin() as connection:
        connection.execute(insert(aliases), [staging, prompt])
    before = held_now(database, KEPT_SINCE_0001)
    downgrade(database, "0001")
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version", "aliases", *KEPT_SINCE_0001}
        indexes = {index["name"] for index in inspect(connection).get_indexes("traces")}
        found = [tuple(row) for row in connection.execute(select(OLD_ALIASES))]
    assert indexes == {"traces_by_route", "traces_by_time"}
    assert found == [("docs", "docs-1", NOW)]
    assert held_now(database, KEPT_SINCE_0001) == before
    again = reopen(database)
    try:
        assert held_now(again, KEPT_SINCE_0001) == before
        assert held_now(again, ["aliases"]) == {"aliases": [ROWS["aliases"]]}
        assert held_now(again, ["audit", "releases"]) == {"audit": [], "releases": []}
    finally:
        again.close()


def test_the_newest_revision_is_the_one_named_in_the_code() -> None:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert scripts.get_heads() == [migrate.HEAD]
    assert "env.py" in {path.name for path in Path(scripts.dir).iterdir()}


def test_a_ledger_of_a_newer_llmops_is_refused_and_left_alone(database: Database) -> None:
    fill(database)
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(
        ConfigurationError, match=r"written by a newer llmops .*upgrade llmops or use another LLMOPS_D"
    ):
        reopen(database)
    assert contents(database) == ROWS


def test_several_threads_may_open_a_new_ledger_at_once(database: Database) -> None:
    downgrade(database)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: reopen(database), range(4)))
    for one in opened:
        one.close()
    fill(database)


def test_several_processes_may_make_a_new_ledger_at_once(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
import alembic.command
from llmops.clients.database import open_database
folder = Path(sys.argv[1])
(folder / f"ready-{sys.argv[2]}").touch()
while len(list(folder.glob("ready-*"))) < 3:
    time.sleep(0.001)
open_database("", folder / "state" / "ledger.sqlite3").close()
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(n)], stderr=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    said = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said


def test_a_ledger_at_the_newest_schema_is_opened_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    open_database("", path).close()
    script = (
        "import sys; from pathlib import Path; from llmops.clients.database import open_database; "
        "open_database('', Path(sys.argv[1])).close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_new_sqlite_ledger_survives_a_crash_and_lets_many_read(tmp_path: Path) -> None:
    database = open_database("", tmp_path / "deep" / "ledger.sqlite3")
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 10_000
    database.close()


def test_a_path_with_signs_of_a_url_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a?b=c#d%20e" / "ledger.sqlite3"
    open_database("", path).close()
    assert path.is_file()


def test_a_failed_block_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(RuntimeError, match="stop"), database.begin() as connection:
        connection.execute(insert(aliases).values(ROWS["aliases"]))
        raise RuntimeError("stop")
    with database.read() as connection:
        assert connection.execute(select(aliases)).all() == []


def test_what_is_read_in_a_block_of_its_own_is_not_changed_before_it_is_written(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(insert(documents).values(ROWS["documents"]))

    def count(_: int) -> None:
        with database.begin_alone() as connection:
            n = connection.execute(select(documents.c.n_chunks)).scalar_one()
            time.sleep(0.001)  # so that another thread would come between
            connection.execute(update(documents).values(n_chunks=n + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(20)))
    with database.read() as connection:
        assert connection.execute(select(documents.c.n_chunks)).scalar_one() == 21


def test_a_failed_block_of_its_own_leaves_nothing_behind_and_lets_others_in(database: Database) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="stop"), database.begin_alone() as connection:
            connection.execute(insert(aliases).values(ROWS["aliases"]))
            raise RuntimeError("stop")
    with pytest.raises(StorageError, match=r"the ledger .* failed"), database.begin_alone() as connection:
        connection.execute(text("SELECT nonsense FROM aliases"))
    with database.begin_alone() as connection:
        assert connection.execute(select(aliases)).all() == []


def test_a_row_twice_is_an_error_of_the_ledger(database: Database) -> None:
    fill(database)
    with pytest.raises(StorageError, match=r"the ledger .* failed \(.*(UNIQUE|duplicate key)"):
        fill(database)


def test_times_are_always_utc(database: Database) -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    with database.begin() as connection:
        connection.execute(insert(aliases).values({**ROWS["aliases"], "since": east}))
    with database.read() as connection:
        read = connection.execute(select(aliases.c.since)).scalar_one()
    assert read == NOW
    assert read.utcoffset() == timedelta(0)


def test_text_that_no_database_takes_is_stored_without_what_it_refuses(database: Database) -> None:
    with database.begin() as connection:
        row = {**ROWS["documents"], "title": "a\x00b", "reason": "half \ud83d pair"}
        connection.execute(insert(documents).values(row))
        found = connection.execute(select(documents.c.title).where(documents.c.document_id == "d1\x00")).all()
        assert found == []
    with database.read() as connection:
        title, reason = connection.execute(select(documents.c.title, documents.c.reason)).one()
    assert (title, reason) == ("a\ufffdb", "half ? pair")


SECRET = "s3cret"
BAD_URLS = {
    "no URL": ("nonsense", "LLMOPS_DATABASE_URL 'nonsense:…' is not a database URL; write postgresql://user"),
    "no slashes": (f"postgresql:u:{SECRET}@host/d", "'postgresql:…' is not a database URL"),
    "a port that is no number": (f"postgresql://u:{SECRET}@host:port/d", "'postgresql:…' is not a database URL"),
    "an @ in the password": (f"postgresql://u:p@{SECRET}@127.0.0.1:1/d", "write those of the password as %40"),
    "another database": (
        f"mysql://u:{SECRET}@h/d",
        "'mysql://u:…@h/d' names 'mysql'; a ledger lives in PostgreSQL or",
    ),
    "another driver": (f"postgresql+psycopg2://u:{SECRET}@h/d", "names 'postgresql+psycopg2'"),
    "an old scheme": (f"postgres://u:{SECRET}@h/d", "names 'postgres'"),
}
UNREACHABLE = {
    "a closed port": f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    "no user": f"postgresql://:{SECRET}@127.0.0.1:1/d",
    "a password with blanks and slashes": f"postgresql://u:p {SECRET}/x@127.0.0.1:1/d",
    "a password as a parameter": f"postgresql://127.0.0.1:1/d?user=u&password={SECRET}",
}


@pytest.mark.parametrize("case", BAD_URLS)
def test_a_url_that_cannot_be_used_is_said_to_be_so(case: str, tmp_path: Path) -> None:
    url, said = BAD_URLS[case]
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        open_database(url, tmp_path / "unused")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("case", UNREACHABLE)
def test_a_database_that_is_not_running_is_said_to_be_so(case: str, tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"Connection refused.*is the database running, and is LLMOPS_DATABASE_URL r"
    ) as caught:
        open_database(UNREACHABLE[case], tmp_path / "unused")
    assert SECRET not in str(caught.value)


def test_a_database_that_does_not_exist_is_named(postgresql: str, tmp_path: Path) -> None:
    url = re.sub(r"/[^/]*$", "/no_such_database", postgresql)
    with pytest.raises(StorageError, match='database "no_such_database" does not exist'):
        open_database(url, tmp_path / "unused")


def junk(path: Path) -> None:
    path.write_bytes(b"no database, but long enough to look at" * 100)


def cut(path: Path) -> None:
    open_database("", path).close()
    raw = path.read_bytes()
    path.write_bytes(raw[:4096] + b"\xff" * (len(raw) - 4096))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (junk, "(file is not a database); restore the file from a backup, or move it away"),
        (cut, "(database disk image is malformed); restore the file from a backup, or move it away"),
        (Path.mkdir, "(unable to open database file); check that the folder exists and is writable"),
    ],
)
def test_a_file_that_is_no_ledger_is_said_to_be_so(make: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    make(path)
    with pytest.raises(StorageError, match=re.escape(f"the ledger {path} failed {said}")):
        open_database("", path)


def test_a_folder_that_cannot_be_made_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot make the ledger .*: File exists; check the folder"):
        open_database("", tmp_path / "file" / "ledger.sqlite3")


def test_a_ledger_that_may_only_be_read_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    open_database("", path).close()
    database = open_database(f"sqlite:///file:{path}?mode=ro&uri=true", tmp_path / "unused")
    with database.read() as connection:
        assert connection.execute(select(aliases)).all() == []
    with pytest.raises(StorageError, match=r"readonly database\); make the folder and the file writable"):
        fill(database)
    database.close()


def test_a_ledger_that_another_holds_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    database = open_database("", path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with database.read() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=1")
        with pytest.raises(StorageError, match=r"\(database is locked\); another process holds it; try again"):
            fill(database)
    finally:
        holder.close()
        database.close()


def test_errors_of_the_ledger_are_ours() -> None:
    assert issubclass(StorageError, LlmopsError)
