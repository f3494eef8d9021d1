"""How fast the encoder is, in fp32 and int8, beside sentence-transformers as it comes; and what int8 loses."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus import MODEL
from llmops.clients.embeddings import OnnxSource, load_embedder_for
from llmops.clients.protocols import Embedder
from llmops.ingestion.precision import LabelledTexts, measure_loss
from peer import Peer, open_peer
from report import percentile, spread, table

LABELLED = ("ir_scifact", "ir_cranfield")


def measure_encoders(
    texts: Sequence[str], questions: Sequence[str], *, cache: Path, threads: int, python: str, rounds: int
) -> dict[str, Any]:
    """All encoders on the same texts, in turns; sentence-transformers where the peers' environment is named."""
    ours = {
        precision: load_embedder_for(
            OnnxSource(model=MODEL, precision=precision), cache_dir=cache, threads=threads
        )
        for precision in ("fp32", "int8")
    }
    speeds: dict[str, list[dict[str, float]]] = {name: [] for name in (*ours, "sentence-transformers")}
    with open_peer("sentence_transformers_encode.py", python=python, texts=texts, questions=questions) as peer:
        for n in range(rounds + 1):
            order = list(speeds) if n % 2 else list(speeds)[::-1]
            for name in order:
                taken = turn(ours[name], texts, questions) if name in ours else peers_turn(peer)
                if n and taken:  # the first round warms
                    speeds[name].append(taken)
        versions = peer.versions if peer else {}
    return {
        "n_texts": len(texts),
        "mean_tokens": sum(ours["fp32"].count_tokens(texts)) / len(texts),
        "peer_versions": versions,
        "rounds": {name: found for name, found in speeds.items() if found},
    }


def turn(embedder: Embedder, texts: Sequence[str], questions: Sequence[str]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    embedder.embed(texts)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    taken = []
    for number, question in enumerate(questions):
        started = time.perf_counter()
        embedder.embed_query(f"{question} {number} {started}"[:120])  # not one it remembers
        taken.append(1000 * (time.perf_counter() - started))
    return {
        "chunks_per_s": len(texts) / wall,
        "chunks_per_cpu_s": len(texts) / cpu,
        "query_ms": percentile(taken, 0.5),
    }


def peers_turn(peer: Peer | None) -> dict[str, float]:
    if peer is None:
        return {}
    done = peer.ask("encode")
    asked = peer.ask("queries", texts=peer.questions)
    return {
        "chunks_per_s": done["n"] / done["wall_s"],
        "chunks_per_cpu_s": done["n"] / done["cpu_s"],
        "query_ms": percentile(asked["ms"], 0.5),
    }


def measure_losses(data: Path, *, cache: Path, threads: int, limit: int | None) -> dict[str, Any]:
    """What int8 loses on public judgements; with a limit, on a part of the texts, which says little."""
    fp32 = load_embedder_for(OnnxSource(model=MODEL), cache_dir=cache, threads=threads)
    int8 = load_embedder_for(OnnxSource(model=MODEL, precision="int8"), cache_dir=cache, threads=threads)
    found = {}
    for name in LABELLED:
        if (data / name).is_dir():
            measured = measure_loss(labels_of(data / name, limit), fp32=fp32, int8=int8)
            found[name] = {**measured.model_dump(mode="json"), "said": str(measured)}
    return found


def labels_of(folder: Path, limit: int | None) -> LabelledTexts:
    """A public set: title and text of each document, cut by the encoder's window, and its test judgements."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    with (folder / "queries.jsonl").open(encoding="utf-8") as file:
        questions = {str(query["_id"]): str(query["text"]) for query in map(json.loads, file)}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if float(row["score"]) > 0]
    judged: dict[str, dict[str, float]] = {}
    for row in rows:
        judged.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    if limit is not None:
        judged = dict(list(judged.items())[:20])
        wanted = {document for relevances in judged.values() for document in relevances}
        documents = sorted(documents, key=lambda document: str(document["_id"]) not in wanted)[:limit]
    return LabelledTexts(
        questions={key: questions[key] for key in judged},
        texts=[f"{document.get('title', '')}. {document['text']}" for document in documents],
        owners=[str(document["_id"]) for document in documents],
        relevances=judged,
    )


def print_encoders(measured: dict[str, Any]) -> None:
    rounds: dict[str, list[dict[str, float]]] = measured["rounds"]
    print(f"\nencoders in turns: {measured['n_texts']} chunks of {measured['mean_tokens']:.0f} tokens on the mean")
    base = rounds.get("sentence-transformers")
    rows = []
    for name, turns in rounds.items():
        ratio = ""
        if base and name != "sentence-transformers":
            ratio = str(spread([a["chunks_per_s"] / b["chunks_per_s"] for a, b in zip(turns, base, strict=True)]))
        wall, cpu, query = (
            str(spread([one[what] for one in turns])) for what in ("chunks_per_s", "chunks_per_cpu_s", "query_ms")
        )
        rows.append((name, wall, cpu, query, ratio))
    print(
        table(("encoder", "chunks/s", "chunks/CPU s", "question p50, ms", "ratio to sentence-transformers"), rows)
    )
    if not base:
        print("sentence-transformers was not measured: name a Python that has it with --peers PYTHON")


def print_losses(losses: dict[str, Any]) -> None:
    print("\nwhat int8 loses (exact search by cosine, whole documents cut at 256 tokens):")
    for name, found in losses.items():
        print(f"  {name}: {found['said']}")
