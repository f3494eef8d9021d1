"""The audit log: a chain without gaps, whoever writes it, in which every change shows."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from llmops.clients.database import Database, open_database
from llmops.clients.database.tables import aliases, audit, releases
from llmops.errors import StorageError
from llmops.releases import Move, ReleaseBook
from llmops.releases.aliases import move_alias
from llmops.releases.audit import AuditEvent, append_event, latest_events, record_event, verify_chain

CHANGED = "the audit log was changed: event {} does not follow from the one before it; compare the ledger with a b"
TEXTS = (
    "ada",
    'O\'Brien "the" 管理者 🙂 \\ %s {x}',
    "one\ntwo\r\n\tthree\u2028",
    "a\0b",
    "caf\udce9",  # what Python makes of a name that is not UTF-8
    "x" * 1000,
)


def tell(database: Database, n: int = 5) -> list[AuditEvent]:
    """Events 1 to n, oldest first."""
    for number in range(1, n + 1):
        record_event(database, actor="ada", action="test", subject=f"thing:{number}", details={"n": number})
    return latest_events(database)[::-1]


def move(target: str, **other: Any) -> Move:
    fields: dict[str, Any] = {"kind": "prompt", "name": "answer", "action": "promote", "actor": "ada"}
    return Move(target=target, **{**fields, **other})


def test_an_empty_log_verifies(ledger: Database) -> None:
    assert (verify_chain(ledger), latest_events(ledger)) == (0, [])


def test_every_event_follows_from_the_one_before_it(database: Database) -> None:
    events = tell(database)
    assert verify_chain(database) == 5
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert [event.previous_hash for event in events] == ["0" * 64, *(event.hash for event in events[:-1])]
    assert [event.subject for event in latest_events(database, 2)] == ["thing:5", "thing:4"]


def test_details_come_back_as_they_were_given(database: Database) -> None:
    details = {"z": 0.1 + 0.2, "a": [1, None, True, 2**80, -1e-300], "ä": {"nested": "🙂"}, "": ""}
    record_event(database, actor="ada", action="test", subject="s", details=details)
    assert latest_events(database)[0].details == details
    assert verify_chain(database) == 1


def test_any_text_may_be_told(database: Database) -> None:
    for said in TEXTS:
        ReleaseBook(database).move([move("d1", actor=said, reason=said, is_forced=True)])
        record_event(database, actor=said, action="test", subject=said, details={said: said})
        assert latest_events(database)[0].details == {said: said}
        kept = said.replace("\0", "\ufffd").replace("\udce9", "?")
        [release] = ReleaseBook(database).history(limit=1)
        assert (release.reason, release.actor) == (kept, kept[:128])
    assert verify_chain(database) == 2 * len(TEXTS)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "eve"),
        ("action", "release.rollback"),
        ("subject", "thing:30"),
        ("details", {"n": 4}),
        ("details", {"n": 3, "more": ""}),
        ("previous_hash", "0" * 64),
        ("hash", "0" * 64),
        ("sequence", 30),
    ],
)
def test_a_changed_event_is_found(column: str, value: Any, ledger: Database) -> None:
    tell(ledger)
    with ledger.begin() as connection:
        connection.execute(update(audit).where(audit.c.sequence == 3).values({column: value}))
    with pytest.raises(StorageError, match=CHANGED.format(4 if column == "sequence" else 3)):
        verify_chain(ledger)


def test_a_changed_time_is_found(ledger: Database) -> None:
    events = tell(ledger)
    for shift in (timedelta(microseconds=1), timedelta(hours=1)):
        with ledger.begin() as connection:
            connection.execute(update(audit).where(audit.c.sequence == 1).values(at=events[0].at + shift))
        with pytest.raises(StorageError, match=CHANGED.format(1)):
            verify_chain(ledger)


def test_a_removed_event_is_found(ledger: Database) -> None:
    tell(ledger)
    with ledger.begin() as connection:
        connection.execute(delete(audit).where(audit.c.sequence == 3))
    with pytest.raises(StorageError, match=CHANGED.format(4)):
        verify_chain(ledger)
    with ledger.begin() as connection:  # closing the gap does not hide it
        for sequence in (4, 5):
            connection.execute(update(audit).where(audit.c.sequence == sequence).values(sequence=sequence - 1))
    with pytest.raises(StorageError, match=CHANGED.format(3)):
        verify_chain(ledger)


def test_a_removed_beginning_is_found(ledger: Database) -> None:
    tell(ledger)
    with ledger.begin() as connection:
        connection.execute(delete(audit).where(audit.c.sequence < 3))
    with pytest.raises(StorageError, match=CHANGED.format(3)):
        verify_chain(ledger)


def test_an_inserted_event_is_found(ledger: Database) -> None:
    events = tell(ledger)
    with ledger.begin() as connection:
        for sequence in (5, 4):
            connection.execute(update(audit).where(audit.c.sequence == sequence).values(sequence=sequence + 1))
        row = connection.execute(select(audit).where(audit.c.sequence == 3)).one()._mapping
        connection.execute(insert(audit).values({**row, "sequence": 4, "previous_hash": events[2].hash}))
    with pytest.raises(StorageError, match=CHANGED.format(4)):
        verify_chain(ledger)


def test_two_events_that_changed_places_are_found(ledger: Database) -> None:
    tell(ledger)
    with ledger.begin() as connection:
        for before, after in ((2, 20), (3, 2), (20, 3)):
            connection.execute(update(audit).where(audit.c.sequence == before).values(sequence=after))
    with pytest.raises(StorageError, match=CHANGED.format(2)):
        verify_chain(ledger)


@pytest.mark.parametrize(("column", "value"), [("at", "some day"), ("details", "{")])
def test_an_event_that_cannot_be_read_is_a_changed_one(column: str, value: str, ledger: Database) -> None:
    tell(ledger)
    with ledger.begin() as connection:
        connection.execute(text(f"UPDATE audit SET {column} = :value WHERE sequence = 3"), {"value": value})
    with pytest.raises(
        StorageError, match=r"the audit log was changed: an event cannot be read .*; compare the l"
    ):
        verify_chain(ledger)


def test_a_failure_after_the_event_leaves_neither(database: Database) -> None:
    tell(database, 1)
    with pytest.raises(RuntimeError, match="stop"), database.begin_alone() as connection:
        move_alias(connection, move("d1"))
        append_event(connection, actor="ada", action="test", subject="s", details={})
        raise RuntimeError("stop")
    with database.read() as connection:
        assert connection.execute(select(aliases)).all() == connection.execute(select(releases)).all() == []
    assert verify_chain(database) == 1


def test_an_event_that_cannot_be_written_takes_the_release_with_it(database: Database) -> None:
    book = ReleaseBook(database)
    book.move([move("d1")])
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    with pytest.raises(StorageError, match=r"the ledger .* failed \(.*audit"):
        book.move([move("d2")])
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO audit"))
    book.refresh()
    now = book.now("prompt", "answer")
    assert now is not None
    assert now.target == "d1"
    assert [release.target for release in book.history()] == ["d1"]
    assert verify_chain(database) == 1


def counted(database: Database, n: int) -> None:
    """n releases are there, each with its event, in one order, and each knows the one before it."""
    told = ReleaseBook(database).history(limit=1000)[::-1]
    events = latest_events(database, 1000)[::-1]
    with database.read() as connection:
        numbers = connection.execute(select(releases.c.sequence).order_by(releases.c.sequence)).scalars().all()
    assert list(numbers) == list(range(1, n + 1))
    assert [event.details["release_id"] for event in events] == [release.release_id for release in told]
    assert [release.previous for release in told] == ["", *(release.target for release in told[:-1])]
    assert len({release.target for release in told}) == n
    assert verify_chain(database) == n
    now = ReleaseBook(database).now("prompt", "answer")
    assert now is not None
    assert now.target == told[-1].target


def test_threads_that_release_at_once_lose_nothing(database: Database) -> None:
    def release(thread: int) -> None:
        book = ReleaseBook(database)
        for number in range(8):
            book.move([move(f"{thread}-{number}", version=number)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(release, range(4)))
    counted(database, 32)


RELEASES = """
import sys, time
from pathlib import Path
from llmops.clients.database import open_database
from llmops.releases import Move, ReleaseBook
url, folder, me = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
database = open_database(url, folder / "ledger.sqlite3")
book = ReleaseBook(database)
(folder / f"ready-{me}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.001)
for number in range(12):
    move = Move(kind="prompt", name="answer", target=f"{me}-{number}", action="promote", actor=me)
    book.move([move])
database.close()
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_that_release_at_once_lose_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    database = open_database(url, tmp_path / "ledger.sqlite3")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RELEASES, url, str(tmp_path), me],
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in ("ada", "eve")
    ]
    said = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    counted(database, 24)
    database.close()
