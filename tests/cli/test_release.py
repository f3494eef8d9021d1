"""`llmops release`: names stand for other content on evidence only, go back, and say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command, edit

PROMPT = "prompts/answer.prompt.md"


@pytest.fixture
def measured(llmops: Command, library: Path) -> Path:
    """The library with a passing verdict on version 1, on few questions."""
    data = library / "evals" / "library.jsonl"
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join([lines[0], lines[-1]]))
    assert llmops("eval", "run", "library", "-w", library).code == 0
    return library


def second(llmops: Command, root: Path) -> None:
    """Publish a version 2."""
    edit(root / PROMPT, "max_sentences: 3", "max_sentences: 1")
    assert llmops("prompt", "publish", "-m", "shorter", "-w", root).code == 0


def test_promote_and_roll_back(llmops: Command, measured: Path) -> None:
    verdict = llmops("eval", "list", "-w", measured, "--json").json[0]["verdict_id"]
    first = llmops("release", "promote", "prompt:answer", "--reason", "the first", "-w", measured)
    assert (first.code, first.err) == (0, "")
    assert first.out == (
        f"prompt:answer@production is version 1  promoted by ada  verdict {verdict[:12]}  the first\n"
        f"on verdict {verdict[:12]} of library: 3 rules passed\n"
    )
    second(llmops, measured)
    assert llmops("eval", "run", "library", "-w", measured).code == 0
    promoted = llmops("release", "promote", "answer", "-w", measured, "--json").json
    (release,) = promoted["releases"]
    assert (release["action"], release["version"], release["previous_version"]) == ("promote", 2, 1)
    assert (promoted["problems"], len(promoted["verdicts"])) == ([], 1)
    assert release["verdict_id"] == promoted["verdicts"][0] != verdict
    assert "max_sentences: 1" in llmops("prompt", "show", "answer@production", "-w", measured).out
    back = llmops("release", "rollback", "prompt:answer", "--reason", "too short", "-w", measured)
    assert back.out == "prompt:answer@production is version 1 (before: version 2)  rolled back by ada  too short\n"
    assert "max_sentences: 3" in llmops("prompt", "show", "answer@production", "-w", measured).out
    llmops("release", "rollback", "prompt:answer", "-w", measured).refused(
        2, "has no earlier release to go back to"
    )
    listed = llmops("prompt", "list", "-w", measured, "--json").json[0]["versions"]
    assert {version["version"]: version["aliases"] for version in listed} == {1: ["production"], 2: []}


def test_a_version_can_be_named(llmops: Command, measured: Path) -> None:
    second(llmops, measured)
    newest = llmops("release", "promote", "prompt:answer", "-w", measured)
    newest.refused(1, "no verdict for exactly prompt:answer@2", "run `llmops eval run library --prompt answer@2`")
    assert llmops("release", "promote", "prompt:answer@1", "-w", measured).code == 0


def test_a_changed_suite_has_no_verdict(llmops: Command, measured: Path) -> None:
    edit(measured / "evals" / "library.yaml", "at_least: 0.9", "at_least: 0.8")
    llmops("release", "promote", "prompt:answer", "-w", measured).refused(
        1, "its verdicts are of an earlier state of the suite"
    )


def test_force_needs_a_reason_and_is_seen(llmops: Command, library: Path) -> None:
    llmops("release", "promote", "prompt:answer", "-w", library).refused(1, "it never ran")
    for reason in ((), ("--reason", ""), ("--reason", "  ")):
        llmops("release", "promote", "prompt:answer", "--force", *reason, "-w", library).refused(
            2, "needs its reason"
        )
    forced = llmops("release", "promote", "prompt:answer", "--force", "--reason", "a demo", "-w", library)
    assert forced.out == "prompt:answer@production is version 1  promoted by ada  FORCED  a demo\n"
    assert "FORCED  a demo" in llmops("release", "status", "-w", library).out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("promote nope", "no prompt or collection 'nope'"),
        ("promote prompt:nope", "prompt 'nope' was never published; run `llmops prompt publish nope`"),
        ("promote prompt:nope@1", "there is no prompt 'nope'"),
        ("promote prompt:answer@9", "prompt 'answer' has no version 9"),
        ("promote collection:nope", "no candidate of collection 'nope' waits for a release"),
        (
            "promote collection:docs",
            "no candidate of collection 'docs' waits for a release; run `llmops ingest run",
        ),
        ("promote collection:docs@9", "no collection 'docs-9'"),
        ("promote collection:docs@1", "collection:docs@1 is already in production"),
        (
            "promote model:x",
            "'model:x' is nothing to release; write prompt:NAME, prompt:NAME@3 or collection:NAME",
        ),
        ("promote prompt:answer@production", "is nothing to release"),
        ("promote prompt:answer@99999999999", "is nothing to release"),
        ("promote prompt:answer prompt:answer@1", "prompt:answer is named twice"),
        ("rollback nope", "no prompt or collection 'nope'"),
        ("rollback prompt:answer", "has no earlier release to go back to; `llmops release status` shows them"),
        ("rollback collection:docs", "has no earlier release to go back to"),
        ("rollback prompt:answer@9", "no earlier release of version 9"),
    ],
    ids=lambda value: value if value.split()[0] in ("promote", "rollback") else "",
)
def test_what_is_wrong_is_said_in_one_sentence(llmops: Command, library: Path, command: str, said: str) -> None:
    llmops("release", *command.split(), "-w", library).refused(2, said)
    assert llmops("release", "status", "-w", library, "--json").json["history"][0]["action"] == "ingest"


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_nothing_named(llmops: Command, library: Path, command: str) -> None:
    ended = llmops("release", command, "-w", library)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: llmops release" in ended.err


def test_what_is_in_production_cannot_be_promoted_again(llmops: Command, measured: Path) -> None:
    assert llmops("release", "promote", "prompt:answer", "-w", measured).code == 0
    llmops("release", "promote", "prompt:answer", "-w", measured).refused(
        2, "prompt:answer@1 is already in production; there is nothing to promote"
    )


def test_status_says_what_answers_what_waits_and_what_changed(llmops: Command, measured: Path) -> None:
    lines = llmops("release", "status", "-w", measured).out.splitlines()
    assert re.fullmatch(r"collection:docs@production  docs-1  since [-\d]+ [:\d]+  built by ingestion", lines[0])
    assert lines[1].startswith("waiting  prompt:answer@1  by ")
    assert lines[2:4] == ["", "Latest changes"]
    llmops("release", "promote", "prompt:answer", "-w", measured)
    assert "waiting" not in llmops("release", "status", "-w", measured).out
    second(llmops, measured)
    page = measured / "docs" / "fees.md"
    page.write_text(page.read_text().replace("twenty", "fifty"))
    assert llmops("ingest", "run", "docs", "--beside", "-w", measured).code == 0
    value = llmops("release", "status", "-w", measured, "--json").json
    assert {f"{a['subject']} {a['called']}" for a in value["aliases"]} == {
        "collection:docs@production docs-1",
        "prompt:answer@production version 1",
    }
    assert [row["called"] for row in value["waiting"]] == ["collection:docs  docs-2", "prompt:answer@2"]
    assert [row["action"] for row in value["history"]] == ["promote", "ingest"]
    assert len(llmops("release", "status", "-n", "1", "-w", measured, "--json").json["history"]) == 1


def test_status_before_anything(llmops: Command, fresh: Path) -> None:
    assert llmops("release", "status", "-w", fresh).out == "nothing is released yet\n"
    value = llmops("release", "status", "-w", fresh, "--json").json
    assert value == {"aliases": [], "waiting": [], "history": []}


def test_prompt_and_collection_go_together_or_not_at_all(llmops: Command, measured: Path) -> None:
    llmops("release", "promote", "prompt:answer", "-w", measured)
    second(llmops, measured)
    page = measured / "docs" / "fees.md"
    page.write_text(page.read_text().replace("twenty", "fifty"))
    assert llmops("ingest", "run", "docs", "--beside", "-w", measured).code == 0
    both = ("prompt:answer", "collection:docs")
    llmops("release", "promote", *both, "-w", measured).refused(
        1, "run `llmops eval run library --prompt answer@2 --collection docs-2`"
    )
    now = llmops("release", "status", "-w", measured, "--json").json["aliases"]
    assert {a["called"] for a in now} == {"version 1", "docs-1"}
    assert (
        llmops("eval", "run", "library", "--prompt", "answer@2", "--collection", "docs-2", "-w", measured).code
        == 0
    )
    done = llmops("release", "promote", *both, "-w", measured)
    assert done.code == 0
    assert "collection:docs@production is docs-2 (before: docs-1)  promoted by ada" in done.out
    assert "prompt:answer@production is version 2 (before: version 1)  promoted by ada" in done.out
    asked = llmops("ask", "How much is the late fee?", "-w", measured, "--json").json
    assert "fifty cents" in asked["choices"][0]["message"]["content"]
    back = llmops("release", "rollback", "collection:docs", "-w", measured)
    assert back.out.startswith("collection:docs@production is docs-1 (before: docs-2)  rolled back by ada")


@pytest.mark.usefixtures("no_mlflow")
def test_sync_needs_mlflow(llmops: Command, library: Path) -> None:
    done = llmops("release", "promote", "prompt:answer", "--force", "--reason", "x", "-w", library)
    assert (done.code, done.out.startswith("prompt:answer@production is version 1")) == (3, True)
    assert done.err.startswith("llmops: MLflow's alias was not moved")
    assert "`llmops release sync`" in done.err
    assert done.err.count("\n") == 1
    llmops("release", "sync", "-w", library).refused(3, "MLflow")
    as_json = llmops("release", "rollback", "prompt:answer", "-w", library, "--json")
    assert (as_json.code, as_json.json["error"]["type"]) == (2, "NotFoundError")


def test_a_route_without_a_release_says_what_to_run(llmops: Command, library: Path) -> None:
    llmops("ask", "When does the library open?", "-w", library).refused(
        2, "no version of prompt 'answer' is production", "then `llmops release promote prompt:answer`"
    )
