"""What ingestion costs over the bare encoder, on real documentation.

    python benchmarks/ingest.py [DATA] [--quick] [--json]

Both sides embed exactly the same chunks, in turns, in one process: `ingest()` into a new workspace (read, parse,
chunk, embed, weigh, write, account) and `embed()` on the finished list of texts. The ratio of their speeds is what
everything but the encoder costs; 1 would be free. One pass over all files goes through `llmops ingest` in a
process of its own, for its peak memory and for the second run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmops.clients.database import open_database
from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder
from llmops.clients.vectors import open_store
from llmops.ingestion.folder import SourceFile, fetch, list_folder
from llmops.ingestion.parsing import media_type_of, parse
from llmops.ingestion.prepare import Prepared, prepare
from llmops.ingestion.run import ingest
from llmops.ingestion.shape import Indexer
from llmops.ingestion.spec import IngestionSpec
from llmops.records import EVERYONE, Point
from llmops.releases import CollectionBook
from llmops.settings import Settings
from llmops.tokens import Bm25
from processes import environment, llmops, peak_mb
from report import conditions, print_conditions, required_data, spread, table

SAMPLE_CHUNKS, QUICK_CHUNKS, QUICK_FILES = 1_200, 150, 12
WINDOW = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Files of a folder, the spec that selects them, and what `prepare` makes of them."""

    spec: IngestionSpec
    files: list[SourceFile]
    texts: list[str]
    prepared: list[Prepared]


def the_spec(root: Path, include: Sequence[str] = ("**/*",)) -> IngestionSpec:
    source = {"type": "folder", "path": str(root), "include": list(include), "acl": [EVERYONE]}
    spec = {"name": "docs", "description": "Technical documentation.", "source": source}
    return IngestionSpec.model_validate_json(json.dumps(spec)).located("benchmark.yaml")


def whole(root: Path, embedder: Embedder, *, limit: int | None) -> Source:
    """Every file below `root`, or `limit` of them, in an order that mixes the folders."""
    spec = the_spec(root)
    listed = list_folder(spec.source, root, spec_file=spec.file).files
    files = sorted(listed, key=lambda file: hashlib.sha256(file.uri.encode()).digest())[:limit]
    prepared = [prepare(file, spec, embedder.count_tokens) for file in files]
    return Source(spec=spec, files=files, texts=_texts(prepared), prepared=prepared)


def sample(source: Source, root: Path, n_chunks: int) -> Source:
    """The first files, until they make `n_chunks`."""
    chosen: list[tuple[SourceFile, Prepared]] = []
    for file, item in zip(source.files, source.prepared, strict=True):
        if sum(len(p.chunks) for _, p in chosen) >= n_chunks:
            break
        chosen.append((file, item))
    files, prepared = [file for file, _ in chosen], [item for _, item in chosen]
    spec = the_spec(root, [file.uri for file in files])
    return replace(source, spec=spec, files=files, texts=_texts(prepared), prepared=prepared)


def _texts(prepared: Sequence[Prepared]) -> list[str]:
    return [chunk.embedded_text for item in prepared for chunk in item.chunks]


@contextmanager
def new_workspace(embedder: Embedder) -> Iterator[Indexer]:
    """A ledger and a vector store in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_database("", Path(folder) / "ledger.sqlite3")
        store = open_store(Settings(), Path(folder) / "vectors")
        try:
            yield Indexer(
                database=database,
                store=store,
                collections=CollectionBook(database),
                load_embedder=lambda _: embedder,
            )
        finally:
            store.close()
            database.close()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


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
        raise SystemExit(f"llmops ingest ended with {process.returncode}")
    return CommandRun(report=json.loads(printed)[0], wall_s=wall_s, peak_mb=peak)


def first_and_second_run(source: Source) -> tuple[CommandRun, CommandRun]:
    """A new workspace filled, and then brought up to date when nothing has changed."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        (workspace / "ingestion").mkdir()
        (workspace / "serving").mkdir()
        models = {"endpoints": {"default": {"type": "extractive"}}}
        (workspace / "serving" / "models.yaml").write_text(json.dumps(models))  # JSON is YAML
        (workspace / "ingestion" / "docs.yaml").write_text(json.dumps(source.spec.model_dump(mode="json")))
        return ingest_command(workspace), ingest_command(workspace)


def ingested_s(source: Source, embedder: Embedder) -> float:
    """One ingestion of everything into a new workspace."""
    with new_workspace(embedder) as indexer:
        report = ingest(source.spec, indexer)
    if report.n_embedded != len(source.texts):
        raise SystemExit(f"ingestion embedded {report.n_embedded} chunks, not the same {len(source.texts)}")
    return report.duration_s


def in_turns(source: Source, embedder: Embedder, rounds: int) -> tuple[list[float], list[float]]:
    """Chunks a second of ingestion and of the bare encoder, A B A B; the order within a pair alternates."""
    whole_line: list[float] = []
    bare: list[float] = []
    for n in range(rounds):
        turns: list[tuple[list[float], Callable[[], float]]] = [
            (whole_line, lambda: ingested_s(source, embedder)),
            (bare, lambda: seconds(lambda: embedder.embed(source.texts))),
        ]
        for speeds, run in turns if n % 2 == 0 else reversed(turns):
            speeds.append(len(source.texts) / run())
    return whole_line, bare


