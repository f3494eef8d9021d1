"""`llmops ingest tune`, `collections` and `compare`: from labels to a route's file, and to a verdict."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmops.cli.app import run
from llmops.datasets import load_labels
from tests.cli.conftest import Command, edit
from tests.cli.test_up import up
from tests.gateway.workspaces import write_template

N_PARTS = 60
ROUTE = "serving/assistant.yaml"
TUNED = ("ingest", "tune", "docs", "--labels")


@pytest.fixture(scope="session")
def _parts(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """Pages that differ in a code alone: words find them and meanings do not. The route searches by meaning."""
    root = write_template(tmp_path_factory.mktemp("tune") / "parts", models)
    generator = random.Random(7)
    codes = ["".join(generator.choices("il1", k=16)) for _ in range(N_PARTS)]
    labels = []
    for n, code in enumerate(codes):
        text = f"# Spare part\n\nThe spare part {code} lies in the hall; ask the keeper of the hall for it.\n"
        (root / "docs" / f"part-{n:02}.md").write_text(text)
        query = f"Where is the spare part {code}?"
        labels.append({"id": f"part-{n}", "query": query, "relevant": [{"uri": f"part-{n:02}.md", "quote": code}]})
    (root / "evals" / "parts.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    (root / "evals" / "assistant.yaml").unlink()  # the gate alone decides
    edit(root / ROUTE, "  collection: docs\n", "  collection: docs  # the hall\n  fusion: dense   # for now\n")
    assert run(["ingest", "-w", str(root)]) == 0
    return root


@pytest.fixture
def parts(_parts: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", _parts, tmp_path / "parts"], check=True)
    return tmp_path / "parts"


def test_the_winner_is_written_where_it_is_proven(llmops: Command, parts: Path) -> None:
    labels, route = parts / "evals" / "parts.jsonl", parts / ROUTE
    before = route.read_text()
    told = llmops(*TUNED, labels, "-w", parts)
    assert (told.code, told.err) == (0, "")
    assert "is better than dense: p = 0.0" in told.out
    assert "on dev-test, which nothing was chosen by:" in told.out
    assert "not written; --write does, or set under retrieval: fusion: " in told.out
    assert route.read_text() == before
    found = llmops(*TUNED, labels, "--write", "--json", "-w", parts).json
    assert (found["current"], found["route"], found["is_changed"]) == ("dense", "assistant", True)
    read = load_labels(labels)
    assert found["n_labels"] == {"dev": len(read.part("dev")), "dev-test": len(read.part("dev-test"))}
    by_name = {one["name"]: one for one in found["tried"]}
    assert by_name.keys() >= {"dense", "sparse", "dbsf", "rrf k=60", "rrf k=2", "minmax dense_weight=0.3"}
    assert by_name["dense"]["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert by_name["sparse"]["ndcg_at_10"]["mean"] > by_name["dense"]["ndcg_at_10"]["mean"] + 0.2
    chosen = found["chosen"]
    assert by_name[chosen["name"]]["p_value"] < 0.05
    assert found["on_dev_test"]["current"]["interval"]["mean"] > 0.2
    assert found["on_dev_test"]["better_single"]["interval"]["mean"] >= -0.005
    assert found["written"] == str(route)
    after = route.read_text()
    assert f"  fusion: {chosen['fusion']}   # for now\n" in after
    assert [line for line in after.splitlines() if line in before] == [
        line for line in before.splitlines() if "fusion" not in line
    ]
    again = llmops(*TUNED, labels, "--write", "-w", parts)
    assert "so it stays" in again.out
    assert route.read_text() == after


def test_what_cannot_be_tuned_says_why(llmops: Command, parts: Path) -> None:
    labels = parts / "evals" / "parts.jsonl"
    lines = labels.read_text().splitlines(keepends=True)
    few = parts / "few.jsonl"
    few.write_text("".join(lines[:6]))
    llmops(*TUNED, few, "-w", parts).refused(2, "labels of the part", "at least 5 are needed")
    few.write_text(lines[0].replace("part-00.md", "elsewhere.md"))
    llmops(*TUNED, few, "-w", parts).refused(2, "none of the 1 labels names a document of 'docs'")
    llmops(*TUNED, parts / "nowhere.jsonl", "-w", parts).refused(2, "no such file")
    llmops(*TUNED, labels, "--route", "nobody", "-w", parts).refused(2, "no route 'nobody'")
    llmops(*TUNED, labels, "--precision", "int4", "-w", parts).refused(2, "--precision 'int4' is none")
    route = parts / ROUTE
    text = route.read_text()
    route.write_text(text.replace("  collection: docs  # the hall\n  fusion: dense   # for now\n", ""))
    edit(route, "retrieval:\n", "retrieval: {collection: docs, fusion: dense}\n")
    braces = route.read_text()
    llmops(*TUNED, labels, "--write", "-w", parts).refused(2, "retrieval: cannot be edited safely here")
    assert route.read_text() == braces


def test_int8_states_its_loss(llmops: Command, parts: Path) -> None:
    labels = parts / "evals" / "parts.jsonl"
    found = llmops(*TUNED, labels, "--precision", "int8", "--json", "-w", parts).json
    path = parts / "ingestion" / "docs.int8.json"
    assert found.pop("file") == str(path)
    assert json.loads(path.read_text()) == found
    assert (found["n_questions"], found["int8_digest"] != found["fp32_digest"]) == (N_PARTS, True)
    assert found["n_texts"] > N_PARTS
    edit(
        parts / "ingestion" / "docs.yaml", "source:", "embed:\n  precision: int8\n  accepts_loss_of: 0.9\nsource:"
    )
    report = llmops("ingest", "run", "docs", "--beside", "--json", "-w", parts).json[0]
    assert (report["collection"], report["n_unchanged"]) == ("docs-2", N_PARTS + 1)
    path.unlink()
    llmops("ingest", "run", "docs", "--beside", "-w", parts).refused(2, "what int8 loses was never measured")


def test_a_candidate_is_compared_listed_and_gated(llmops: Command, parts: Path) -> None:
    pipeline, labels = parts / "ingestion" / "docs.yaml", parts / "evals" / "parts.jsonl"
    llmops("ingest", "compare", "docs", "-w", parts).refused(
        2, "has no gate that names labels; pass --labels FILE"
    )
    llmops("ingest", "compare", "docs", "--labels", labels, "-w", parts).refused(2, "no candidate of 'docs' waits")
    pipeline.write_text(pipeline.read_text() + "gate:\n  labels: ../evals/parts.jsonl\n")
    edit(parts / ROUTE, "  fusion: dense   # for now\n", "")
    for n in range(10):
        (parts / "docs" / f"part-{n:02}.md").unlink()
    assert llmops("ingest", "run", "docs", "--beside", "--accept-removals", "-w", parts).code == 0
    worse = llmops("ingest", "compare", "docs", "-w", parts)
    assert worse.code == 1
    assert "docs-2 against docs-1, which answers: 60 labels" in worse.out
    assert "FAIL  ndcg@10 less that of docs-1 at least -0.01 (by mean): -0.167" in worse.out
    llmops("release", "promote", "collection:docs", "-w", parts).refused(1, "docs-2 finds worse than docs-1")
    for n in range(10):
        text = (parts / "docs" / "part-10.md").read_text()
        code = json.loads(labels.read_text().splitlines()[n])["relevant"][0]["quote"]
        old = text.split()[6]
        (parts / "docs" / f"part-{n:02}.md").write_text(text.replace(old, code))
    assert llmops("ingest", "run", "docs", "--beside", "-w", parts).code == 0
    better = llmops("ingest", "compare", "docs", "--json", "-w", parts)
    assert (better.code, better.json["report"]["outcome"]) == (0, "pass")
    verdict = better.json["report"]["report_id"]
    listed = {row["collection"]: row for row in llmops("ingest", "collections", "--json", "-w", parts).json}
    assert {name: row["state"] for name, row in listed.items()} == {"docs-1": "answers", "docs-2": "candidate"}
    assert all(row["ndcg_at_10"] == 1.0 for row in listed.values())
    assert listed["docs-2"]["n_chunks"] >= N_PARTS
    promoted = llmops("release", "promote", "collection:docs", "--json", "-w", parts).json
    assert promoted["verdicts"] == [verdict]
    out = llmops("ingest", "collections", "docs", "-w", parts).out.splitlines()
    assert [line.split()[:2] for line in out] == [["docs-1", "earlier"], ["docs-2", "answers"]]
    assert out[1].endswith("nDCG@10 1.000")
    assert "retrieval:docs" in llmops("eval", "list", "-w", parts).out
    shown = llmops("eval", "show", verdict, "--failed", "-w", parts)
    assert "suite retrieval:docs: 60 questions" in shown.out
    assert "  none" in shown.out


def test_a_workspace_without_collections_says_so(llmops: Command, fresh: Path) -> None:
    assert llmops("ingest", "collections", "-w", fresh).out == (
        "nothing is ingested yet; `llmops ingest run` makes collections\n"
    )
    labels = fresh / "labels.jsonl"
    labels.write_text('{"id": "a", "query": "?", "relevant": [{"uri": "welcome.md"}]}\n')
    llmops(*TUNED, labels, "-w", fresh).refused(2, "nothing has been ingested as 'docs'")


def test_a_running_gateway_does_the_work(llmops: Command, parts: Path) -> None:
    """It owns the vectors; the file is still written by the command."""
    labels = parts / "evals" / "parts.jsonl"
    with up(parts):
        found: dict[str, Any] = llmops(*TUNED, labels, "--write", "--json", "-w", parts).json
        assert found["is_changed"]
        assert llmops("ingest", "run", "docs", "--beside", "-w", parts).code == 0
        compared = llmops("ingest", "compare", "docs", "--labels", labels, "-w", parts)
        assert compared.code == 0, compared
        few = parts / "few.jsonl"
        few.write_text(labels.read_text().splitlines()[0])
        llmops(*TUNED, few, "-w", parts).refused(2, "at least 5 are needed")
    assert f"fusion: {found['chosen']['fusion']} " in (parts / ROUTE).read_text()
