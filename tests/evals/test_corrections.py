"""Feedback on a real ledger: what becomes an example, what is left out, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import update

from llmops.clients.database import Database
from llmops.clients.database.tables import feedback
from llmops.datasets import load_examples, write_examples
from llmops.evals.corrections import CORRECTION, Corrections, corrections, question_of
from llmops.records import Example, Feedback, Span
from llmops.tracing import ContentVault, FeedbackBook, TraceReader, TraceWriter
from tests.tracing.traces import NOW, trace

QUESTION = "When does the library open?"
Policy = Literal["scrubbed", "encrypted", "none"]


class Ledger:
    """A ledger with traces and feedback, as a gateway writes them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.vault = ContentVault("", folder / "trace.key")
        self.writer = TraceWriter(database, self.vault)
        self.book = FeedbackBook(database, self.writer)
        self.n = 0

    def asked(self, question: str = QUESTION, *, policy: Policy = "scrubbed", **fields: Any) -> str:
        """One answered question; its inference id."""
        self.n += 1
        spans = (
            Span(station="guard-input", start_ms=0.0, duration_ms=0.1, input={}, output=[]),
            Span(station="embed", start_ms=0.1, duration_ms=1.0, input={"question": question}),
            Span(station="render", start_ms=1.1, duration_ms=1.0, input={"question": question}),
        )
        given: dict[str, Any] = {"spans": spans, **fields}
        self.writer.add(trace(f"inf_{self.n}", policy=policy, **given))
        assert self.writer.flush()
        return f"inf_{self.n}"

    def said(self, inference_id: str, correction: str = "At nine.", **fields: Any) -> str:
        """Feedback; later in the order of the calls."""
        given = Feedback(
            inference_id=inference_id, correction=correction, **{"name": "thumb", "value": False, **fields}
        )
        feedback_id = self.book.add(given)
        self.n += 1
        with self.database.begin() as connection:
            at = update(feedback).where(feedback.c.feedback_id == feedback_id)
            connection.execute(at.values(created_at=NOW + timedelta(minutes=self.n)))
        return feedback_id

    def corrections(self, *known: Example, key: str = "") -> Corrections:
        vault = ContentVault(key, Path("nowhere")) if key else self.vault
        return corrections(self.database, TraceReader(self.database, vault), known=iter(known))


@pytest.fixture
def ledger(database: Database, tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(database, tmp_path)
    yield made
    made.writer.close()


def test_a_thumb_down_with_a_correction_is_an_example(ledger: Ledger) -> None:
    feedback_id = ledger.said(ledger.asked(), "  At nine in the morning.\n", comment="wrong hour")
    found = ledger.corrections()
    assert found.examples == (
        Example(
            example_id=f"correction-{feedback_id.removeprefix('fb_')[:12]}",
            question=QUESTION,
            answers=("At nine in the morning.",),
            sources=(),
            evidence=(),
            tags=(CORRECTION,),
            origin=f"feedback:{feedback_id}",
        ),
    )
    assert found.left_out == {}


def test_an_empty_ledger_gives_nothing(ledger: Ledger) -> None:
    assert ledger.corrections() == Corrections(examples=(), left_out={})


@pytest.mark.parametrize(
    ("fields", "n"),
    [
        ({"value": False}, 1),
        ({"value": 0}, 1),
        ({"value": 0.0}, 1),
        ({"value": -1}, 1),
        ({"value": True}, 0),
        ({"value": 1}, 0),
        ({"value": 0.5}, 0),
        ({"value": "down"}, 0),  # what a text means is its sender's secret
        ({"value": ""}, 0),
        ({"value": False, "name": "resolved"}, 0),
    ],
)
def test_only_a_thumb_down_says_that_the_answer_was_wrong(ledger: Ledger, fields: dict[str, Any], n: int) -> None:
    ledger.said(ledger.asked(), **fields)
    found = ledger.corrections()
    assert (len(found.examples), found.left_out) == (n, {})


@pytest.mark.parametrize("correction", ["", "  \n"])
def test_a_thumb_down_that_says_nothing_right_is_counted(ledger: Ledger, correction: str) -> None:
    ledger.said(ledger.asked(), correction)
    assert ledger.corrections() == Corrections(examples=(), left_out={"without a correction": 1})


# The question


def test_the_question_comes_from_whichever_station_kept_it(ledger: Ledger) -> None:
    rendered = Span(station="render", start_ms=0.0, duration_ms=1.0, input={"question": "Why?"})
    for spans in [(rendered,), (replace(rendered, station="generate"), rendered)]:
        ledger.said(ledger.asked(spans=spans))
    assert [example.question for example in ledger.corrections().examples] == ["Why?"]
    assert question_of(trace("inf", spans=(rendered,))) == "Why?"
    assert question_of(trace("inf", spans=(replace(rendered, station="generate"),))) == ""
    assert question_of(trace("inf", spans=(replace(rendered, input=["Why?"]),))) == ""
    assert question_of(trace("inf", spans=())) == ""


def test_personal_data_is_gone_from_question_and_correction(ledger: Ledger) -> None:
    ledger.said(ledger.asked("Who is ada@example.org?"), "Write to ada@example.org.")
    (example,) = ledger.corrections().examples
    assert "ada@example.org" not in f"{example.question} {example.answers}"
    assert example.question.startswith("Who is ")


@pytest.mark.parametrize("policy", ["scrubbed", "encrypted", "none"])
def test_the_content_policy_decides_whether_there_is_a_question(ledger: Ledger, policy: Policy) -> None:
    ledger.said(ledger.asked(policy=policy))
    found = ledger.corrections()
    if policy == "none":
        assert found == Corrections(examples=(), left_out={"without a stored question": 1})
    else:
        assert [example.question for example in found.examples] == [QUESTION]


def test_a_trace_of_another_key_is_left_out_and_the_others_are_not(ledger: Ledger) -> None:
    ledger.said(ledger.asked("Is there a pool?", policy="encrypted"), "No.")
    ledger.said(ledger.asked())
    found = ledger.corrections(key=Fernet.generate_key().decode())
    assert [example.question for example in found.examples] == [QUESTION]
    assert found.left_out == {"with a trace that this key does not open": 1}


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("", "without a stored question"),
        (" \n ", "without a stored question"),
        ("x" * 8_001, "with a question too long for a dataset"),
    ],
)
def test_a_question_that_no_dataset_takes_is_left_out(ledger: Ledger, question: str, reason: str) -> None:
    ledger.said(ledger.asked(question))
    assert ledger.corrections() == Corrections(examples=(), left_out={reason: 1})


