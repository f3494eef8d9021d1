"""`llmops ingest tune`: the fusion of a route, chosen by labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmops.cli.ingest import app
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json
from llmops.errors import RequestError

LabelsOption = Annotated[Path, typer.Option("--labels", help="Label file (JSONL): id, query, relevant.")]


@app.command("tune")
def tune(
    pipeline: Annotated[str, typer.Argument(help="Name or file.")],
    labels: LabelsOption,
    route: Annotated[
        str | None, typer.Option(help="Whose fusion; by default the only route that searches it.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the winner into the route's file.")] = False,
    precision: Annotated[
        str | None, typer.Option(help="int8: measure what it loses instead, and keep the file of it.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Compare every fusion on half of the labels, choose by a paired test, and report on the other half."""
    from llmops.cli.faces import open_face
    from llmops.datasets import label_json, load_labels
    from llmops.workspace.files import load_files

    if precision not in (None, "int8"):
        raise RequestError(f"--precision {precision!r} is none that loses anything; there is: int8")
    files = load_files(workspace)
    spec = files.pipeline(pipeline)
    body = {"pipeline": spec.name, "labels": [label_json(label) for label in load_labels(labels).labels]}
    with open_face(workspace) as face:
        if precision is not None:
            _tell_loss(spec, face.operate("precision", body), as_json=as_json)
            return
        found = face.operate("tune", {**body, "route": route})
    found["written"] = _write(files, found) if write else None
    if as_json:
        print_json(found)
    else:
        _print_tuned(found)


def _write(files: Any, found: dict[str, Any]) -> str:
    """Bring the winner into the route's file; returns the file, or "" where it says the same already."""
    from llmops.config.edits import with_values
    from llmops.config.load import read_text

    if found["route"] is None:
        raise RequestError(
            f"no route searches {found['pipeline']!r}, so there is no file to write; make a route first"
        )
    if not found["is_changed"]:
        return ""
    spec = files.route(found["route"])
    path = Path(spec.file)
    chosen, now = found["chosen"], spec.retrieval
    values = {"fusion": chosen["fusion"]}
    if chosen["fusion"] == "rrf" and chosen["rrf_k"] != now.rrf_k:
        values["rrf_k"] = chosen["rrf_k"]
    if chosen["dense_weight"] != now.dense_weight:
        values["dense_weight"] = chosen["dense_weight"]
    _replace(path, with_values(read_text(path), str(path), "retrieval", values))
    return str(path)


def _replace(path: Path, text: str) -> None:
    """The new text whole or the old one: a process that dies leaves no half of a file."""
    from llmops.errors import StorageError

    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, "utf-8", newline="")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(f"cannot write {str(path)!r} ({error.strerror}); nothing was changed") from error


def _tell_loss(spec: Any, measured: dict[str, Any], *, as_json: bool) -> None:
    import json

    from llmops.ingestion.precision import MeasuredLoss, loss_file, write_loss

    loss = MeasuredLoss.model_validate_json(json.dumps(measured))
    path = loss_file(spec)
    write_loss(path, loss)
    if as_json:
        print_json({**measured, "file": str(path)})
    else:
        print(f"{loss}\n{path} says so; commit it, and set embed.accepts_loss_of to what you accept")


def _print_tuned(found: dict[str, Any]) -> None:
    counts = ", ".join(f"{n} {part}" for part, n in found["n_labels"].items())
    out = f"; {found['n_left_out']} name no document of it" if found["n_left_out"] else ""
    print(f"{found['pipeline']} ({found['collection']}): {counts} labels{out}\n")
    names = [one["name"] for one in found["tried"]]
    width = max(map(len, names))
    print(f"{'on dev':{width}}  nDCG@10                 less the current one        p")
    for one in sorted(found["tried"], key=lambda one: -one["ndcg_at_10"]["mean"]):
        mark = "  current" if one["name"] == found["current"] else ""
        mark = "  chosen" if one["name"] == found["chosen"]["name"] else mark
        gain = _signed(one["gain"]) if one["name"] != found["current"] else ""
        p = f"{one['p_value']:.4f}" if gain else ""
        print(f"{one['name']:{width}}  {_interval(one['ndcg_at_10'])}  {gain:26}  {p:6}{mark}".rstrip())
    print(f"\n{found['reason']}")
    print("on dev-test, which nothing was chosen by:")
    for name, values in found["reported"].items():
        print(f"  {name:{width}}  {_interval(values['ndcg_at_10'])}")
    said = {"current": f"less {found['current']}", "better_single": f"less {found['better_single']}"}
    for which, gain in found["on_dev_test"].items():
        if found["chosen"]["name"] not in said[which]:
            print(f"  {said[which]:{width}}  {_signed(gain['interval'])}  p {gain['p_value']:.4f}")
    _print_written(found)


def _print_written(found: dict[str, Any]) -> None:
    chosen = found["chosen"]
    if found["written"]:
        print(f"\nwritten to {found['written']}; restart `llmops up` to answer with it")
    elif found["is_changed"]:
        fields = [f"fusion: {chosen['fusion']}"]
        fields += [f"rrf_k: {chosen['rrf_k']}"] if chosen["fusion"] == "rrf" else []
        fields += (
            [f"dense_weight: {chosen['dense_weight']:g}"] if chosen["fusion"] not in ("dense", "sparse") else []
        )
        print(f"\nnot written; --write does, or set under retrieval: {', '.join(fields)}")


def _interval(value: dict[str, float]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _signed(value: dict[str, float]) -> str:
    return f"{value['mean']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"
