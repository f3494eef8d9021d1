"""No trace is lost: batches, many threads, a ledger that fails and comes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from llmops.clients.database import Database, open_database
from llmops.clients.database.tables import traces
from llmops.errors import BusyError, ConfigurationError, NotFoundError, RequestError, StorageError
from llmops.records import Feedback
from llmops.tracing import ContentVault, FeedbackBook, TraceReader, TraceWriter
from tests.tracing.traces import NOW, SPAN, trace


@pytest.fixture
def vault(tmp_path: Path) -> ContentVault:
    return ContentVault("", tmp_path / "trace.key")


@pytest.fixture
def writer(database: Database, vault: ContentVault) -> Iterator[TraceWriter]:
    made = TraceWriter(database, vault)
    yield made
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    opened = open_database("", tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()


def stored(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(traces)).scalar_one())


def until(what: Callable[[], Any]) -> None:
    """Wait for another thread; the test's own time limit ends it."""
    while not what():
        time.sleep(0.005)


@pytest.mark.parametrize("policy", ["scrubbed", "encrypted", "none"])
def test_a_trace_comes_back_as_it_was(
    policy: Any, database: Database, writer: TraceWriter, vault: ContentVault
) -> None:
    given = trace("inf_1", policy=policy, status="error", error="it broke", spec_hashes={"a": "b", "c": "d"})
    writer.add(given)
    assert writer.flush()
    left = {
        "scrubbed": replace(SPAN, input={"question": "who is <EMAIL>?"}),
        "encrypted": SPAN,
        "none": replace(SPAN, input=None, output=None),
    }
    assert TraceReader(database, vault).get("inf_1") == replace(given, spans=(left[policy],))


def test_the_error_of_a_trace_is_scrubbed_whatever_the_policy(
    database: Database, writer: TraceWriter, vault: ContentVault
) -> None:
    writer.add(trace("inf_1", policy="none", status="error", error="no collection 'ada@example.org'"))
    writer.flush()
    assert TraceReader(database, vault).get("inf_1").error == "no collection '<EMAIL>'"


def test_an_unknown_inference_is_not_found(database: Database, vault: ContentVault) -> None:
    with pytest.raises(
        NotFoundError, match="no inference 'inf_0' in the ledger; `llmops trace list` shows the latest"
    ):
        TraceReader(database, vault).get("inf_0")


def test_the_latest_come_first(database: Database, writer: TraceWriter, vault: ContentVault) -> None:
    for number in range(5):
        route = "assistant" if number % 2 else "other"
        writer.add(trace(f"inf_{number}", started_at=NOW + timedelta(seconds=number), route=route))
    writer.flush()
    reader = TraceReader(database, vault)
    assert [one.inference_id for one in reader.latest(3)] == ["inf_4", "inf_3", "inf_2"]
    assert [one.inference_id for one in reader.latest(3, "assistant")] == ["inf_3", "inf_1"]
    assert reader.latest(3, "none") == []


def test_many_threads_lose_nothing(database: Database, vault: ContentVault) -> None:
    import threading

    writer = TraceWriter(database, vault)

    def add(thread: int) -> None:
        for number in range(250):
            writer.add(trace(f"inf_{thread}_{number}", policy="none"))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert stored(database) == 2000
    assert writer.depth == 0


def test_closing_writes_what_is_queued(sqlite: Database, vault: ContentVault) -> None:
    writer = TraceWriter(sqlite, vault)
    for number in range(2500):
        writer.add(trace(f"inf_{number}", policy="none"))
    writer.close()
    assert stored(sqlite) == 2500
    writer.close()


def test_a_trace_added_again_replaces_itself(database: Database, writer: TraceWriter) -> None:
    """As after a commit whose acknowledgement was lost."""
    for _ in range(2):
        writer.add(trace("inf_1"))
        writer.flush()
    assert stored(database) == 1


def test_a_failing_ledger_keeps_the_traces_and_takes_them_when_it_is_back(
    sqlite: Database, vault: ContentVault, caplog: pytest.LogCaptureFixture
) -> None:
    writer = TraceWriter(sqlite, vault, capacity=3)
    with sqlite.begin() as connection:
        traces.drop(connection)
    with caplog.at_level(logging.ERROR, "llmops.tracing"):
        for number in range(3):
            writer.add(trace(f"inf_{number}"))
        until(lambda: writer.failing_since is not None)
    assert "traces cannot be written and are kept in memory: the ledger" in caplog.text
    assert "no such table: traces" in writer.last_error
    assert not writer.flush(timeout_s=0.01)
    assert writer.is_full
    with pytest.raises(
        BusyError, match=r"the trace queue is full \(.*no such table.*; mend the ledger and try again"
    ):
        writer.wait_for_room(timeout_s=0.01)
    with sqlite.begin() as connection:
        traces.create(connection)
    writer.wait_for_room()
    assert writer.flush()
    assert stored(sqlite) == 3
    assert (writer.failing_since, writer.last_error, writer.depth) == (None, "", 0)
    writer.close()


