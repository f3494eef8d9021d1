"""`llmops audit`: who changed what, and proof that nobody rewrote it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_an_empty_log(llmops: Command, fresh: Path) -> None:
    assert llmops("audit", "list", "-w", fresh).out == ""
    assert llmops("audit", "list", "-w", fresh, "--json").json == []
    assert llmops("audit", "verify", "-w", fresh, "--json").json == {"n_events": 0, "hash": ""}
    assert llmops("audit", "verify", "-w", fresh).out.startswith("0 events")


def test_events_are_listed_newest_first(llmops: Command, library: Path) -> None:
    llmops("prompt", "alias", "answer", "staging", "1", "-w", library)
    reason = ("--force", "--reason", "the demo is at noon")
    assert llmops("release", "promote", "prompt:answer", *reason, "-w", library).code == 0
    events = llmops("audit", "list", "-w", library, "--json").json
    assert [event["sequence"] for event in events] == [4, 3, 2, 1]
    assert [event["action"] for event in events] == [
        "release.promote",
        "release.alias",
        "prompt.publish",
        "release.ingest",
    ]
    assert events[0]["details"]["reason"] == "the demo is at noon"
    assert (events[0]["actor"], events[0]["subject"]) == ("ada", "prompt:answer@production")
    lines = llmops("audit", "list", "-n", "2", "-w", library).out.splitlines()
    assert len(lines) == 2
    assert "ada  release.promote  prompt:answer@production  " in lines[0]
    assert lines[0].endswith("the demo is at noon")


def test_verify_says_how_many_and_the_last_hash(llmops: Command, library: Path) -> None:
    value = llmops("audit", "verify", "-w", library, "--json").json
    last = llmops("audit", "list", "-n", "1", "-w", library, "--json").json[0]
    assert value == {"n_events": 2, "hash": last["hash"]}
    said = llmops("audit", "verify", "-w", library)
    assert said.code == 0
    assert said.out == f"2 events, each follows from the one before it; last hash {last['hash']}\n"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET actor = 'eve' WHERE sequence = 1",
        "UPDATE audit SET details = '{}' WHERE sequence = 2",
        "DELETE FROM audit WHERE sequence = 1",
    ],
)
def test_tampering_ends_in_exit_3(llmops: Command, library: Path, change: str) -> None:
    llmops("prompt", "alias", "answer", "staging", "1", "-w", library)
    path = library / ".llmops" / "ledger.sqlite3"
    with sqlite3.connect(path) as ledger:
        for (trigger,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            ledger.execute(f"DROP TRIGGER {trigger}")
        assert ledger.execute(change).rowcount == 1
    ledger.close()
    llmops("audit", "verify", "-w", library).refused(3)
    ended = llmops("audit", "verify", "-w", library, "--json")
    assert (ended.code, ended.err) == (3, "")
    assert ended.json["error"]["type"] == "StorageError"


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many"])
def test_a_limit_out_of_range(llmops: Command, fresh: Path, limit: str) -> None:
    ended = llmops("audit", "list", "-n", limit, "-w", fresh)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
