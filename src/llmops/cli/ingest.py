"""`llmops ingest`: bring collections in line with their sources, and say what became of each document."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json

if TYPE_CHECKING:
    from llmops.ingestion.documents import DocumentRow
    from llmops.ingestion.report import Progress

_PLAIN_EVERY_S = 5.0
_SHOWN_PROBLEMS = 20


class _RunByDefault(TyperGroup):
    """`llmops ingest` and `llmops ingest handbook` mean `llmops ingest run …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not any(arg in self.commands or arg == "--help" for arg in args[:1]):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RunByDefault, help="Turn documents into searchable collections.", rich_markup_mode=None)


@app.command("run")
def run(
    pipelines: Annotated[list[str] | None, typer.Argument(help="Names or files; all when none is given.")] = None,
    rebuild: Annotated[
        bool, typer.Option(help="Build a new collection and switch to it when it is done.")
    ] = False,
    beside: Annotated[
        bool, typer.Option(help="Build or update a candidate; `llmops release promote` lets it answer.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option(help="Remove all documents when the source is empty.")] = False,
    accept_removals: Annotated[
        bool, typer.Option(help="Remove what is gone, also when it is more than sync.max_removed_share.")
    ] = False,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Ingest what is new or changed; exit 3 when a document failed."""
    from llmops.cli.faces import open_face
    from llmops.ingestion.run import Options
    from llmops.workspace.files import load_files

    files = load_files(workspace)
    names = [files.pipeline(name).name for name in pipelines] if pipelines else list(files.pipelines)
    reports = []
    with open_face(workspace) as face:
        for name in names:
            with _progress(name, quiet=as_json) as show:
                options = Options(
                    rebuild=rebuild, beside=beside, allow_empty=allow_empty, accept_removals=accept_removals
                )
                reports.append(face.ingest(name, options=options, on_progress=show))
            if not as_json:
                print_report(reports[-1])
    if as_json:
        print_json(reports)
    if not names:
        print("there is no pipeline in ingestion/; `llmops init` shows what one looks like", file=sys.stderr)
    raise typer.Exit(0 if all(report["is_complete"] for report in reports) else 3)


@app.command("status")
def status(
    pipeline: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only documents in this state; repeatable.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """What the ledger says of every document, and how the last sync ended."""
    from typing import get_args

    from llmops.clients.database import open_database
    from llmops.errors import RequestError
    from llmops.ingestion.documents import DocumentLedger
    from llmops.ingestion.syncs import SyncBook
    from llmops.records import DocumentState
    from llmops.releases import CollectionBook
    from llmops.settings import Settings, state_directory
    from llmops.workspace.files import load_files

    unknown = sorted(set(state or ()) - set(get_args(DocumentState)))
    if unknown:
        raise RequestError(f"no state {unknown[0]!r}; there is: {', '.join(get_args(DocumentState))}")

    files = load_files(workspace)
    names = [files.pipeline(pipeline).name] if pipeline else list(files.pipelines)
    database = open_database(
        Settings.from_environment().database_url, state_directory(workspace) / "ledger.sqlite3"
    )
    book = CollectionBook(database)
    found: list[dict[str, Any]] = []
    for name in names:
        shape = book.serving(name)
        rows = list(DocumentLedger(database, shape.collection).rows().values()) if shape else []
        last = SyncBook(database).last(name)
        found.append(
            {
                "pipeline": name,
                "collection": shape.collection if shape else None,
                "sync": {"state": last.state, "started_at": last.started_at, "reason": last.reason}
                if last
                else None,
                "states": dict(Counter(row.state for row in rows)),
                "documents": [_shown(row) for row in rows if not state or row.state in state],
            }
        )
    database.close()
    if as_json:
        print_json(found)
        return
    for item in found:
        _print_status(item)


def _shown(row: DocumentRow) -> dict[str, Any]:
    """A row as JSON; what only machines compare stays out."""
    from dataclasses import asdict

    return {name: value for name, value in asdict(row).items() if name not in ("signature", "item", "listed")}


def _print_status(item: dict[str, Any]) -> None:
    sync = item["sync"]
    if item["collection"] is None:
        print(f"{item['pipeline']}: nothing ingested yet; run `llmops ingest run {item['pipeline']}`")
    else:
        chunks = sum(document["n_chunks"] for document in item["documents"])
        counts = ", ".join(
            f"{n} {state}" for state, n in sorted(item["states"].items(), key=lambda pair: -pair[1])
        )
        print(f"{item['pipeline']} ({item['collection']}): {counts or 'no documents'}; {chunks} chunks")
    if sync is not None and sync["state"] not in ("done", "part"):
        print(f"  the last sync ({sync['started_at']:%Y-%m-%d %H:%M} UTC) is {sync['state']}: {sync['reason']}")
    for document in item["documents"]:
        print(
            f"  {document['state']:8} {document['n_chunks']:5}  {document['uri']}  {document['reason']}".rstrip()
        )


_STATES = "indexed unchanged empty skipped failed parked duplicate refused expired".split()


def print_report(report: dict[str, Any]) -> None:
    """What one run did, for people."""
    parts = [f"{report[f'n_{state}']} {state}" for state in _STATES]
    counts = ", ".join(part for part in parts if not part.startswith("0 ")) or "nothing to do"
    others = {"removed": report["n_removed"], "with other readers": report["n_permissions"]}
    others["erased for good and left out"] = report["n_forgotten"]
    removed = "".join(f"; {n} {what}" for what, n in others.items() if n)
    print(f"{report['name']}: {report['n_found']} documents found: {counts}{removed}")
    seconds = report["duration_s"]
    reused = f", {report['n_reused']} kept their vectors" if report["n_reused"] else ""
    held = f"{report['n_chunks']} in {report['collection']}"
    print(f"  {report['n_embedded']} chunks embedded{reused}; {held} ({seconds:.1f} s)")
    if report["is_candidate"]:
        print(
            f"  {report['collection']} waits beside the one that answers: measure it with `llmops eval run SUITE "
            f"--collection {report['collection']}`, release it with `llmops release promote "
            f"collection:{report['name']}`"
        )
    _print_problems(report["problems"])
    if report["held"]:
        print(f"  held: {report['held']}")
    for problem in report["listing_problems"]:
        print(f"  could not be listed, so nothing was removed and no new collection took over: {problem}")