def test_a_ledger_that_fails_to_the_end_is_reported(
    sqlite: Database, vault: ContentVault, caplog: pytest.LogCaptureFixture
) -> None:
    writer = TraceWriter(sqlite, vault)
    with sqlite.begin() as connection:
        traces.drop(connection)
    writer.add(trace("inf_1"))
    writer.close()
    assert "1 traces could not be written: the ledger" in caplog.text


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("policy", ["scrubbed", "encrypted"])
def test_contents_that_cannot_be_stored_do_not_stop_the_traces_after_them(
    policy: Any, database: Database, vault: ContentVault, caplog: pytest.LogCaptureFixture
) -> None:
    writer = TraceWriter(database, vault)
    writer.add(trace("inf_1", policy=policy, spans=[replace(SPAN, input=nested(5000))]))
    writer.add(trace("inf_2", policy=policy))
    assert writer.flush()
    writer.close()
    assert "the contents of trace inf_1 cannot be stored and are left out" in caplog.text
    reader = TraceReader(database, vault)
    assert reader.get("inf_1").spans == (replace(SPAN, input=None, output=None),)
    assert reader.get("inf_2").spans[0].output == [1]


def test_text_that_a_column_does_not_take_does_not_stop_the_traces_after_it(
    database: Database, writer: TraceWriter, vault: ContentVault
) -> None:
    writer.add(trace("inf_1", caller="c" * 500, model="m" * 500, error="a\x00b \ud800"))
    writer.add(trace("inf_2"))
    assert writer.flush()
    read = TraceReader(database, vault).get("inf_1")
    assert (len(read.caller), len(read.model), read.error) == (128, 256, "a\ufffdb ?")


def test_a_wrong_key_keeps_the_traces_and_says_why(sqlite: Database, tmp_path: Path) -> None:
    writer = TraceWriter(sqlite, ContentVault("hunter2", tmp_path / "trace.key"))
    writer.add(trace("inf_1", policy="encrypted"))
    until(lambda: writer.failing_since is not None)
    assert "LLMOPS_TRACE_KEY is not a Fernet key" in writer.last_error
    writer.close()


def test_a_trace_of_another_key_is_said_to_be_so(sqlite: Database, vault: ContentVault, tmp_path: Path) -> None:
    writer = TraceWriter(sqlite, vault)
    writer.add(trace("inf_1", policy="encrypted"))
    writer.close()
    other = ContentVault("", tmp_path / "other.key")
    with pytest.raises(ConfigurationError, match="encrypted with another key"):
        TraceReader(sqlite, other).get("inf_1")
    [listed] = TraceReader(sqlite, other).latest()
    assert (listed.inference_id, listed.spans) == ("inf_1", ())


def test_feedback_finds_a_trace_that_is_still_queued(database: Database, writer: TraceWriter) -> None:
    book = FeedbackBook(database, writer)
    for number in range(50):
        writer.add(trace(f"inf_{number}"))
    first = book.add(Feedback(inference_id="inf_49", name="thumb", value=True))
    second = book.add(Feedback(inference_id="inf_49", name="stars", value=4.5, caller="shop"))
    rows = book.of("inf_49")
    assert [(row["feedback_id"], row["name"], row["value"]) for row in rows] == [
        (first, "thumb", True),
        (second, "stars", 4.5),
    ]
    assert rows[1]["caller"] == "shop"
    assert book.of("inf_1") == []


@pytest.mark.parametrize("value", [True, False, 0, 0.5, -3.5, "resolved", ""])
def test_feedback_keeps_the_type_of_its_value(value: Any, database: Database, writer: TraceWriter) -> None:
    writer.add(trace("inf_1"))
    book = FeedbackBook(database, writer)
    book.add(Feedback(inference_id="inf_1", name="x", value=value))
    [row] = book.of("inf_1")
    assert (row["value"], type(row["value"])) == (value, type(value))


def test_comments_and_corrections_are_scrubbed(database: Database, writer: TraceWriter) -> None:
    writer.add(trace("inf_1"))
    book = FeedbackBook(database, writer)
    given = Feedback(
        inference_id="inf_1",
        name="thumb",
        value=False,
        comment="ask ada@example.org\x00",
        correction="call +44 20 7946 0958",
    )
    book.add(given)
    [row] = book.of("inf_1")
    assert (row["comment"], row["correction"]) == ("ask <EMAIL>\ufffd", "call <PHONE>")


def test_feedback_on_nothing_is_refused(database: Database, writer: TraceWriter) -> None:
    with pytest.raises(NotFoundError, match="no inference 'inf_9'; use the inference_id of an answer"):
        FeedbackBook(database, writer).add(Feedback(inference_id="inf_9", name="thumb", value=True))


@pytest.mark.parametrize("name", ["", "x" * 129])
def test_feedback_has_a_name_that_fits(name: str, database: Database, writer: TraceWriter) -> None:
    with pytest.raises(RequestError, match=r"the feedback's name 'x*' must have 1 to 128 characters"):
        FeedbackBook(database, writer).add(Feedback(inference_id="inf_1", name=name, value=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_feedback_has_a_finite_value(value: float, database: Database, writer: TraceWriter) -> None:
    with pytest.raises(RequestError, match=r"the feedback's value (nan|inf) must be a finite number"):
        FeedbackBook(database, writer).add(Feedback(inference_id="inf_1", name="stars", value=value))


def test_feedback_says_when_the_ledger_is_what_fails(
    sqlite: Database, vault: ContentVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmops.tracing.feedback._WAIT_FOR_TRACE_S", 0.05)
    writer = TraceWriter(sqlite, ContentVault("no key", Path("unused")))
    writer.add(trace("inf_1", policy="encrypted"))
    with pytest.raises(
        StorageError, match=r"the trace of 'inf_1' may not be written yet \(LLMOPS_TRACE_KEY is not"
    ):
        FeedbackBook(sqlite, writer).add(Feedback(inference_id="inf_1", name="thumb", value=True))
    writer.close()
