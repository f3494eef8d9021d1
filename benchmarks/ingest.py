"""What ingestion costs over the bare encoder, and beside others, on real documentation.

    python benchmarks/ingest.py [DATA] [--part PART ...] [--peers PYTHON] [--quick] [--json]

Parts, all by default:

- `whole`: `ingest()` into a new workspace (list, read, parse, chunk, embed, weigh, write, account) and `embed()`
  on the finished list of texts, in turns, in one process. The ratio of their speeds is what everything but the
  encoder costs; 1 would be free. One pass over all files goes through `llmops ingest` in a process of its own, for
  its peak memory and for the second run.
- `encoders`: the encoder in fp32 and int8 beside sentence-transformers as it comes.
- `loss`: what int8 loses on public judgements.
- `unchanged`: a sync of 10,000 documents of which none has changed.
- `peers`: side by side with LangChain's indexing API and LlamaIndex's ingestion pipeline.

`--peers` names the Python of an environment with the others in it:
`pip install langchain-core langchain-classic langchain-huggingface langchain-qdrant langchain-text-splitters
llama-index-core llama-index-embeddings-huggingface llama-index-vector-stores-qdrant`. Without it they are left
out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus import MODEL, Corpus, FreeEncoder, TimedStore, corpus_of, new_workspace, sample
from encoders import measure_encoders, measure_losses, print_encoders, print_losses
from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder
from llmops.ingestion.run import ingest
from llmops.settings import Settings
from report import conditions, print_conditions, required_data, spread, table
from side_by_side import measure_side_by_side, print_side_by_side
from unchanged import CommandRun, ingest_command, make_workspace, measure_unchanged, print_unchanged

PARTS = ("whole", "encoders", "loss", "unchanged", "peers")
SAMPLE_CHUNKS, PEER_TEXTS, UNCHANGED_FILES = 1_200, 200, 10_000
QUICK_CHUNKS, QUICK_FILES = 60, 200
QUESTIONS = [
    "How do I roll back a release?",
    "What does the retry policy do?",
    "configure logging",
    "list of environment variables",
    "Which versions of Python are supported, and until when?",
    "TypeError: unhashable type",
    "connection pool size",
]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def first_and_second_run(corpus: Corpus) -> tuple[CommandRun, CommandRun]:
    """A new workspace filled, and then brought up to date when nothing has changed."""
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder), corpus.spec.model_dump(mode="json", exclude_defaults=True))
        return ingest_command(Path(folder)), ingest_command(Path(folder))


def ingested_s(corpus: Corpus, embedder: Embedder) -> float:
    """One ingestion of everything into a new workspace."""
    with new_workspace(embedder) as indexer:
        report = ingest(corpus.spec, indexer)
    if report.n_embedded != len(corpus.texts):
        raise SystemExit(f"ingestion embedded {report.n_embedded} chunks, not the same {len(corpus.texts)}")
    return report.duration_s


def in_turns(corpus: Corpus, embedder: Embedder, rounds: int) -> tuple[list[float], list[float]]:
    """Chunks a second of ingestion and of the bare encoder, A B A B; the order within a pair alternates."""
    whole_line: list[float] = []
    bare: list[float] = []
    for n in range(rounds):
        turns: list[tuple[list[float], Callable[[], float]]] = [
            (whole_line, lambda: ingested_s(corpus, embedder)),
            (bare, lambda: seconds(lambda: embedder.embed(corpus.texts))),
        ]
        for speeds, run in turns if n % 2 == 0 else reversed(turns):
            speeds.append(len(corpus.texts) / run())
    return whole_line, bare


def stages(corpus: Corpus, embedder: Embedder) -> dict[str, float]:
    """Seconds of the encoder alone, and of all the rest in an ingestion whose encoder costs nothing."""
    free = FreeEncoder(embedder)
    timed: list[TimedStore] = []

    def wrap(store: Any) -> TimedStore:
        timed.append(TimedStore(store=store))
        return timed[0]

    with new_workspace(free, wrap=wrap) as indexer:
        rest = ingest(corpus.spec, indexer).duration_s
    encoder = seconds(lambda: embedder.embed(corpus.texts))
    written = timed[0].writing_s
    return {
        "embed": encoder,
        "count tokens": free.counting_s,
        "upsert": written,
        "list, read, parse, chunk, weigh, account": max(rest - free.counting_s - written, 0.0),
    }


def measure_whole(root: Path, embedder: Embedder, arguments: argparse.Namespace) -> dict[str, Any]:
    corpus = corpus_of(root, embedder)
    rounds = sample(corpus, embedder, QUICK_CHUNKS if arguments.quick else SAMPLE_CHUNKS)
    full = rounds if arguments.quick else corpus
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


def print_whole(measured: dict[str, Any]) -> None:
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
    print("\nstages of one round, the encoder alone and the rest without it:")
    print(table(("stage", "s", "share"), rows))


def measure(data: Path, cache: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for."""
    root, threads = data / "docs_technical" / "files", Settings.from_environment().n_threads
    embedder = load_embedder(MODEL, cache_dir=cache, threads=threads)
    quick, rounds, found = arguments.quick, 1 if arguments.quick else arguments.rounds, {}
    if "whole" in arguments.part:
        found["whole"] = measure_whole(root, embedder, arguments)
    if "encoders" in arguments.part or "peers" in arguments.part:
        plain = [f"**/*{suffix}" for suffix in (".md", ".rst", ".txt")]
        n = QUICK_CHUNKS if quick else PEER_TEXTS
        some = sample(corpus_of(root, embedder, include=plain), embedder, n)
    if "encoders" in arguments.part:
        found["encoders"] = measure_encoders(
            some.texts[:n], QUESTIONS * 4, cache=cache, threads=threads, python=arguments.peers, rounds=rounds
        )
    if "loss" in arguments.part:
        limit = QUICK_CHUNKS if quick else None
        found["loss"] = measure_losses(data, cache=cache, threads=threads, limit=limit)
    if "unchanged" in arguments.part:
        n_files = QUICK_FILES if quick else UNCHANGED_FILES
        found["unchanged"] = measure_unchanged(root, embedder, n_files=n_files)
    if "peers" in arguments.part and arguments.peers:
        found["peers"] = measure_side_by_side(some, embedder, python=arguments.peers, rounds=rounds, n_texts=n)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="folder of the public data")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; may be given again")
    parser.add_argument("--peers", default="", metavar="PYTHON", help="Python with LangChain and LlamaIndex")
    parser.add_argument("--rounds", type=int, default=3, help="turns on the sample")
    parser.add_argument("--quick", action="store_true", help="one round of few chunks, no full pass")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.part = arguments.part or PARTS
    data = required_data(arguments.data, "docs_technical")
    conditioned = conditions(data)
    cache = Path(tempfile.mkdtemp())
    try:
        found = measure(data, cache, arguments)
    finally:
        shutil.rmtree(cache)
    if arguments.json:
        print(json.dumps({"conditions": conditioned, **found}, indent=2))
        return
    print_conditions(conditioned)
    shown = {
        "whole": print_whole,
        "encoders": print_encoders,
        "loss": print_losses,
        "unchanged": print_unchanged,
        "peers": print_side_by_side,
    }
    for part, measured in found.items():
        shown[part](measured)
    if "peers" in arguments.part and not arguments.peers:
        print("\nLangChain and LlamaIndex were not measured: name a Python that has them with --peers PYTHON")


if __name__ == "__main__":
    main()
