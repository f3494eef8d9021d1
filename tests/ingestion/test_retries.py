"""Documents that fail: tried again with growing waits, then parked; nothing else is held up by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from llmops.errors import DocumentError, DocumentGoneError, SourceDeniedError, SourceError
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from tests.ingestion.scripted import Trial

BROKEN = DocumentError("is broken")


@pytest.fixture
def filled(trial: Trial) -> Trial:
    """Three documents, of which the second cannot be read."""
    for name in "abc":
        trial.wiki.put(name, f"Text of {name}.")
    trial.wiki.errors["b"] = BROKEN
    return trial


def retry(trial: Trial, *names: str) -> None:
    DocumentLedger(trial.database, trial.collection).make_due([trial.key(name) for name in names])


def n_fetched(trial: Trial, name: str) -> int:
    return trial.wiki.fetched.count(name)


def test_a_document_that_fails_holds_up_no_other_and_is_tried_again_at_its_time(filled: Trial) -> None:
    filled.changes = {"sync": {"backoff_s": 60}}
    before = datetime.now(UTC)
    report = filled.sync()
    assert (report.n_indexed, report.n_failed, report.is_complete) == (2, 1, False)
    row = filled.rows()["b"]
    assert (row.state, row.reason, row.attempts, row.n_chunks) == ("failed", "is broken", 1, 0)
    assert row.retry_at is not None
    assert timedelta(seconds=59) < row.retry_at - before < timedelta(seconds=90)
    filled.wiki.errors.clear()
    report = filled.sync()  # its time has not come, although it could be read now
    assert (report.n_failed, n_fetched(filled, "b")) == (1, 1)
    assert [(p.uri, p.reason) for p in report.problems] == [("b", "is broken")]


def test_the_wait_doubles_up_to_a_day(filled: Trial) -> None:
    filled.changes = {"sync": {"backoff_s": 3600, "attempts": 100}}
    waits: list[float] = []
    for _ in range(7):
        filled.sync()
        row = filled.rows()["b"]
        assert row.retry_at is not None
        waits.append(round((row.retry_at - row.updated_at) / timedelta(hours=1)))
        ledger = DocumentLedger(filled.database, filled.collection)
        ledger.put([_due(row)])
    assert waits == [1, 2, 4, 8, 16, 24, 24]


def _due(row: DocumentRow) -> DocumentRow:
    from dataclasses import replace

    return replace(row, retry_at=datetime.now(UTC))


def test_a_document_is_parked_after_its_attempts_and_left_alone(filled: Trial) -> None:
    filled.changes = {"sync": {"attempts": 3}}
    for n in range(1, 3):
        assert filled.sync().n_failed == 1
        assert filled.rows()["b"].attempts == n
    report = filled.sync()
    assert (report.n_failed, report.n_parked, report.is_complete) == (0, 1, False)
    row = filled.rows()["b"]
    assert (row.state, row.attempts, row.retry_at) == ("parked", 3, None)
    assert row.reason == "is broken; parked after 3 failures: `llmops ingest retry` tries again"
    report = filled.sync()
    assert (report.n_parked, n_fetched(filled, "b")) == (1, 3)
    assert [p.state for p in report.problems] == ["parked"]


def test_retry_brings_a_parked_document_back_with_all_its_attempts(filled: Trial) -> None:
    filled.changes = {"sync": {"attempts": 2}}
    for _ in range(2):
        filled.sync()
    assert filled.states()["b"] == "parked"
    retry(filled, "b")
    assert filled.sync().n_failed == 1
    assert (filled.rows()["b"].attempts, filled.states()["b"]) == (1, "failed")
    filled.wiki.errors.clear()
    report = filled.sync()
    assert (report.n_indexed, report.is_complete) == (1, True)
    row = filled.rows()["b"]
    assert (row.state, row.attempts, row.retry_at, row.reason) == ("indexed", 0, None, "")


def test_a_new_version_of_a_parked_document_is_read_with_attempts_of_its_own(filled: Trial) -> None:
    filled.changes = {"sync": {"attempts": 2}}
    for _ in range(3):
        filled.sync()
    filled.wiki.put("b", "A new version, as broken as the old one.")
    assert filled.sync().n_failed == 1
    assert (filled.states()["b"], filled.rows()["b"].attempts) == ("failed", 1)
    filled.wiki.errors.clear()
    filled.wiki.put("b", "A version that can be read.")
    assert filled.sync().n_indexed == 1
    assert filled.texts()["b"] == "A version that can be read."


def test_a_document_that_cannot_be_parsed_is_told_from_its_next_version_by_its_bytes(trial: Trial) -> None:
    trial.wiki.has_versions = False
    trial.changes = {"sync": {"attempts": 2}}
    trial.wiki.put("a", "Text.")
    trial.wiki.put("b", "binary", media_type="text/plain")
    trial.wiki.raw["b"] = bytes(range(256)) * 4
    for _ in range(3):
        trial.sync()
    assert (trial.states()["b"], trial.rows()["b"].attempts) == ("parked", 2)
    trial.wiki.raw["b"] = bytes(range(256)) * 5
    trial.sync()
    assert (trial.states()["b"], trial.rows()["b"].attempts) == ("failed", 1)


def test_the_earlier_version_stays_searchable_for_its_readers_and_for_nobody_it_was_taken_from(
    filled: Trial,
) -> None:
    filled.changes = {"sync": {"attempts": 2, "backoff_s": 0}}
    filled.wiki.errors.clear()
    filled.sync()
    filled.wiki.put("b", "A new version.", acl=("team-a",))
    filled.wiki.errors["b"] = BROKEN
    filled.sync()  # fails, and the readers change with it
    assert (filled.readers()["b"], filled.texts()["b"]) == (("team-a",), "Text of b.")
    assert filled.rows()["b"].acl == ("team-a",)
    filled.wiki.allow("b", "team-b")
    filled.sync()  # is parked, and the readers change with it
    assert (filled.states()["b"], filled.readers()["b"]) == ("parked", ("team-b",))
    filled.wiki.allow("b")
    report = filled.sync()  # nothing is read any more
    assert (report.n_permissions, filled.readers()["b"], filled.rows()["b"].acl) == (1, (), ())
    assert n_fetched(filled, "b") == 3


def test_an_earlier_version_whose_document_keeps_failing_goes_with_its_date(filled: Trial) -> None:
    filled.changes = {"governance": {"retention_days": 30}, "sync": {"backoff_s": 3600}}
    filled.wiki.errors.clear()
    filled.wiki.put("b", "Text of b.", modified_at=datetime.now(UTC) - timedelta(days=30, seconds=-2))
    filled.sync()
    assert "b" in filled.texts()
    filled.wiki.put("b", "A new version.", modified_at=datetime.now(UTC))
    filled.wiki.errors["b"] = BROKEN
    assert filled.sync().n_failed == 1
    row = filled.rows()["b"]
    assert row.expires_at is not None  # of the version that stays
    ledger = DocumentLedger(filled.database, filled.collection)
    from dataclasses import replace

    ledger.put([replace(row, expires_at=datetime.now(UTC) - timedelta(seconds=1))])
    filled.sync()
    assert "b" not in filled.texts()


def test_a_source_that_goes_away_stops_the_run_without_parking_what_it_has(trial: Trial) -> None:
    trial.changes = {"sync": {"attempts": 1, "fetchers": 1}}
    names = [f"p{n:02}" for n in range(20)]
    for name in names:
        trial.wiki.put(name, f"Text of {name}.")
    trial.sync()
    for name in names:
        trial.wiki.put(name, f"Another text of {name}.")
        trial.wiki.errors[name] = SourceError("connection refused")
    report = trial.sync()
    assert report.listing_problems == ["the source of 'wiki' fails again and again: connection refused"]
    assert (report.n_parked, report.n_removed, report.is_complete) == (0, 0, False)
    assert [row.attempts for row in trial.rows().values() if row.attempts] == []
    assert all(text.startswith("Text of") for text in trial.texts().values())
    assert len(trial.texts()) == 20
    trial.wiki.errors.clear()
    report = trial.sync()
    assert (report.n_indexed, report.is_complete) == (20, True)


def test_a_few_documents_that_their_source_cannot_give_are_failures_of_their_own(trial: Trial) -> None:
    for n in range(12):
        trial.wiki.put(f"p{n:02}", f"Text of {n}.")
        if n % 3 == 0:
            trial.wiki.errors[f"p{n:02}"] = SourceError("status 500")
    report = trial.sync()
    assert (report.n_indexed, report.n_failed, report.listing_problems) == (8, 4, [])
    assert {row.reason for row in trial.rows().values() if row.state == "failed"} == {"status 500"}
    trial.wiki.errors.clear()
    assert trial.sync().n_indexed == 4


def test_a_source_that_refuses_our_credentials_ends_the_sync_and_nothing_is_lost(filled: Trial) -> None:
    filled.wiki.errors.clear()
    filled.sync()
    filled.wiki.put("a", "Another text of a.")
    filled.wiki.errors["a"] = SourceDeniedError("the token has expired")
    report = filled.sync()
    assert report.listing_problems == ["the token has expired"]
    assert filled.texts()["a"] == "Text of a."
    filled.wiki.errors.clear()
    assert filled.sync().n_indexed == 1


def test_a_first_sync_whose_source_refuses_us_says_so(filled: Trial) -> None:
    for name in "abc":
        filled.wiki.errors[name] = SourceDeniedError("the token has expired")
    with pytest.raises(SourceDeniedError, match="the token has expired"):
        filled.sync()
    assert (filled.last.state, filled.last.reason) == ("failed", "the token has expired")
    filled.wiki.errors.clear()
    assert filled.sync().n_indexed == 3
    assert list(filled.texts()) == list("abc")


def test_a_document_that_changes_between_listing_and_reading_is_not_read_again_for_it(filled: Trial) -> None:
    filled.wiki.errors.clear()

    def change(uri: str) -> None:
        if uri == "b" and filled.wiki.items["b"].version == "2":
            filled.wiki.put("b", "What it says when it is read.")

    filled.wiki.on_fetch = change
    filled.sync()
    assert filled.texts()["b"] == "What it says when it is read."
    report = filled.sync()
    assert (report.n_unchanged, report.n_indexed) == (3, 0)


def test_a_document_that_goes_between_listing_and_reading_is_gone(filled: Trial) -> None:
    filled.wiki.errors = {"b": DocumentGoneError("was removed")}
    report = filled.sync()
    assert (report.n_found, report.n_indexed, report.problems) == (2, 2, [])
    assert list(filled.rows()) == ["a", "c"]
    for name in "defghi":
        filled.wiki.put(name, f"Text of {name}.")
    filled.wiki.errors.clear()
    filled.sync()
    filled.wiki.put("b", "Another text of b.")
    filled.wiki.errors["b"] = DocumentGoneError("was removed")
    report = filled.sync()
    assert (report.n_found, report.n_removed) == (8, 1)
    assert "b" not in filled.texts()


def test_what_fails_in_a_listing_of_changes_is_tried_again_although_no_listing_names_it(filled: Trial) -> None:
    filled.wiki.lists_changes = True
    filled.sync()
    assert filled.states()["b"] == "failed"
    report = filled.sync()  # is tried again, and fails again
    assert (report.n_found, report.n_failed, filled.rows()["b"].attempts) == (1, 1, 2)
    filled.wiki.errors.clear()
    report = filled.sync()
    assert (report.n_found, report.n_indexed, report.is_complete) == (1, 1, True)
    assert filled.texts()["b"] == "Text of b."
    assert filled.sync().n_found == 0


def test_a_document_that_the_store_refuses_fails_alone(filled: Trial) -> None:
    filled.wiki.errors.clear()
    filled.wiki.put("b", "Text of b.", metadata={"large": 2**70})
    report = filled.sync()
    assert (report.n_indexed, report.n_failed) == (2, 1)
    assert "metadata field 'large'" in filled.rows()["b"].reason
    assert list(filled.texts()) == ["a", "c"]
    filled.wiki.put("b", "Text of b.", metadata={"large": 2**40})
    assert filled.sync().n_indexed == 1


def test_a_document_whose_earlier_version_the_store_has_keeps_it_when_a_new_one_is_refused(filled: Trial) -> None:
    filled.wiki.errors.clear()
    filled.sync()
    filled.wiki.put("b", "Another text of b.", metadata={"large": 2**70})
    report = filled.sync()
    assert (report.n_unchanged, report.n_failed) == (2, 1)
    assert filled.texts()["b"] == "Text of b."
    assert filled.rows()["b"].n_chunks == 1


def test_a_report_of_everything_that_went_wrong_is_kept_with_the_sync(filled: Trial) -> None:
    filled.sync()
    kept = filled.last.report
    assert kept is not None
    assert (kept["n_failed"], kept["problems"]) == (
        1,
        [{"uri": "b", "state": "failed", "reason": "is broken"}],
    )


def test_an_unexpected_error_ends_the_sync_with_its_reason_and_the_next_one_goes_on(filled: Trial) -> None:
    filled.wiki.errors["b"] = RuntimeError("a bug in a parser")
    with pytest.raises(RuntimeError, match="a bug in a parser"):
        filled.sync()
    assert (filled.last.state, filled.last.reason) == ("failed", "a bug in a parser")
    filled.wiki.errors.clear()
    assert filled.sync().is_complete
    assert list(filled.texts()) == list("abc")