# One example a question


def test_the_newest_correction_of_a_question_wins(ledger: Ledger) -> None:
    first, second = ledger.asked(), ledger.asked("  when does the Library\topen ?")
    ledger.said(first, "At eight.")
    ledger.said(second, "At nine.")
    ledger.said(first, "")
    ledger.said(ledger.asked("Is there a pool?"), "No.")
    found = ledger.corrections()
    assert [(example.question, example.answers) for example in found.examples] == [
        ("Is there a pool?", ("No.",)),
        ("when does the Library\topen ?", ("At nine.",)),
    ]
    assert found.left_out == {"without a correction": 1, "an older correction of the same question": 1}


@pytest.mark.parametrize(
    ("one", "other", "n"),
    [
        ("When does it open?", "when does  it open", 1),
        ("When does it open?", "When does it open?!", 1),
        ("What is C++?", "What is C#?", 2),
        ("What is -v?", "What is --v?", 2),
        ("???", "!", 1),
        ("Wann öffnet die Straße?", "wann ÖFFNET die STRASSE?", 1),
        ("図書館はいつ開きますか", "図書館はどこですか", 2),
    ],
)
def test_the_same_question_is_the_same_but_for_case_spaces_and_its_last_mark(
    ledger: Ledger, one: str, other: str, n: int
) -> None:
    ledger.said(ledger.asked(one))
    ledger.said(ledger.asked(other))
    assert len(ledger.corrections().examples) == n


def test_what_is_known_is_left_out_with_its_reason(ledger: Ledger) -> None:
    written = Example(example_id="hours", question="when does the library open", answers=("at ten",))
    ledger.said(ledger.asked())
    pool = ledger.said(ledger.asked("Is there a pool?"), "No.")
    rewritten = Example(
        example_id="pool", question="Does the town have a pool?", answers=("no",), origin=f"feedback:{pool}"
    )
    found = ledger.corrections(written, rewritten)
    assert found.examples == ()
    assert found.left_out == {"a question already in the file": 1, "already in the file": 1}


def test_a_second_run_adds_nothing_and_what_was_written_is_read(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "evals" / "corrections.jsonl"
    ledger.said(ledger.asked(), "At eight.")
    ledger.said(ledger.asked(), "At nine.\u2028Or so.")
    ledger.said(ledger.asked("Why \0 \u2028?"), "Because\0.")
    first = ledger.corrections()
    assert (len(first.examples), first.left_out) == (2, {"an older correction of the same question": 1})
    write_examples(path, first.examples)
    known = load_examples([path]).examples
    assert known == first.examples
    again = ledger.corrections(*known)
    assert again.examples == ()
    assert again.left_out == {"already in the file": 2, "a question already in the file": 1}
    ledger.said(ledger.asked("Is there a pool?"), "No.")
    write_examples(path, ledger.corrections(*known).examples)
    assert [example.question for example in load_examples([path]).examples][-1] == "Is there a pool?"