def stages(source: Source, embedder: Embedder) -> dict[str, float]:
    """Seconds of each stage when it runs alone and one after the other: in a run they overlap."""
    counting = 0.0

    def count_tokens(texts: Sequence[str]) -> list[int]:
        nonlocal counting
        started = time.perf_counter()
        counts = embedder.count_tokens(texts)
        counting += time.perf_counter() - started
        return counts

    read = {file: fetch(file, max_bytes=source.spec.source.max_file_bytes)[0] for file in source.files}
    kinds = {file: media_type_of(file.uri, raw[:4096]) for file, raw in read.items()}

    def parse_all() -> None:
        for file, raw in read.items():
            if (kind := kinds[file]) is not None:
                parse(raw, uri=file.uri, media_type=kind)

    parsing = seconds(parse_all)
    preparing = seconds(lambda: [prepare(file, source.spec, count_tokens) for file in source.files])
    started = time.perf_counter()
    vectors = embedder.embed(source.texts)
    embedding = time.perf_counter() - started
    started = time.perf_counter()
    bm25 = Bm25(average_terms=100)
    sparse = [bm25.document(text) for text in source.texts]
    weighing = time.perf_counter() - started
    chunks = [chunk for item in source.prepared for chunk in item.chunks]
    points = [Point(chunk=c, dense=v, sparse=s) for c, v, s in zip(chunks, vectors, sparse, strict=True)]
    return {
        "parse": parsing,
        "chunk, without counting": preparing - parsing - counting,
        "count tokens": counting,
        "embed": embedding,
        "BM25 weights": weighing,
        "upsert": _upserting_s(points, embedder.dimension),
    }


def _upserting_s(points: Sequence[Point], dimension: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Settings(), Path(folder) / "vectors")
        store.create("docs", dimension=dimension, metadata={})
        started = time.perf_counter()
        for start in range(0, len(points), WINDOW):
            store.upsert("docs", points[start : start + WINDOW])
        store.flush()
        elapsed = time.perf_counter() - started
        store.close()
    return elapsed


def measure(root: Path, embedder: Embedder, arguments: argparse.Namespace) -> dict[str, Any]:
    source = whole(root, embedder, limit=QUICK_FILES if arguments.quick else None)
    rounds = sample(source, root, QUICK_CHUNKS if arguments.quick else SAMPLE_CHUNKS)
    full = rounds if arguments.quick else source
    embedder.embed(rounds.texts[:64])  # warm
    first, second = first_and_second_run(full)
    bare_s = seconds(lambda: embedder.embed(full.texts))
    whole_line, bare = in_turns(rounds, embedder, 1 if arguments.quick else arguments.rounds)
    return {
        "one_pass": {
            "n_files": first.report["n_found"],
            "n_chunks": first.report["n_embedded"],
            "same_chunks": first.report["n_embedded"] == len(full.texts),
            "duration_s": first.report["duration_s"],
            "wall_s": first.wall_s,
            "peak_mb": first.peak_mb,
            "second_run_peak_mb": second.peak_mb,
            "bare_s": bare_s,
            "second_run_s": second.report["duration_s"],
            "second_run_wall_s": second.wall_s,
            "second_run_embedded": second.report["n_embedded"],
        },
        "rounds": {
            "n_files": len(rounds.files),
            "n_chunks": len(rounds.texts),
            "ingest_chunks_per_s": whole_line,
            "bare_chunks_per_s": bare,
            "ratios": [a / b for a, b in zip(whole_line, bare, strict=True)],
        },
        "stages_s": stages(rounds, embedder),
    }


def print_measured(measured: dict[str, Any]) -> None:
    one, rounds = measured["one_pass"], measured["rounds"]
    speed, bare = one["n_chunks"] / one["duration_s"], one["n_chunks"] / one["bare_s"]
    print(
        f"\none pass, llmops ingest: {one['n_files']} files, {one['n_chunks']} chunks in {one['duration_s']:.1f} s"
    )
    print(f"  {speed:.1f} chunks/s, bare encoder {bare:.1f} chunks/s afterwards, ratio {speed / bare:.2f}")
    print(f"  second run: {one['second_run_s']:.2f} s, {one['second_run_embedded']} chunks embedded", end="")
    print(f"; {one['second_run_wall_s']:.1f} s with the start of the process")
    if one["peak_mb"] is not None:
        again = f"{one['second_run_peak_mb']:.0f} MB in the second run"
        print(f"  peak memory: {one['peak_mb']:.0f} MB resident, the encoder's graph being made; {again}")
    if not one["same_chunks"]:
        print("  WARNING: the two sides did not embed the same chunks")
    print(f"\nin turns, {len(rounds['ratios'])} rounds of {rounds['n_files']} files, {rounds['n_chunks']} chunks:")
    print(f"  ingest chunks/s       {spread(rounds['ingest_chunks_per_s'])}")
    print(f"  bare encoder chunks/s {spread(rounds['bare_chunks_per_s'])}")
    print(f"  ratio                 {spread(rounds['ratios'])}")
    total = sum(measured["stages_s"].values())
    rows = [(name, f"{taken:.2f}", f"{taken / total:.0%}") for name, taken in measured["stages_s"].items()]
    print("\nstages of one round, each alone:")
    print(table(("stage", "s", "share"), rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="folder of the public data")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs on the sample")
    parser.add_argument("--quick", action="store_true", help="one round of few chunks, no full pass")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = required_data(arguments.data, "docs_technical")
    found = conditions(data)
    cache = Path(tempfile.mkdtemp())
    try:
        threads = Settings.from_environment().n_threads
        embedder = load_embedder("all-MiniLM-L6-v2", cache_dir=cache, threads=threads)
        measured = measure(data / "docs_technical" / "files", embedder, arguments)
    finally:
        shutil.rmtree(cache)
    if arguments.json:
        print(json.dumps({"conditions": found, **measured}, indent=2))
        return
    print_conditions(found)
    print_measured(measured)


if __name__ == "__main__":
    main()
