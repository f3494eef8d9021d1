"""`llmops ingest collections` and `compare`: every collection there is, and whether a candidate may answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from llmops.cli.ingest import app
from llmops.cli.opening import open_ledger
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

if TYPE_CHECKING:
    from llmops.releases import CollectionShape
    from llmops.workspace.ledger import Ledger

_EXIT = {"pass": 0, "fail": 1, "inconclusive": 4}


@app.command("collections")
def collections(
    pipeline: Annotated[str | None, typer.Argument(help="Only this one's.")] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Every collection with its state: what answers, what waits, what answered before, what is being built."""
    with open_ledger(workspace) as ledger:
        name = ledger.files.pipeline(pipeline).name if pipeline else None
        found = [_row(ledger, shape) for shape in ledger.collections.all() if name in (None, shape.name)]
    if as_json:
        print_json(found)
        return
    for row in found:
        ndcg = f"nDCG@10 {row['ndcg_at_10']:.3f}" if row["ndcg_at_10"] is not None else ""
        chunker = " ".join(f"{key}={value}" for key, value in row["chunker"].items())
        print(
            f"{row['collection']:20}  {row['state']:9}  {row['n_chunks']:8} chunks  {row['embedder']:24}  "
            f"{row['created_at'][:16]}  {chunker}  {ndcg}".rstrip()
        )
    if not found:
        print("nothing is ingested yet; `llmops ingest run` makes collections")


@app.command("compare")
def compare(
    pipeline: Annotated[str, typer.Argument(help="Name or file.")],
    labels: Annotated[Path | None, typer.Option(help="Label file (JSONL); by default the gate's.")] = None,
    route: Annotated[
        str | None, typer.Option(help="Search as it does; by default the gate's, or the only one.")
    ] = None,
    candidate: Annotated[str | None, typer.Option(help="Such as handbook-3; the newest one by default.")] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Ask the same labelled queries of a candidate and of what answers; the verdict counts for just these two.

    Exit 1 when nDCG@10 drops by more than the gate lets it.
    """
    from llmops.cli.faces import open_face
    from llmops.datasets import label_json, load_labels
    from llmops.errors import RequestError
    from llmops.workspace.collection_gate import MAX_DROP
    from llmops.workspace.evaluation import conclude
    from llmops.workspace.files import load_files

    spec = load_files(workspace).pipeline(pipeline)
    if labels is None and spec.gate is None:
        raise RequestError(f"pipeline {spec.name!r} has no gate that names labels; pass --labels FILE")
    path = labels if labels is not None else Path(spec.file).parent / (spec.gate.labels if spec.gate else "")
    body = {
        "pipeline": spec.name,
        "labels": [label_json(label) for label in load_labels(path).labels],
        "route": route if route is not None or spec.gate is None else spec.gate.route,
        "candidate": candidate,
        "max_drop": spec.gate.max_drop if spec.gate is not None else MAX_DROP,
    }
    with open_face(workspace) as face:
        report = face.operate("compare", body)
    with open_ledger(workspace) as ledger:
        judged = conclude(ledger, report)
    if as_json:
        print_json({"report": report, "run_id": judged.verdict.run_id, "problem": judged.problem})
    else:
        _print_compared(report, judged.problem)
    raise typer.Exit(_EXIT[report["outcome"]])


def _row(ledger: Ledger, shape: CollectionShape) -> dict[str, Any]:
    from llmops.ingestion.documents import DocumentLedger

    serving = ledger.collections.serving(shape.name)
    rows = DocumentLedger(ledger.database, shape.collection).rows().values()
    state = {"ready": "earlier"}.get(shape.state, shape.state)
    return {
        "collection": shape.collection,
        "pipeline": shape.name,
        "state": "answers" if serving is not None and serving.collection == shape.collection else state,
        "n_documents": sum(row.n_chunks > 0 for row in rows),
        "n_chunks": sum(row.n_chunks for row in rows),
        "embedder": shape.embedder,
        "embedder_digest": shape.embedder_digest,
        "dimension": shape.dimension,
        "chunker": dict(shape.chunker),
        "created_at": shape.created_at.isoformat(),
        "ndcg_at_10": _measured(ledger, shape),
    }


def _measured(ledger: Ledger, shape: CollectionShape) -> float | None:
    """nDCG@10 of exactly this content, as it was measured last; None where it never was."""
    from llmops.workspace.collection_gate import NDCG, suite_name

    content = ledger.collection_digest(shape.collection)
    metrics = {f"collection:{shape.name}": NDCG, f"answers:{shape.name}": f"{NDCG} of what answers"}
    for verdict in ledger.verdicts.latest(suite_name(shape.name)):
        for kind, metric in metrics.items():
            if verdict.contents.get(kind) == content:
                report = orjson.loads(ledger.verdicts.report(verdict.verdict_id))
                return next((v["value"] for v in report["slices"][0]["values"] if v["metric"] == metric), None)
    return None


def _print_compared(report: dict[str, Any], problem: str) -> None:
    name = report["suite"].partition(":")[2]
    contents, [whole] = report["contents"], report["slices"]
    values = {value["metric"]: value for value in whole["values"]}
    new, old = contents[f"stored-as:{name}"], contents[f"answers-from:{name}"]
    print(f"{new} against {old}, which answers: {whole['n']} labels in {report['duration_s']:.1f} s\n")
    print(f"{'':12}{new:26}{old}")
    for metric in ("ndcg@10", "recall@10", "recall@100", "mrr"):
        print(f"{metric:12}{_said(values[metric]):26}{_said(values[f'{metric} of what answers'])}")
    [check] = report["checks"]
    print(f"\n{report['outcome'].upper()}  {check['rule']}: {check['reason']}")
    print(f"verdict {report['report_id'][:12]}" + (f"; not in MLflow: {problem}" if problem else ""))


def _said(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
