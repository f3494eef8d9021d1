"""Verdicts on the ledger: stored once with their report, found by the beginning of their id, newest first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmops.clients.database import Database
from llmops.errors import NotFoundError
from llmops.records import GateCheck, MetricValue, Verdict
from llmops.releases import VerdictBook

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CHECKS = (
    GateCheck(
        rule="recall@5 at least 0.9 (by mean)",
        outcome="pass",
        measured=MetricValue(metric="recall@5", value=0.1 + 0.2, low=0.0, high=1.0, n=8, n_errors=1),
        n_needed=31,
        reason="– naïve",
    ),
    GateCheck(rule="token_f1 on correction at least 1", outcome="inconclusive", measured=None),
)


def verdict(verdict_id: str = "ver_1a", *, days: int = 0, **other: Any) -> Verdict:
    fields: dict[str, Any] = {
        "suite": "library",
        "suite_digest": "s1",
        "outcome": "pass",
        "contents": {"prompt:answer": "d1", "stored-as:docs": "docs-1"},
        "checks": CHECKS,
        "actor": "ada",
        "commit": "c0ffee",
        "run_id": "",
    }
    return Verdict(verdict_id=verdict_id, at=NOW + timedelta(days=days), **{**fields, **other})


def test_a_verdict_comes_back_with_its_report(database: Database) -> None:
    book = VerdictBook(database)
    report = b'{"results": [' + b'"answer \xe2\x80\x93", ' * 10_000 + b"1]}"
    book.add(verdict(), report)
    assert book.get("ver_1a") == verdict()
    assert book.report("ver_1a") == report
    assert book.latest() == [verdict()]


def test_a_verdict_without_a_rule_and_one_that_failed_come_back(ledger: Database) -> None:
    book = VerdictBook(ledger)
    for given in (verdict("ver_a", checks=()), verdict("ver_b", outcome="fail"), verdict("ver_c", contents={})):
        book.add(given, b"")
        assert book.get(given.verdict_id) == given
        assert book.report(given.verdict_id) == b""


def test_the_first_word_stands(ledger: Database) -> None:
    book = VerdictBook(ledger)
    book.add(verdict(outcome="fail"), b"first")
    book.add(verdict(outcome="pass", days=1), b"second")
    assert (book.latest(), book.report("ver_1a")) == ([verdict(outcome="fail")], b"first")


def test_the_newest_come_first_and_suites_do_not_mix(database: Database) -> None:
    book = VerdictBook(database)
    for name, days, suite in (("ver_b", 2, "library"), ("ver_a", 1, "library"), ("ver_d", 4, "team")):
        book.add(verdict(name, days=days, suite=suite), b"")
    book.add(verdict("ver_c", days=3), b"")
    assert [one.verdict_id for one in book.latest()] == ["ver_d", "ver_c", "ver_b", "ver_a"]
    assert [one.verdict_id for one in book.latest("library")] == ["ver_c", "ver_b", "ver_a"]
    assert [one.verdict_id for one in book.latest("library", limit=2)] == ["ver_c", "ver_b"]
    assert book.latest("none") == []


def test_the_beginning_of_an_id_is_enough_when_only_one_has_it(database: Database) -> None:
    book = VerdictBook(database)
    book.add(verdict("ver_1a"), b"a")
    book.add(verdict("ver_1b"), b"b")
    assert (book.get("ver_1b").verdict_id, book.report("ver_1b")) == ("ver_1b", b"b")
    with pytest.raises(NotFoundError, match="more than one verdict begins with 'ver_1'; `llmops eval list` shows"):
        book.get("ver_1")
    for unknown in ("ver_2", "ver%", "ver_1_", "er_1a", "VER_1A!"):
        with pytest.raises(NotFoundError, match=f"no verdict '{unknown}'; `llmops eval list` shows them"):
            book.report(unknown)


def test_a_run_that_was_logged_is_remembered(ledger: Database) -> None:
    book = VerdictBook(ledger)
    book.add(verdict("ver_1a"), b"")
    book.add(verdict("ver_1b"), b"")
    book.logged("ver_1a", "run7")
    assert (book.get("ver_1a").run_id, book.get("ver_1b").run_id) == ("run7", "")


def test_many_may_add_the_same_at_once(database: Database) -> None:
    def add(n: int) -> None:
        VerdictBook(database).add(verdict(actor=str(n)), str(n).encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(8)))
    [kept] = VerdictBook(database).latest()
    assert VerdictBook(database).report("ver_1a") == kept.actor.encode()
