"""A sync of many documents of which none has changed: what it costs to find that out."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus import FreeEncoder, spec_of
from llmops.clients.protocols import Embedder
from llmops.ingestion.run import ingest
from llmops.ingestion.shape import Indexer
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from processes import environment, llmops, peak_mb


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandRun:
    """One `llmops ingest` in a process of its own; `wall_s` includes its start."""

    report: dict[str, Any]
    wall_s: float
    peak_mb: float | None


def ingest_command(workspace: Path) -> CommandRun:
    """Run it and watch its memory."""
    started, peak = time.perf_counter(), None
    command = llmops("ingest", "run", "docs", "--json", "-w", str(workspace))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        while process.poll() is None:
            peak = peak_mb(process.pid) or peak
            time.sleep(0.1)
        assert process.stdout is not None
        printed = process.stdout.read()
    wall_s = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"llmops ingest ended with {process.returncode}: {printed.decode()[-2000:]}")
    return CommandRun(report=json.loads(printed)[0], wall_s=wall_s, peak_mb=peak)


def make_workspace(folder: Path, spec: dict[str, Any]) -> None:
    """The files of a workspace with one pipeline."""
    (folder / "ingestion").mkdir()
    (folder / "serving").mkdir()
    models = {"endpoints": {"default": {"type": "extractive"}}}
    (folder / "serving" / "models.yaml").write_text(json.dumps(models))  # JSON is YAML
    (folder / "ingestion" / "docs.yaml").write_text(json.dumps(spec))


def paragraphs(root: Path) -> Iterator[str]:
    """Paragraphs of the documentation, again and again."""
    found = [
        paragraph.strip()
        for path in sorted(root.rglob("*"))
        if path.suffix in (".md", ".rst", ".txt")
        for paragraph in path.read_text("utf-8", errors="replace").split("\n\n")
        if 200 < len(paragraph.strip()) < 900
    ]
    return itertools.cycle(found)


def write_files(root: Path, source: Path, n_files: int) -> None:
    """Small files in folders of a hundred, no two alike."""
    for number, paragraph in zip(range(n_files), paragraphs(source), strict=False):
        path = root / f"{number // 100:04}" / f"{number:06}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Note {number}\n\n{paragraph}\n", "utf-8")


def measure_unchanged(source: Path, embedder: Embedder, *, n_files: int) -> dict[str, Any]:
    """Fill a workspace with an encoder that costs nothing, then sync it twice through `llmops ingest`.

    The vectors of the filling are not the model's; a sync that finds nothing changed does not look at them.
    """
    with tempfile.TemporaryDirectory() as folder:
        root, workspace = Path(folder) / "files", Path(folder) / "workspace"
        workspace.mkdir()
        write_files(root, source, n_files)
        spec = spec_of(root)
        make_workspace(workspace, spec.model_dump(mode="json", exclude_defaults=True))
        opened = Workspace(workspace, Settings(), command="benchmark")
        try:
            indexer = Indexer(
                database=opened.database,
                store=opened.store,
                collections=opened.collections,
                load_embedder=lambda _: FreeEncoder(embedder),
            )
            filling = ingest(opened.pipeline("docs"), indexer)
        finally:
            opened.close()
        first, second = ingest_command(workspace), ingest_command(workspace)
        (root / "0000" / "000000.md").write_text("# Note 0\n\nIt says something else now.\n", "utf-8")
        changed = ingest_command(workspace)
    return {
        "n_files": n_files,
        "n_chunks": filling.n_embedded,
        "filling_without_encoder_s": filling.duration_s,
        "syncs": [
            {
                "duration_s": run.report["duration_s"],
                "wall_s": run.wall_s,
                "peak_mb": run.peak_mb,
                "n_embedded": run.report["n_embedded"],
                "n_unchanged": run.report["n_unchanged"],
            }
            for run in (first, second, changed)
        ],
    }


def print_unchanged(measured: dict[str, Any]) -> None:
    print(f"\n{measured['n_files']} documents of which none changed ({measured['n_chunks']} chunks):")
    for name, run in zip(("first sync", "second sync", "one document changed"), measured["syncs"], strict=True):
        print(
            f"  {name}: {run['duration_s']:.2f} s, {run['wall_s']:.1f} s with the start of the process, "
            f"{run['n_embedded']} chunks embedded, {run['n_unchanged']} documents unchanged, "
            f"peak {run['peak_mb'] or 0:.0f} MB"
        )
    print(f"  filling it without an encoder took {measured['filling_without_encoder_s']:.1f} s")
