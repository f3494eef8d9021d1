"""What a suite measures is named exactly, its verdict is kept first, and other ledgers find it through MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import orjson
import pytest
from sqlalchemy import delete

from llmops.clients.database.tables import verdicts
from llmops.clients.mlflow import EvalRun
from llmops.errors import NotFoundError, PromotionRefusedError, SpecError, StorageError
from llmops.evals.report import Slice, SuiteReport
from llmops.evals.run import suite_digest
from llmops.records import GateCheck, MetricValue, Outcome, Verdict
from llmops.settings import Settings
from llmops.workspace.evaluation import Target, conclude, imported_verdict, log_run, prepare
from llmops.workspace.ledger import Ledger
from llmops.workspace.opened import Workspace
from llmops.workspace.promotion import promote
from tests.clients.mlflow_store import copy_store
from tests.workspace.repository import commit, make_repository
from tests.workspace.shelf import BEGAN, CLOSED, PROMPT, Shelf, move_documents_on, production, publish

Reopen = Callable[..., Ledger]
VALUE = MetricValue(metric="recall@5", value=0.5, low=0.25, high=0.75, n=8)


def report(
    ledger: Ledger, contents: Mapping[str, str], outcome: Outcome = "pass", *, hours: int = 0, **other: Any
) -> dict[str, Any]:
    """The report of a run of the suite as it is now, as a face hands it on."""
    suite = ledger.files.suite("library")
    check = GateCheck(rule="recall@5 at least 0.9 (by mean)", outcome=outcome, measured=VALUE, reason="0.500 on 8")
    fields: dict[str, Any] = {
        "report_id": f"ver_{uuid4().hex}",
        "suite": "library",
        "suite_digest": suite_digest(suite, suite.dataset()),
        "route": "assistant",
        "contents": dict(contents),
        "started_at": BEGAN + timedelta(hours=hours),
        "duration_s": 1.5,
        "results": (),
        "slices": (Slice(part=None, tag=None, n=8, values=(VALUE,)),),
        "checks": (check,),
        "outcome": outcome,
    }
    return SuiteReport(**{**fields, **other}).as_json()


# What is measured


@pytest.fixture
def workspace(whole: Shelf) -> Iterator[Workspace]:
    opened = Workspace(whole.root, Settings(threads="1"), command="a test")
    yield opened
    opened.close()


def test_a_run_is_measured_kept_logged_and_released(
    whole: Shelf, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_ACTOR", "the runner")
    (whole.root / ".gitignore").write_text(".llmops/\n")
    made = commit(make_repository(whole.root))
    ledger = workspace.ledger
    prepared = prepare(workspace, "library", Target(prompt="answer@1", collection="docs-2"))
    assert prepared.contents == whole.contents[1, 2]
    assert prepared.described == (
        "route assistant",
        f"prompt answer {whole.digest(1)[:12]} (answer@1)",
        "collection docs-2",
        "model default:extractive",
    )
    seen: list[tuple[int, int]] = []
    found = anyio.run(prepared.run, lambda done, of: seen.append((done, of)))
    assert (seen[-1], found.outcome, found.n_errors) == ((11, 11), "pass", 0)
    judged = conclude(ledger, found.as_json())
    kept = ledger.verdicts.get(found.report_id)
    assert (judged.verdict, judged.problem) == (kept, "")
    assert (kept.outcome, kept.contents, kept.checks) == ("pass", whole.contents[1, 2], found.checks)
    assert (kept.actor, kept.commit, kept.at) == ("the runner", made, found.started_at)
    stored = orjson.loads(ledger.verdicts.report(found.report_id))
    assert stored == {**found.as_json(), "provenance": {"actor": "the runner", "commit": made}}
    [(run_id, tags)] = ledger.registry.find_runs("llmops/library", {"llmops.verdict_id": found.report_id})
    assert (run_id, tags["llmops.outcome"], tags["llmops.prompt.answer"]) == (kept.run_id, "pass", whole.digest(1))
    assert orjson.loads(ledger.registry.artifact(run_id, "report.json")) == stored
    assert workspace.traces.latest() == []  # questions of a suite are no traffic
    done = promote(ledger, ["prompt:answer@1", "collection:docs"], actor="ada")
    assert [release.verdict_id for release in done.releases] == [found.report_id] * 2


def test_what_is_measured_can_be_chosen(whole: Shelf, workspace: Workspace) -> None:
    promote(workspace.ledger, ["prompt:answer@3"], actor="ada", is_forced=True, reason="r")
    elsewhere = whole.root / "draft.prompt.md"
    shutil.copy(whole.root / PROMPT, elsewhere)
    whole.edit("draft.prompt.md", "max_sentences: 3", "max_sentences: 1")
    for target, version, number in (
        (Target(), 1, 1),  # the file, not what was released
        (Target(as_served=True), 3, 1),
        (Target(prompt="answer@production"), 3, 1),
        (Target(prompt="answer"), 1, 1),
        (Target(prompt=str(elsewhere)), 2, 1),
        (Target(prompt="answer@2", collection="docs-2"), 2, 2),
        (Target(as_served=True, collection="docs-2"), 3, 2),
    ):
        assert prepare(workspace, "library", target).contents == whole.contents[version, number], target
    whole.edit(PROMPT, "max_sentences: 3", "max_sentences: 2")
    assert prepare(workspace, "library", Target()).contents == whole.contents[3, 1]  # as the file is now
    assert prepare(workspace, str(whole.root / "evals" / "library.yaml"), Target()).suite.name == "library"
    move_documents_on(workspace.ledger, "docs-1")
    now = prepare(workspace, "library", Target()).contents
    assert {name for name in now if now[name] != whole.contents[3, 1][name]} == {"collection:docs"}


def test_a_suite_is_read_as_it_is_now(whole: Shelf, workspace: Workspace) -> None:
    before = prepare(workspace, "library", Target())
    whole.edit("evals/library.jsonl", "forty seats", "fifty seats")
    (whole.root / "evals" / "new.yaml").write_text(
        (whole.root / "evals" / "library.yaml").read_text().replace("name: library", "name: new")
    )
    after = prepare(workspace, "new", Target())
    assert after.contents == before.contents
    assert suite_digest(after.suite, after.dataset) != suite_digest(before.suite, before.dataset)


def test_what_is_not_there_is_not_measured(shelf: Shelf) -> None:
    opened = Workspace(shelf.root, Settings(threads="1", mlflow_tracking_uri=CLOSED), command="a test")
    try:
        for suite, target, said in (
            ("nobody", Target(), "no suite 'nobody' in evals/; there is: library"),
            ("library", Target(prompt="nobody"), "no prompt file for 'nobody'; there is: answer"),
            ("library", Target(as_served=True), "no version of prompt 'answer' is production"),
            ("library", Target(collection="docs-9"), "no collection 'docs-9'; there is: docs-1, docs-2"),
        ):
            with pytest.raises(NotFoundError, match=said):
                prepare(opened, suite, target)
        with pytest.raises(StorageError, match="cannot be reached"):
            prepare(opened, "library", Target(prompt="answer@9"))
    finally:
        opened.close()


def test_files_that_are_wrong_are_not_measured(shelf: Shelf) -> None:
    opened = Workspace(shelf.root, Settings(threads="1"), command="a test")
    try:
        shelf.edit("evals/library.jsonl", '"id": "seats"', '"id": "opening"')
        with pytest.raises(
            SpecError, match=r"library\.jsonl:7: the id 'opening' is already that of .*jsonl:1; give"
        ):
            prepare(opened, "library", Target())
        shelf.edit("evals/library.yaml", "route: assistant", "route: nobody")
        with pytest.raises(SpecError, match=r"library\.yaml: route: no route 'nobody' in serving/"):
            prepare(opened, "library", Target())
    finally:
        opened.close()


def test_a_prompt_file_that_moved_while_a_gateway_runs_is_said(shelf: Shelf) -> None:
    shelf.edit("serving/assistant.yaml", "answer@production", "../prompts/answer.prompt.md")
    opened = Workspace(shelf.root, Settings(threads="1"), command="a test")
    try:
        (shelf.root / PROMPT).rename(shelf.root / "prompts" / "reply.prompt.md")
        shelf.edit("serving/assistant.yaml", "answer.prompt.md", "reply.prompt.md")
        with pytest.raises(
            NotFoundError, match=r"the prompt file '\.\./prompts/answer\.prompt\.md' of route 'assist"
        ):
            prepare(opened, "library", Target())
    finally:
        opened.close()


# The verdict and its run in MLflow


def test_a_verdict_is_kept_while_mlflow_cannot_be_reached(shelf: Shelf, cut_off: Ledger, ledger: Ledger) -> None:
    given = report(cut_off, shelf.contents[1, 1])
    judged = conclude(cut_off, given, actor="ada")
    assert judged.problem.startswith(f"the MLflow registry at '{CLOSED}' cannot be reached (connection refused)")
    assert ledger.verdicts.get(given["report_id"]) == judged.verdict
    assert (judged.verdict.run_id, judged.verdict.actor, judged.verdict.commit) == ("", "ada", "")
    assert promote(cut_off, ["prompt:answer@1"], actor="ada").verdicts == (judged.verdict,)
    with pytest.raises(StorageError, match="cannot be reached"):
        log_run(cut_off, given["report_id"])
    run_id = log_run(ledger, given["report_id"][:12])
    assert log_run(ledger, given["report_id"]) == log_run(cut_off, given["report_id"]) == run_id
    found = ledger.registry.find_runs("llmops/library", {})
    assert [run for run, _ in found] == [run_id]
    assert ledger.verdicts.get(given["report_id"]).run_id == run_id


def test_a_run_in_mlflow_says_what_was_measured(shelf: Shelf, ledger: Ledger) -> None:
    tagged = Slice(part="held-out", tag="wie geht's (de)?", n=8, values=(VALUE,))
    whole = Slice(part=None, tag=None, n=8, values=(VALUE,))
    given = report(ledger, shelf.contents[1, 1], "fail", slices=(whole, tagged))
    judged = conclude(ledger, given, actor="ada")
    assert judged.problem == ""
    from mlflow import MlflowClient

    run = MlflowClient(f"sqlite:///{shelf.root}/.llmops/mlflow.sqlite3").get_run(judged.verdict.run_id)
    assert run.info.status == "FAILED"
    assert run.data.metrics == {
        f"recall_at_5.{bound}{suffix}": getattr(VALUE, bound)
        for bound in ("value", "low", "high")
        for suffix in ("", ".held-out.wie geht_s _de__")
    }
    assert run.data.params["route"] == "assistant"
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("llmops.")}
    contents = {f"llmops.{name.replace(':', '.')}": value for name, value in shelf.contents[1, 1].items()}
    assert tags == {
        "llmops.verdict_id": given["report_id"],
        "llmops.outcome": "fail",
        "llmops.suite_digest": given["suite_digest"],
        "llmops.actor": "ada",
        **contents,
    }


def test_a_report_concluded_twice_is_one_verdict(shelf: Shelf, cut_off: Ledger) -> None:
    given = report(cut_off, shelf.contents[1, 1], "fail")
    conclude(cut_off, given, actor="ada")
    conclude(cut_off, {**given, "outcome": "pass"}, actor="eve")
    [kept] = cut_off.verdicts.latest()
    assert (kept.outcome, kept.actor) == ("fail", "ada")


def test_no_verdict_has_this_id(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no verdict 'ver_0'; `llmops eval list` shows them"):
        log_run(ledger, "ver_0")


# Two ledgers, one MLflow


@pytest.fixture
def shared_uri(tmp_path: Path) -> str:
    return f"sqlite:///{copy_store(tmp_path / 'shared')}"


@pytest.fixture
def ours(reopen: Reopen, shared_uri: str) -> Ledger:
    """The ledger on which a release is wanted."""
    return reopen(mlflow_tracking_uri=shared_uri)


@pytest.fixture
def theirs(original: Shelf, shelf: Shelf, tmp_path: Path, reopen: Reopen, shared_uri: str) -> Ledger:
    """The ledger of CI: another workspace with the same files and documents."""
    without = shutil.ignore_patterns("vectors")
    root = Path(shutil.copytree(original.root, tmp_path / "ci", symlinks=True, ignore=without))
    ledger = reopen(root, mlflow_tracking_uri=shared_uri)
    publish(ledger, root)
    return ledger


def reached(ledger: Ledger, contents: Mapping[str, str], outcome: Outcome = "pass", **other: Any) -> Verdict:
    judged = conclude(ledger, report(ledger, contents, outcome, **other), actor="ci")
    assert judged.problem == ""
    return judged.verdict


def test_a_verdict_of_another_ledger_is_found_through_mlflow(shelf: Shelf, ours: Ledger, theirs: Ledger) -> None:
    reached(theirs, shelf.contents[1, 1], "fail", hours=1)
    passed = reached(theirs, shelf.contents[1, 1], hours=2)
    reached(theirs, shelf.contents[2, 1], "fail", hours=3)
    done = promote(ours, ["prompt:answer@1"], actor="ada")
    assert [release.verdict_id for release in done.releases] == [passed.verdict_id]
    assert done.problems == ()
    kept = ours.verdicts.get(passed.verdict_id)
    assert done.verdicts == (kept,)
    physical = {"stored-as:docs": "docs-1"}
    assert replace(kept, contents={**kept.contents, **physical}) == passed
    assert ours.verdicts.report(passed.verdict_id) == theirs.verdicts.report(passed.verdict_id)
    assert production(theirs) == {"collection:docs": "docs-1"}  # theirs is not moved


def test_a_failing_verdict_of_another_ledger_refuses_too(shelf: Shelf, ours: Ledger, theirs: Ledger) -> None:
    reached(theirs, shelf.contents[1, 1], hours=1)
    reached(theirs, shelf.contents[1, 1], "fail", hours=2)
    for _ in range(2):  # found in MLflow, and then here
        with pytest.raises(PromotionRefusedError, match="suite 'library' failed on exactly prompt:answer@1"):
            promote(ours, ["prompt:answer@1"], actor="ada")


def test_a_verdict_of_this_ledger_comes_first(shelf: Shelf, ours: Ledger, theirs: Ledger) -> None:
    mine = reached(ours, shelf.contents[1, 1], hours=1)
    reached(theirs, shelf.contents[1, 1], "fail", hours=2)
    assert promote(ours, ["prompt:answer@1"], actor="ada").verdicts == (mine,)


def test_collections_of_another_ledger_count_by_their_content(shelf: Shelf, ours: Ledger, theirs: Ledger) -> None:
    move_documents_on(theirs, "docs-1")  # theirs is called docs-1 as well, and holds something else
    other = {**shelf.contents[1, 1], "collection:docs": theirs.collection_digest("docs-1")}
    reached(theirs, other)
    for _ in range(2):
        with pytest.raises(PromotionRefusedError, match=r"are for other content \(collection:docs\)|it never ran"):
            promote(ours, ["prompt:answer@1"], actor="ada")
    same = {**shelf.contents[1, 1], "stored-as:docs": "docs-77"}
    passed = reached(theirs, same)
    assert promote(ours, ["prompt:answer@1"], actor="ada").releases[0].verdict_id == passed.verdict_id


def test_a_verdict_of_an_earlier_suite_is_not_taken_from_mlflow(
    shelf: Shelf, theirs: Ledger, reopen: Reopen, shared_uri: str
) -> None:
    reached(theirs, shelf.contents[1, 1])
    shelf.edit("evals/library.yaml", "at_least: 0.9", "at_least: 0.95")
    with pytest.raises(
        PromotionRefusedError, match="it never ran; run `llmops eval run library --prompt answer@1`"
    ):
        promote(reopen(mlflow_tracking_uri=shared_uri), ["prompt:answer@1"], actor="ada")


def test_an_embedded_mlflow_is_nobody_elses(shelf: Shelf, ledger: Ledger) -> None:
    """Its runs are this ledger's own: a verdict that was deleted here does not come back from it."""
    conclude(ledger, report(ledger, shelf.contents[1, 1]), actor="ci")
    with ledger.database.begin() as connection:
        connection.execute(delete(verdicts))
    with pytest.raises(PromotionRefusedError, match="it never ran"):
        promote(ledger, ["prompt:answer@1"], actor="ada")


