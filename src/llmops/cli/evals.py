"""`llmops eval`: measure a route with a suite, and let its gate decide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from llmops.cli.opening import open_ledger
from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json
from llmops.errors import RequestError

if TYPE_CHECKING:
    from llmops.workspace.ledger import Ledger

app = typer.Typer(help="Run suites, compare runs, make datasets.", no_args_is_help=True, rich_markup_mode=None)
_EXIT = {"pass": 0, "fail": 1, "inconclusive": 4}
_INCOMPLETE = 3
_TELL_EVERY = 25


@app.command("run")
def run(
    suite: Annotated[str, typer.Argument(help="A suite's name or file in evals/.")],
    prompt: Annotated[
        str | None, typer.Option(help="Measure this: a file, NAME@3 or NAME@production; else the route's file.")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="Measure this collection, such as handbook-2.")] = None,
    as_served: Annotated[bool, typer.Option(help="Measure the prompt that answers now.")] = False,
    against: Annotated[
        str, typer.Option(help="Compare with this verdict; the suite's last run by default, 'none' for nothing.")
    ] = "last",
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Ask every question, score every answer, decide. Exit 0 passed, 1 failed, 4 inconclusive, 3 incomplete."""
    from llmops.cli.faces import open_face
    from llmops.cli.report import print_comparison, print_suite
    from llmops.workspace.evaluation import Target, conclude

    for option, value in (("--prompt", prompt), ("--collection", collection), ("--against", against)):
        if value == "":  # such as an unset variable of a CI job: it must not measure something else
            raise RequestError(f"{option} is empty; give it a value or leave it out")
    target = Target(prompt=prompt, collection=collection, as_served=as_served)
    with open_ledger(workspace) as ledger:
        before = _before(ledger, ledger.files.suite(suite).name, against)
    with open_face(workspace) as face, _progress(quiet=as_json) as show:
        done = face.evaluate(suite, target=target, on_progress=show)
    with open_ledger(workspace) as ledger:
        judged = conclude(ledger, done["report"])
    done |= {"run_id": judged.verdict.run_id, "problem": judged.problem}
    comparison = _compared(before, done["report"]) if before else None
    if as_json:
        print_json({**done, "comparison": comparison})
    else:
        print_suite(done)
        if comparison is not None:
            print_comparison(comparison)
    if done["problem"]:
        print(
            f"llmops: the verdict is on the ledger, but not in MLflow: {done['problem']}; "
            f"`llmops eval log {done['report']['report_id'][:12]}` sends it later",
            file=sys.stderr,
        )
    incomplete = bool(done["report"]["n_errors"] or done["problem"])
    outcome = _EXIT[done["report"]["outcome"]]
    raise typer.Exit(_INCOMPLETE if incomplete and outcome != 1 else outcome)


@app.command("list")
def latest(
    suite: Annotated[str | None, typer.Argument(help="Only this suite's.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """The latest verdicts, newest first."""
    with open_ledger(workspace) as ledger:
        found = ledger.verdicts.latest(ledger.files.suite(suite).name if suite else None, limit)
    if as_json:
        print_json([asdict(verdict) for verdict in found])
        return
    for verdict in found:
        prompts = [
            f"{n.partition(':')[2]} {d[:12]}" for n, d in verdict.contents.items() if n.startswith("prompt:")
        ]
        stored = [value for name, value in verdict.contents.items() if name.startswith("stored-as:")]
        print(
            f"{verdict.at:%Y-%m-%d %H:%M:%S}  {verdict.verdict_id[:12]}  {verdict.suite}  {verdict.outcome:12}  "
            f"{', '.join([*prompts, *stored])}  by {verdict.actor}"
        )


@app.command("show")
def show(
    verdict: Annotated[str, typer.Argument(help="A verdict's id, or its beginning.")],
    failed: Annotated[bool, typer.Option("--failed", help="Also every answer that is not right.")] = False,
    held_out: Annotated[
        bool, typer.Option(help="With --failed: also of held-out questions, which then are none.")
    ] = False,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """A run again: values, gate, and the answers that went wrong."""
    from llmops.cli.report import print_failures, print_suite

    with open_ledger(workspace) as ledger:
        found = ledger.verdicts.get(verdict)
        report = orjson.loads(ledger.verdicts.report(found.verdict_id))
    done = {"report": report, "run_id": found.run_id, "described": [], "problem": ""}
    if as_json:
        print_json(done)
        return
    print_suite(done)
    if failed:
        print_failures(report, with_held_out=held_out)


@app.command("compare")
def compare(
    before: Annotated[str, typer.Argument(help="A verdict's id, or its beginning.")],
    after: Annotated[str, typer.Argument(help="Another one's.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Two runs side by side: each metric's difference with its interval, and the answers that changed."""
    from llmops.cli.report import print_comparison

    with open_ledger(workspace) as ledger:
        reports = [orjson.loads(ledger.verdicts.report(verdict)) for verdict in (before, after)]
    comparison = _compared(reports[0], reports[1])
    if as_json:
        print_json(comparison)
    else:
        print_comparison(comparison, shown=1_000)


@app.command("log")
def log(
    verdict: Annotated[str, typer.Argument(help="A verdict's id, or its beginning.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Send a run to MLflow that could not be logged when it ran."""
    from llmops.workspace.evaluation import log_run

    with open_ledger(workspace) as ledger:
        run_id = log_run(ledger, verdict)
        place = ledger.registry.place
    if as_json:
        print_json({"run_id": run_id})
    else:
        print(f"run {run_id} in {place}")


@app.command("dataset")
def dataset(
    from_ledger: Annotated[bool, typer.Option("--from-ledger", help="Thumbs down with a correction.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to add to; evals/corrections.jsonl by default.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Make examples from what people said about answers; what the file holds stays."""
    from llmops.datasets import load_examples, write_examples
    from llmops.evals.corrections import corrections

    if not from_ledger:
        raise RequestError("say where the examples come from: --from-ledger takes thumbs down with a correction")
    path = out or workspace / "evals" / "corrections.jsonl"
    has_examples = path.exists() and bool(path.read_text(encoding="utf-8", errors="replace").strip())
    known = load_examples([path]).examples if has_examples else ()
    with open_ledger(workspace) as ledger:
        found = corrections(ledger.database, ledger.traces, known=known)
    if found.examples:
        write_examples(path, found.examples)
    if as_json:
        print_json({"file": path, "added": [asdict(e) for e in found.examples], "left_out": found.left_out})
        return
    added = "1 example" if len(found.examples) == 1 else f"{len(found.examples)} examples"
    print(f"{added} added to {path}, which held {len(known)}")
    for example in found.examples:
        print(f"  {example.example_id}  {example.question}\n    right: {example.answers[0]}")
    for reason, n in sorted(found.left_out.items()):
        print(f"  {n} left out: {reason}")


def _before(ledger: Ledger, suite: str, against: str) -> dict[str, Any] | None:
    """The report to compare with."""
    if against == "none":
        return None
    if against == "last":
        last = ledger.verdicts.latest(suite, limit=1)
        if not last:
            return None
        against = last[0].verdict_id
    value: dict[str, Any] = orjson.loads(ledger.verdicts.report(against))
    return value


def _compared(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    from llmops.evals.report import compare as compare_reports

    return asdict(compare_reports(before, after))


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if quiet:
        yield lambda _done, _of: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("asking", total=None)
            yield lambda done, of: bar.update(task, completed=done, total=of)
    else:
        yield _tell


def _tell(done: int, of: int) -> None:
    if done % _TELL_EVERY == 0 or done == of:
        print(f"  {done} of {of} questions asked", file=sys.stderr, flush=True)