def _print_problems(problems: list[dict[str, Any]]) -> None:
    """Failures one by one; what was skipped or empty by its reason."""
    failed = sorted((p for p in problems if p["state"] == "failed"), key=lambda p: p["uri"])
    for problem in failed[:_SHOWN_PROBLEMS]:
        print(f"  failed: {problem['uri']}: {problem['reason']}")
    if len(failed) > _SHOWN_PROBLEMS:
        print(f"  … and {len(failed) - _SHOWN_PROBLEMS} more failed")
    others = Counter((p["state"], p["reason"]) for p in problems if p["state"] != "failed")
    for (state, reason), n in sorted(others.items()):
        print(f"  {state}: {n} with the reason: {reason}")
    if problems:
        print("  `llmops ingest status` lists every document")


@contextmanager
def _progress(name: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line now and then elsewhere, nothing with `--json`."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar(name) as show:
            yield show
    else:
        yield _plain_lines(name)


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[chunks]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, chunks="")

        def show(progress: Progress) -> None:
            verb = {"list": "listing", "scan": "comparing", "index": "indexing"}[progress.stage]
            bar.update(
                task,
                description=f"{name}: {verb}",
                total=progress.n_documents or None,
                completed=progress.n_done,
                chunks=f"{progress.n_embedded} chunks embedded",
            )

        yield show


def _plain_lines(name: str) -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PLAIN_EVERY_S:
            last = now
            counts = (
                f"{progress.n_done} of {progress.n_documents} documents, {progress.n_embedded} chunks embedded"
            )
            print(f"{name}: {counts}", file=sys.stderr, flush=True)

    return show