def run_in_mlflow(ledger: Ledger, given: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """A run that looks like one of ours, with these files."""
    tags = {
        "llmops.verdict_id": given["report_id"],
        "llmops.suite_digest": given["suite_digest"],
        "llmops.prompt.answer": given["contents"]["prompt:answer"],
    }
    run = EvalRun(
        experiment="llmops/library",
        name="theirs",
        params={},
        metrics={},
        tags=tags,
        artifacts=files,
        started_at=BEGAN + timedelta(days=9),
        duration_s=1,
    )
    return ledger.registry.log_eval(run)


BROKEN: dict[str, dict[str, Any]] = {
    "no report": {},
    "no JSON": {"report.json": "{"},
    "another JSON": {"report.json": "[1]"},
    "a report without contents": {"report.json": '{"report_id": "ver_1", "suite": "library"}'},
    "contents that are none": {"contents": "prompt:answer"},
    "checks that are none": {"checks": [{"rule": "r"}]},
    "a time that is none": {"started_at": "yesterday"},
}


def test_runs_that_cannot_be_read_do_not_hide_the_others(shelf: Shelf, ours: Ledger, theirs: Ledger) -> None:
    given = {**report(theirs, shelf.contents[1, 1]), "provenance": {"actor": "ci", "commit": ""}}
    for change in BROKEN.values():
        whole = {"report.json": orjson.dumps({**given, **change}).decode()}
        run_in_mlflow(theirs, given, change if not change or "report.json" in change else whole)
    with pytest.raises(
        PromotionRefusedError, match=r"no verdict on this ledger, and one in MLflow cannot be read: "
    ):
        promote(ours, ["prompt:answer@1"], actor="ada")
    assert ours.verdicts.latest() == []
    passed = reached(theirs, shelf.contents[1, 1], hours=1)  # all those runs are newer
    assert promote(ours, ["prompt:answer@1"], actor="ada").releases[0].verdict_id == passed.verdict_id


def test_a_run_under_anothers_tags_does_not_count(shelf: Shelf, ours: Ledger, theirs: Ledger) -> None:
    given = report(theirs, shelf.contents[1, 1])
    of_another = {**given, "suite_digest": "0" * 64, "provenance": {"actor": "ci", "commit": ""}}
    run_in_mlflow(theirs, given, {"report.json": orjson.dumps(of_another).decode()})
    with pytest.raises(PromotionRefusedError, match=r"its verdicts are of an earlier state|it never ran"):
        promote(ours, ["prompt:answer@1"], actor="ada")


def test_a_verdict_of_this_ledger_is_not_replaced_from_mlflow(shelf: Shelf, ours: Ledger) -> None:
    failed = reached(ours, shelf.contents[1, 1], "fail")
    forged = {**report(ours, shelf.contents[1, 1]), "report_id": failed.verdict_id}
    forged |= {"contents": dict(shelf.contents[2, 1]), "provenance": {"actor": "ci", "commit": ""}}
    run_id = run_in_mlflow(ours, forged, {"report.json": orjson.dumps(forged).decode()})
    assert asdict(imported_verdict(ours, run_id)) == asdict(failed)
    with pytest.raises(PromotionRefusedError, match=r"its verdicts are for other content \(prompt:answer\)"):
        promote(ours, ["prompt:answer@2"], actor="ada")
