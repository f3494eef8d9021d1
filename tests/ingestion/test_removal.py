"""What a sync may remove: nothing on a doubtful listing, and not much without a person's word."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmops.cli.app import app
from llmops.errors import ConfigurationError
from llmops.ingestion.removal import held
from tests.ingestion.scripted import Trial
from tests.ingestion.test_kill import new_workspace

N_CASES = int(os.environ.get("LLMOPS_TEST_CASES", "60"))
NAMES = list("abcdefghij")


@pytest.fixture
def filled(trial: Trial) -> Trial:
    """A wiki of ten documents, all of them searchable."""
    for name in NAMES:
        trial.wiki.put(name, f"Text of {name}.")
    trial.sync()
    return trial


def remove(trial: Trial, names: str) -> None:
    for name in names:
        trial.wiki.remove(name)


def test_a_deletion_is_visible_within_one_sync(filled: Trial) -> None:
    remove(filled, "a")
    report = filled.sync()
    assert (report.n_removed, report.held, report.is_complete) == (1, "", True)
    assert list(filled.texts()) == list(filled.rows()) == NAMES[1:]


def test_exactly_a_fifth_may_go_and_one_more_is_held(filled: Trial) -> None:
    remove(filled, "ab")
    assert filled.sync().n_removed == 2
    remove(filled, "cd")  # a quarter of the eight that are left
    report = filled.sync()
    assert (report.n_removed, report.is_complete) == (0, False)
    assert report.held == (
        "the source lacks 2 of 8 documents (25 %; sync.max_removed_share lets 20 % go), so none was removed; "
        "check the source, then pass --accept-removals"
    )
    assert list(filled.texts()) == NAMES[2:]
    assert (filled.last.state, filled.last.reason) == ("held", report.held)


def test_what_was_held_goes_when_a_person_says_so_and_is_said_again_until_then(
    filled: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    remove(filled, "abcd")
    filled.wiki.put("e", "Another text of e.")
    with caplog.at_level(logging.WARNING, "llmops.ingestion"):
        report = filled.sync()
        assert (report.n_indexed, report.n_removed) == (1, 0)  # what is new comes in all the same
        assert filled.sync().held == report.held
    said = [record.getMessage() for record in caplog.records if "'wiki' is held" in record.getMessage()]
    assert said == [f"ingestion of 'wiki' is held: {report.held}"] * 2
    done = filled.sync(accept_removals=True)
    assert (done.n_removed, done.held, done.is_complete, filled.last.state) == (4, "", True, "done")
    assert list(filled.texts()) == list("efghij")
    assert filled.texts()["e"] == "Another text of e."


def test_documents_that_come_back_are_not_held_any_more(filled: Trial) -> None:
    remove(filled, "abcd")
    assert filled.sync().held
    for name in "abcd":
        filled.wiki.put(name, f"Text of {name}.")
    report = filled.sync()
    assert (report.held, report.is_complete, report.n_embedded) == ("", True, 0)


def test_a_folder_that_moves_is_not_lost(filled: Trial) -> None:
    for name in "abcde":
        filled.wiki.put(f"moved/{name}", filled.wiki.raw[name].decode())
    remove(filled, "abcde")
    report = filled.sync()
    assert (report.n_indexed, report.n_removed, report.held) == (5, 5, "")
    assert list(filled.texts()) == [*"fghij", *(f"moved/{name}" for name in "abcde")]


def test_an_incomplete_listing_removes_nothing_whatever_was_accepted(filled: Trial) -> None:
    remove(filled, "a")
    filled.wiki.problems = ("space HR: not allowed",)
    for options in ({}, {"accept_removals": True}, {"allow_empty": True}):
        report = filled.sync(**options)
        assert (report.n_removed, report.listing_problems) == (0, ["space HR: not allowed"])
        assert list(filled.texts()) == NAMES
    filled.wiki.problems = ()
    assert filled.sync().n_removed == 1


def test_an_empty_source_is_not_obeyed(filled: Trial) -> None:
    remove(filled, "abcdefghij")
    with pytest.raises(ConfigurationError, match="is empty but the collection holds 10 documents; nothing was"):
        filled.sync()
    assert (filled.last.state, list(filled.texts())) == ("failed", NAMES)
    with pytest.raises(ConfigurationError, match="is empty but"):
        filled.sync(accept_removals=True)
    report = filled.sync(allow_empty=True)
    assert (report.n_removed, report.n_chunks, report.is_complete) == (10, 0, True)


def test_a_rebuild_that_would_lack_documents_does_not_take_over(filled: Trial) -> None:
    remove(filled, "abc")
    report = filled.sync(rebuild=True)
    assert report.held.startswith("the source lacks 3 of 10 documents (30 %")
    assert (report.collection, filled.collection, list(filled.texts())) == ("wiki-2", "wiki-1", NAMES)
    assert filled.sync().held  # the one that answers holds them too
    report = filled.sync(rebuild=True, accept_removals=True)
    assert (report.collection, report.is_complete, report.n_unchanged) == ("wiki-2", True, 7)  # it goes on with it
    assert (filled.collection, list(filled.texts())) == ("wiki-2", NAMES[3:])


def test_a_rebuild_that_could_not_be_listed_whole_does_not_take_over(filled: Trial) -> None:
    filled.wiki.breaks_before = 3
    report = filled.sync(rebuild=True)
    assert (report.is_complete, filled.collection, list(filled.texts())) == (False, "wiki-1", NAMES)
    filled.wiki.breaks_before = None
    report = filled.sync(rebuild=True)
    assert (report.n_indexed, report.n_unchanged, filled.collection) == (4, 6, "wiki-2")
    assert list(filled.texts()) == NAMES


def test_a_candidate_that_would_lack_documents_is_none(filled: Trial) -> None:
    remove(filled, "abc")
    report = filled.sync(beside=True)
    assert (bool(report.held), report.is_candidate) == (True, False)
    assert filled.indexer.collections.candidate("wiki") is None
    report = filled.sync(beside=True, accept_removals=True)
    assert (report.held, report.is_candidate, list(filled.texts())) == ("", True, NAMES)


def test_documents_without_chunks_are_not_counted(filled: Trial) -> None:
    for name in ("empty-1", "empty-2", "empty-3", "empty-4"):
        filled.wiki.put(name, "")
    filled.sync()
    for name in ("empty-1", "empty-2", "empty-3", "empty-4"):
        filled.wiki.remove(name)
    remove(filled, "ab")
    report = filled.sync()
    assert (report.n_removed, report.held) == (6, "")


def test_a_share_of_one_holds_nothing_and_a_share_of_none_holds_every_loss(filled: Trial) -> None:
    filled.changes = {"sync": {"max_removed_share": 0}}
    remove(filled, "a")
    assert filled.sync().held.startswith(
        "the source lacks 1 of 10 documents (10 %; sync.max_removed_share lets 0 %"
    )
    filled.changes = {"sync": {"max_removed_share": 1}}
    remove(filled, "bcdefgh")
    assert filled.sync().n_removed == 8


def test_documents_that_vanish_while_they_are_read_count_as_removals(filled: Trial) -> None:
    """The listing names them, and then they are gone: a source that loses its disk must not empty the index."""
    for name in "abcde":
        filled.wiki.put(name, f"Another text of {name}.")
        del filled.wiki.raw[name]
    report = filled.sync()
    assert (report.n_removed, report.n_found) == (0, 5)
    assert report.held.startswith("the source lacks 5 of 10 documents")
    assert list(filled.texts()) == NAMES
    report = filled.sync(accept_removals=True)
    assert (report.n_removed, list(filled.texts())) == (5, list("fghij"))


@settings(max_examples=N_CASES, deadline=None)
@given(
    n_documents=st.integers(1, 50),
    n_doomed=st.integers(0, 50),
    n_moved=st.integers(0, 50),
    share=st.floats(0, 1, allow_nan=False),
)
def test_held_is_a_share_of_what_is_lost(n_documents: int, n_doomed: int, n_moved: int, share: float) -> None:
    from tests.ingestion.test_permissions import row

    n_doomed, n_moved = min(n_doomed, n_documents), min(n_moved, n_doomed)
    rows = {f"d{n}": _with(row(f"d{n}", frozenset()), content_hash=f"h{n}") for n in range(n_documents)}
    doomed = [f"d{n}" for n in range(n_doomed)]
    rows |= {f"m{n}": _with(row(f"m{n}", frozenset()), content_hash=f"h{n}") for n in range(n_moved)}
    said = held(doomed, rows, n_searchable=n_documents, share=share)
    assert bool(said) == (n_doomed - n_moved > share * n_documents)


def _with(row: Any, **fields: Any) -> Any:
    from dataclasses import replace

    return replace(row, **fields)


def test_the_command_line_says_what_is_held_and_exits_with_three(tmp_path: Path) -> None:
    root = new_workspace(tmp_path / "workspace")
    for page in sorted((root / "docs").iterdir())[5:]:
        page.unlink()
    first = run(root)
    assert (first.exit_code, json.loads(first.stdout)[0]["n_indexed"]) == (0, 5)
    for page in sorted((root / "docs").iterdir())[:2]:
        page.unlink()
    result = run(root)
    [report] = json.loads(result.stdout)
    assert (result.exit_code, report["n_removed"], report["is_complete"]) == (3, 0, False)
    assert report["held"].startswith("the source lacks 2 of 5 documents (40 %")
    shown = CliRunner().invoke(app, ["ingest", "run", "docs", "-w", str(root)])
    assert (shown.exit_code, f"held: {report['held']}" in shown.stdout) == (3, True)
    done = run(root, "--accept-removals")
    assert (done.exit_code, json.loads(done.stdout)[0]["n_removed"]) == (0, 2)


def run(root: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["ingest", "run", "docs", "--json", "-w", str(root), *options])
