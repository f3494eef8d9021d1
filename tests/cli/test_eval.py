"""`llmops eval`: what a suite's run prints, how it ends, and what can be seen of it later."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llmops.records import Feedback
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.cli.conftest import Command, Ended, edit
from tests.cli.test_up import up
from tests.gateway.upstream import closed_port

SUITE = "evals/library.yaml"
DATA = "evals/library.jsonl"
FEE = "How much is the late fee?"


def evaluate(llmops: Command, root: Path, *options: str) -> Ended:
    ended = llmops("eval", "run", "library", *options, "-w", root)
    assert "Traceback" not in ended.out + ended.err
    return ended


def add(root: Path, **example: Any) -> None:
    with (root / DATA).open("a") as file:
        file.write(json.dumps(example) + "\n")


def fewer(root: Path, n: int = 3) -> None:
    """Only the first questions: a run takes as long as its questions."""
    lines = (root / DATA).read_text().splitlines(keepends=True)
    (root / DATA).write_text("".join([*lines[:n], lines[-1]]))


# How a run ends


def test_a_run_that_passes(llmops: Command, library: Path) -> None:
    ended = evaluate(llmops, library)
    assert ended.code == 0
    assert ended.err == "  11 of 11 questions asked\n"
    lines = ended.out.splitlines()
    assert re.fullmatch(r"suite library: 11 questions in \d+\.\d s", lines[0])
    assert lines[1] == "  route assistant"
    assert re.fullmatch(rf"  prompt answer [0-9a-f]{{12}} \({re.escape(str(library))}/prompts/.*\)", lines[2])
    assert lines[3:5] == ["  collection docs-1", "  model default:extractive"]
    assert "recall@5            1.000 [1.000, 1.000]" in lines
    assert "  pass  recall@5 at least 0.9 (by mean)       1.000 [1.000, 1.000] on 8" in lines
    assert re.fullmatch(r"PASS: verdict ver_[0-9a-f]{8}, MLflow run [0-9a-f]{32}", lines[-1])


def test_a_run_that_fails_exits_1_and_shows_what_went_wrong(llmops: Command, library: Path) -> None:
    fewer(library)
    first = evaluate(llmops, library, "--json").json
    path = library / "prompts" / "answer.prompt.md"
    edit(path, '<passage id="{{ passage.number }}"', '<text number="{{ passage.number }}"')
    edit(path, "</passage>", "</text>")
    ended = evaluate(llmops, library)
    assert ended.code == 1
    assert "FAIL: verdict ver_" in ended.out
    assert "  FAIL  token_recall at least 0.8 (by mean)" in ended.out
    assert f"Compared with {first['report']['report_id'][:12]}; changed: prompt:answer" in ended.out
    assert "3 answers changed" in ended.out
    (failed, _) = llmops("eval", "list", "-w", library, "--json").json
    assert failed["outcome"] == "fail"
    shown = llmops("eval", "show", failed["verdict_id"], "--failed", "-w", library)
    assert shown.code == 0
    assert (
        "Answers that went wrong\n  opening (dev): did not answer\n    asked When does the library open?"
        in shown.out
    )
    assert "    right nine in the morning  (opening.md)" in shown.out
    assert "Answers that went wrong" not in llmops("eval", "show", failed["verdict_id"][:9], "-w", library).out
    passed = llmops("eval", "show", first["report"]["report_id"], "--failed", "-w", library).out
    assert passed.endswith("Answers that went wrong\n  none\n")


def test_a_run_that_decides_nothing_exits_4(llmops: Command, library: Path) -> None:
    add(library, id="parking", question="Where can I print?", answers=["in the cellar of the town hall"])
    edit(
        library / SUITE,
        "{metric: token_recall, at_least: 0.8}",
        "{metric: token_recall, at_least: 0.8, by: interval}",
    )
    ended = evaluate(llmops, library)
    assert ended.code == 4
    assert "  open  token_recall at least 0.8 (by interval)" in ended.out
    assert "examples would decide it" in ended.out
    assert "INCONCLUSIVE: verdict ver_" in ended.out
    again = evaluate(llmops, library, "--json")
    assert (again.code, again.err, again.json["report"]["outcome"]) == (4, "", "inconclusive")
    refused = llmops("release", "promote", "prompt:answer", "-w", library)
    refused.refused(1, "suite 'library' was inconclusive on exactly prompt:answer@1")


def test_a_model_that_cannot_be_reached_exits_3(
    llmops: Command, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer(library, 2)
    monkeypatch.setenv("LLMOPS_CHAT_URL", f"http://127.0.0.1:{closed_port()}/v1")
    monkeypatch.setenv("LLMOPS_CHAT_MODEL", "away")
    ended = evaluate(llmops, library)
    assert ended.code == 3
    assert "3 questions could not be answered or scored; the first: opening: model endpoint 'default'" in ended.out
    assert "INCONCLUSIVE: verdict ver_" in ended.out
    shown = llmops("eval", "show", "ver_", "--failed", "-w", library)
    assert "  opening (dev): model endpoint 'default'" in shown.out
    monkeypatch.delenv("LLMOPS_CHAT_URL")
    llmops("release", "promote", "prompt:answer", "-w", library).refused(
        1, "no verdict for exactly prompt:answer@1", "other content (model:default)"
    )


def test_a_suite_without_a_gate_reports_and_gates_nothing(llmops: Command, library: Path) -> None:
    fewer(library)
    text = (library / SUITE).read_text()
    (library / SUITE).write_text(text[: text.index("gate:")])
    ended = evaluate(llmops, library)
    assert ended.code == 0
    assert "No gate: the suite reports and decides nothing" in ended.out
    assert "MEASURED: verdict ver_" in ended.out
    refused = llmops("release", "promote", "prompt:answer", "-w", library)
    refused.refused(1, "nothing measures prompt:answer@1", "--force --reason TEXT")


@pytest.mark.usefixtures("no_mlflow")
def test_without_mlflow_the_verdict_counts_and_the_run_is_sent_later(
    llmops: Command, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer(library)
    ended = evaluate(llmops, library)
    assert ended.code == 3
    *_, said = ended.err.splitlines()
    assert said.startswith("llmops: the verdict is on the ledger, but not in MLflow: ")
    assert "PASS: verdict ver_" in ended.out
    assert "MLflow run" not in ended.out
    (verdict,) = llmops("eval", "list", "-w", library, "--json").json
    assert (verdict["outcome"], verdict["run_id"]) == ("pass", "")
    assert f"`llmops eval log {verdict['verdict_id'][:12]}` sends it later" in said
    as_json = evaluate(llmops, library, "--json")
    assert as_json.code == 3
    assert (as_json.json["run_id"], as_json.json["report"]["outcome"]) == ("", "pass")
    assert "MLflow" in as_json.json["problem"]
    llmops("eval", "log", verdict["verdict_id"], "-w", library).refused(3, "MLflow")
    promoted = llmops("release", "promote", "prompt:answer", "-w", library)
    assert promoted.code == 3  # done on the ledger; MLflow's alias follows later
    assert promoted.out.startswith("prompt:answer@production is version 1  promoted by ada")
    assert "`llmops release sync`" in promoted.err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    logged = llmops("eval", "log", verdict["verdict_id"][:12], "-w", library)
    assert logged.code == 0
    run_id = re.fullmatch(r"run ([0-9a-f]{32}) in .*\n", logged.out)
    assert run_id is not None
    again = llmops("eval", "log", verdict["verdict_id"], "-w", library, "--json").json
    assert again == {"run_id": run_id[1]}
    assert llmops("release", "sync", "-w", library).out == "prompt:answer@production is version 1\n"
    assert llmops("release", "sync", "-w", library, "--json").json == {"moved": []}


# What is measured


def test_what_is_measured_can_be_chosen(llmops: Command, library: Path) -> None:
    fewer(library)
    edit(library / "prompts" / "answer.prompt.md", "max_sentences: 3", "max_sentences: 1")
    file = evaluate(llmops, library, "--json").json
    first = evaluate(llmops, library, "--prompt", "answer@1", "--json").json
    assert first["described"][1].endswith("(answer@1)")
    assert first["comparison"]["before_id"] == file["report"]["report_id"]
    assert first["comparison"]["contents_changed"] == ["prompt:answer"]
    alone = evaluate(llmops, library, "--prompt", "answer@1", "--against", "none", "--json").json
    assert alone["comparison"] is None
    with_file = evaluate(
        llmops, library, "--prompt", "answer@1", "--against", file["report"]["report_id"], "--json"
    )
    assert with_file.json["comparison"]["before_id"] == file["report"]["report_id"]
    pinned = evaluate(llmops, library, "--collection", "docs-1", "--json").json
    assert pinned["report"]["contents"]["stored-as:docs"] == "docs-1"
    assert "nothing that was measured" in evaluate(llmops, library, "--collection", "docs-1").out
    evaluate(llmops, library, "--as-served").refused(2, "no version of prompt 'answer' is production")
    llmops("release", "promote", "prompt:answer", "--force", "--reason", "x", "-w", library)
    served = evaluate(llmops, library, "--as-served", "--json").json
    assert served["report"]["contents"]["prompt:answer"] == first["report"]["contents"]["prompt:answer"]
    assert served["described"][1].endswith("(answer@1)")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--prompt", "nope"), "no prompt file for 'nope'; there is: answer"),
        (("--prompt", "answer@9"), "prompt 'answer' has no version 9"),
        (("--collection", "docs-9"), "no collection 'docs-9'; there is: docs-1"),
        (("--collection", ""), "--collection is empty; give it a value or leave it out"),
        (("--prompt", ""), "--prompt is empty"),
        (("--against", ""), "--against is empty"),
        (("--against", "ver_none"), "no verdict 'ver_none'; `llmops eval list` shows them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_there_is_not_to_measure(llmops: Command, library: Path, options: tuple[str, ...], said: str) -> None:
    evaluate(llmops, library, *options).refused(2, said)
    assert llmops("eval", "list", "-w", library, "--json").json == []


@pytest.mark.parametrize(
    "command",
    ["run nope", "list nope", "show nope", "compare nope nope", "log nope"],
)
def test_suites_and_verdicts_that_are_not_there(llmops: Command, library: Path, command: str) -> None:
    said = (
        "no suite 'nope' in evals/; there is: library" if command[0] in "rl" and command != "log nope" else "nope"
    )
    llmops("eval", *command.split(), "-w", library).refused(2, said)


WRONG_DATA = {
    "empty": ("", "holds no examples; write one JSON object a line (id, question, answers)"),
    "blank": ("\n \n", "holds no examples"),
    "no JSON": ("{'id': 1}\n", ":1: is not JSON"),
    "no object": ("[]\n", ":1: holds a list, not an object"),
    "an unknown field": (
        '{"id": "a", "question": "x", "answer": "y"}\n',
        ":1: answer: unknown field; there is: id",
    ),
    "an id twice": ('{"id": "a", "question": "x"}\n{"id": "a", "question": "y"}\n', ":2: the id 'a' is already"),
}


@pytest.mark.parametrize(("text", "said"), WRONG_DATA.values(), ids=WRONG_DATA)
def test_a_dataset_that_is_wrong(llmops: Command, library: Path, text: str, said: str) -> None:
    (library / DATA).write_text(text)
    evaluate(llmops, library).refused(2, "evals/library.jsonl", said)


def test_a_dataset_that_is_missing(llmops: Command, library: Path) -> None:
    (library / DATA).unlink()
    evaluate(llmops, library).refused(2, "evals/library.jsonl")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("recall@5, token_recall", "recall@5, beauty", "beauty"),
        ("route: assistant", "route: helper", "route: no route 'helper' in serving/; there is: assistant"),
        ("{metric: recall@5, at_least: 0.9}", "{metric: recall@5}", "needs at_least or at_most, and not both"),
    ],
)
def test_a_suite_that_is_wrong(llmops: Command, library: Path, old: str, new: str, said: str) -> None:
    edit(library / SUITE, old, new)
    evaluate(llmops, library).refused(2, "evals/library.yaml", said)


def test_nothing_is_ingested_yet(llmops: Command, fresh: Path) -> None:
    llmops("eval", "run", "assistant", "-w", fresh).refused(2, "run `llmops ingest run docs`")


# Afterwards


def test_runs_are_listed_shown_and_compared(llmops: Command, library: Path) -> None:
    fewer(library)
    before = evaluate(llmops, library, "--json").json["report"]
    edit(library / "prompts" / "answer.prompt.md", "max_sentences: 3", "max_sentences: 1")
    after = evaluate(llmops, library, "--json").json
    verdicts = llmops("eval", "list", "library", "-w", library, "--json").json
    assert [verdict["verdict_id"] for verdict in verdicts] == [after["report"]["report_id"], before["report_id"]]
    assert len(llmops("eval", "list", "-n", "1", "-w", library).out.splitlines()) == 1
    first = llmops("eval", "list", "-w", library).out.splitlines()[0]
    assert re.search(r"ver_[0-9a-f]{8}  library  pass +answer [0-9a-f]{12}, docs-1  by ada$", first)

    shown = llmops("eval", "show", before["report_id"], "-w", library, "--json").json
    assert {k: v for k, v in shown["report"].items() if k != "provenance"} == before
    assert shown["report"]["provenance"]["actor"] == "ada"

    compared = llmops("eval", "compare", before["report_id"], after["report"]["report_id"], "-w", library)
    assert compared.code == 0
    assert "changed: prompt:answer" in compared.out
    assert "\n1 answer changed" in compared.out
    assert "\n  opening: When does the library open?\n    - The library opens" in compared.out
    as_json = llmops("eval", "compare", before["report_id"], after["report"]["report_id"], "-w", library, "--json")
    assert as_json.json == after["comparison"]
    same = llmops("eval", "compare", before["report_id"], before["report_id"], "-w", library)
    assert "changed: nothing that was measured" in same.out
    assert same.out.endswith("\n0 answers changed\n")


def test_a_beginning_that_fits_two_verdicts_is_refused(llmops: Command, library: Path) -> None:
    fewer(library, 1)
    for _ in range(2):
        evaluate(llmops, library, "--json")
    llmops("eval", "show", "ver_", "-w", library).refused(2, "more than one verdict begins with 'ver_'")


def test_corrections_become_examples_once(llmops: Command, library: Path) -> None:
    assert llmops("release", "promote", "prompt:answer", "--force", "--reason", "x", "-w", library).code == 0
    llmops("eval", "dataset", "-w", library).refused(2, "--from-ledger takes thumbs down with a correction")
    assert "0 examples added" in llmops("eval", "dataset", "--from-ledger", "-w", library).out
    assert not (library / "evals" / "corrections.jsonl").exists()
    asked = llmops("ask", FEE, "-w", library, "--json").json
    workspace = Workspace(library, Settings(), command="a test")
    try:
        given = Feedback(
            inference_id=asked["inference_id"], name="thumb", value=False, caller="ada", correction="Fifty cents."
        )
        workspace.feedback.add(given)
    finally:
        workspace.close()
    added = llmops("eval", "dataset", "--from-ledger", "-w", library)
    assert added.code == 0
    assert f"1 example added to {library / 'evals' / 'corrections.jsonl'}, which held 0" in added.out
    assert f"{FEE}\n    right: Fifty cents.\n" in added.out
    assert llmops("eval", "dataset", "--from-ledger", "-w", library, "--json").json["added"] == []
    lines = (library / "evals" / "corrections.jsonl").read_text().splitlines()
    assert [json.loads(line)["answers"] for line in lines] == [["Fifty cents."]]
    elsewhere = library / "new" / "mine.jsonl"
    assert llmops("eval", "dataset", "--from-ledger", "-o", elsewhere, "-w", library).code == 0
    assert elsewhere.read_text().splitlines() == lines
    (library / "file").touch()
    llmops("eval", "dataset", "--from-ledger", "-o", library / "file" / "x.jsonl", "-w", library).refused(
        3, "cannot write", "choose another file"
    )


# Beside a gateway

CHANGING = re.compile(r"ver_[0-9a-f]{8,32}|run [0-9a-f]{32}|in \d+\.\d s|inf_[0-9a-f]{32}")
TIMES = ("report_id", "started_at", "duration_s", "provenance")


def stable(value: dict[str, Any]) -> dict[str, Any]:
    report = {name: part for name, part in value["report"].items() if name not in TIMES}
    report["results"] = [{n: v for n, v in result.items() if n != "latency_ms"} for result in report["results"]]
    return {**value, "report": report, "run_id": bool(value["run_id"]), "comparison": value["comparison"]}


def test_a_run_is_the_same_through_a_gateway(llmops: Command, library: Path) -> None:
    fewer(library)
    llmops("release", "promote", "prompt:answer", "--force", "--reason", "x", "-w", library)
    none = ("--against", "none")
    alone = evaluate(llmops, library, *none, "--json")
    alone_text = evaluate(llmops, library, *none)
    answer = llmops("ask", FEE, "-w", library, "--json").json["inference_id"]
    explained = llmops("lineage", answer, "-w", library)
    with up(library):
        served = evaluate(llmops, library, *none, "--json")
        served_text = evaluate(llmops, library, *none)
        wrong = evaluate(llmops, library, "--collection", "docs-9")
        unknown = llmops("eval", "run", "nope", "-w", library)
        edit(library / "prompts" / "answer.prompt.md", "max_sentences: 3", "max_sentences: 1")
        changed = evaluate(llmops, library, "--json")
        assert llmops("lineage", answer, "-w", library) == explained
        fresh_answer = llmops("ask", FEE, "-w", library, "--json").json["inference_id"]
        of_fresh = llmops("lineage", fresh_answer, "-w", library, "--json").json
        llmops("lineage", "inf_none", "-w", library).refused(2, "no inference 'inf_none' in the ledger")
    assert (served.code, served.err) == (alone.code, alone.err) == (0, "")
    assert stable(served.json) == stable(alone.json)
    assert CHANGING.sub("…", served_text.out) == CHANGING.sub("…", alone_text.out)
    assert served_text.err == alone_text.err
    wrong.refused(2, "no collection 'docs-9'")
    unknown.refused(2, "no suite 'nope'")
    assert changed.json["comparison"]["contents_changed"] == ["prompt:answer"]
    assert llmops("lineage", fresh_answer, "-w", library, "--json").json == of_fresh
    assert len(llmops("eval", "list", "-w", library, "--json").json) == 5
