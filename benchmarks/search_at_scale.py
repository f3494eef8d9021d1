"""What a search with permissions costs over 50,000 chunks, beside the bare encoder and the bare store.

    python benchmarks/search_at_scale.py [DATA] [--chunks 50000] [--rounds 3] [--quantization none]
        [--keep DIR] [--quick] [--json]

Ours is the whole `Retriever`: query embedding, BM25 weights, permissions, both searches, fusion, the passages.
Bare is what one would write without us: `embed_query` of a second encoder, then one call of `qdrant_edge` on a
copy of the same folder that searches both vectors under the same permissions, fuses them and returns the same
number of payloads; its filter and its BM25 weights are made before the clock starts. Both answer every question
in turns. The bare search is exact also where ours reads codes first, as it does unless `--quantization none`:
agreement shows their loss. Processor time is that of all threads; where other work is on the machine it says more
than the clock. The corpus is that of `scale_corpus.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import qdrant_edge

from llmops.clients.database import open_database
from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder, Filter, StoreSettings, VectorStore
from llmops.clients.vectors import open_store
from llmops.records import Caller
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.settings import Settings
from llmops.tokens import Bm25, terms
from report import conditions, percentile, print_conditions, required_data, spread, table
from scale_corpus import SETS, Corpus, build_corpus, callers, permissions, points

REAL, QUICK_REAL, QUICK_CHUNKS = 6_000, 300, 2_000
NAME, COLLECTION = "scale", "scale-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question of a caller."""

    question: str
    caller: Caller


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Clock and processor time of the process, all threads together, in ms."""

    wall_ms: float
    cpu_ms: float

    @classmethod
    def now(cls) -> Moment:
        return cls(wall_ms=time.perf_counter() * 1000, cpu_ms=time.process_time() * 1000)

    def since(self, earlier: Moment) -> Moment:
        return Moment(wall_ms=self.wall_ms - earlier.wall_ms, cpu_ms=self.cpu_ms - earlier.cpu_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What one question took."""

    embed: Moment
    search: Moment
    together: Moment


@contextmanager
def collection(
    corpus: Corpus, embedder: Embedder, folder: Path, settings: StoreSettings
) -> Iterator[tuple[VectorStore, CollectionBook]]:
    """The corpus in Qdrant Edge; what an earlier run built in `folder` is used again."""
    database, store = open_database("", folder / "ledger.sqlite3"), open_store(Settings(), folder / "vectors")
    book = CollectionBook(database)
    if COLLECTION not in store.collections():
        average = statistics.fmean(len(terms(p.text)) for p in corpus.passages)
        store.create(COLLECTION, dimension=embedder.dimension, metadata={}, settings=settings)
        acls = permissions(list(dict.fromkeys(p.document for p in corpus.passages)))
        made = list(points(corpus, acls, Bm25(average_terms=average)))
        started = time.perf_counter()
        store.upsert(COLLECTION, made)
        print(f"upsert: {len(made) / (time.perf_counter() - started):.0f} points/s")
        shape = CollectionShape(
            collection=COLLECTION,
            name=NAME,
            state="building",
            embedder=embedder.name,
            embedder_digest=embedder.digest,
            dimension=embedder.dimension,
            chunker={},
            average_terms=average,
            spec_hash="",
            created_at=datetime.now(UTC),
        )
        book.register(shape)
        book.point(NAME, COLLECTION)
    try:
        yield store, book
    finally:
        store.close()
        database.close()


class Bare:
    """The encoder and the engine, with nothing of ours between them; requests are made beforehand."""

    def __init__(self, embedder: Embedder, folder: Path, spec: RetrievalSpec) -> None:
        self._embedder, self._spec = embedder, spec
        self._shard = qdrant_edge.EdgeShard.load(str(folder))

    def prepare(self, asked: Asked) -> tuple[str, Any, Any]:
        sparse = Bm25.query(asked.question)
        acl = qdrant_edge.MatchAny(list(asked.caller.principals))
        only = qdrant_edge.Filter(must=[qdrant_edge.FieldCondition("acl", match=acl)])
        return asked.question, qdrant_edge.SparseVector(list(sparse.indices), list(sparse.values)), only

    def answer(self, prepared: tuple[str, Any, Any]) -> tuple[Taken, list[str]]:
        question, sparse, only = prepared
        started = Moment.now()
        dense = self._embedder.embed_query(question)
        embedded = Moment.now()
        # the stub asks for lists, and calls the fusion another name
        vectors: list[tuple[Any, str]] = [(dense, "dense"), (sparse, "bm25")]
        fusion: Any = qdrant_edge.Fusion.Dbsf()
        exact = qdrant_edge.SearchParams(exact=True)
        searches = [
            qdrant_edge.Prefetch(
                self._spec.candidates,
                query=qdrant_edge.Query.Nearest(vector, using=using),
                filter=only,
                params=exact,
            )
            for vector, using in vectors
        ]
        request = qdrant_edge.QueryRequest(self._spec.k, prefetches=searches, query=fusion, with_payload=True)
        found = self._shard.query(request)
        texts = [str((point.payload or {})["text"]) for point in found]
        return _taken(started, embedded), texts

    def close(self) -> None:
        self._shard.close()


def ours(retriever: Retriever, asked: Asked) -> tuple[Taken, list[str]]:
    started = Moment.now()
    vectors = retriever.embed(asked.question)
    embedded = Moment.now()
    hits = retriever.search(vectors, asked.caller)
    return _taken(started, embedded), [hit.chunk.text for hit in hits]


def _taken(started: Moment, embedded: Moment) -> Taken:
    ended = Moment.now()
    return Taken(embed=embedded.since(started), search=ended.since(embedded), together=ended.since(started))


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """All questions of one round, answered by both; `agreement` is the mean share of equal passages."""

    ours: list[Taken]
    bare: list[Taken]
    agreement: float


def one_round(asked: Sequence[Asked], retriever: Retriever, bare: Bare) -> Round:
    """Every question by both, the first of the two in turns, so that both meet the same machine."""
    our_times, bare_times, same = [], [], []
    for number, one in enumerate(asked):
        prepared = bare.prepare(one)
        if number % 2:
            ours_took, our_texts = ours(retriever, one)
            bare_took, bare_texts = bare.answer(prepared)
        else:
            bare_took, bare_texts = bare.answer(prepared)
            ours_took, our_texts = ours(retriever, one)
        our_times.append(ours_took)
        bare_times.append(bare_took)
        same.append(len(set(our_texts) & set(bare_texts)) / max(1, len(bare_texts)))
    return Round(ours=our_times, bare=bare_times, agreement=statistics.fmean(same))


def visible(store: VectorStore, asked: Sequence[Asked], n_chunks: int) -> dict[str, float]:
    """Share of the chunks that a caller may see."""
    shares = [
        store.count(COLLECTION, where=Filter(principals=one.caller.principals)) / n_chunks for one in asked[:100]
    ]
    return {f"p{round(100 * share)}": percentile(shares, share) for share in (0.05, 0.5, 0.95)}


def rows(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """For each part and clock: median over rounds of p50 and p95 of both, and their ratio with its spread."""
    made: list[dict[str, Any]] = []
    for part in ("embed", "search", "together"):
        for clock in ("wall_ms", "cpu_ms"):
            row: dict[str, Any] = {"part": part, "clock": clock}
            for label, share in (("p50", 0.5), ("p95", 0.95)):
                our = [percentile([getattr(getattr(t, part), clock) for t in r.ours], share) for r in rounds]
                their = [percentile([getattr(getattr(t, part), clock) for t in r.bare], share) for r in rounds]
                row |= {f"ours_{label}": spread(our), f"bare_{label}": spread(their)}
                row[f"ratio_{label}"] = spread([a / b for a, b in zip(our, their, strict=True)])
            made.append(row)
    return made


def measure(
    corpus: Corpus,
    embedders: tuple[Embedder, Embedder],
    folder: Path,
    n_rounds: int,
    settings: StoreSettings,
) -> dict[str, Any]:
    spec = RetrievalSpec(collection=NAME)
    with collection(corpus, embedders[0], folder, settings) as (store, book):
        store.flush()
        copy = folder / "bare"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder / "vectors" / COLLECTION, copy)
        bare = Bare(embedders[1], copy, spec)
        retriever = Retriever(spec=spec, store=store, embedder=embedders[0], collections=book)
        who = callers(len(corpus.questions))
        everything = [Asked(question=q, caller=c) for q, c in zip(corpus.questions, who, strict=True)]
        one_round(everything[:20], retriever, bare)
        size = len(everything[20:]) // n_rounds
        rounds = [
            one_round(everything[20 + i * size : 20 + (i + 1) * size], retriever, bare) for i in range(n_rounds)
        ]
        shares = visible(store, everything, len(corpus.passages))
        bare.close()
    return {
        "chunks": len(corpus.passages),
        "quantization": settings.quantization,
        "likeness": corpus.likeness,
        "visible": shares,
        "questions_a_round": size,
        "agreement": statistics.fmean(r.agreement for r in rounds),
        "rows": rows(rounds),
    }


def print_findings(found: dict[str, Any]) -> None:
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found["visible"].items())
    print(f"\n{found['chunks']} chunks, quantization {found['quantization']}")
    print(f"{found['questions_a_round']} questions a round, all different")
    print(
        f"a caller sees {shares} of the chunks; made-up vectors have cosine {found['likeness']:.2f} to true ones"
    )
    print(f"same passages as the bare search: {found['agreement']:.1%}")
    header = ("", "ms of", "ours p50", "bare p50", "ratio p50", "ours p95", "bare p95", "ratio p95")
    columns = [f"{column}_{label}" for label in ("p50", "p95") for column in ("ours", "bare", "ratio")]
    clocks = {"wall_ms": "clock", "cpu_ms": "processor"}
    body = [(r["part"], clocks[r["clock"]], *(str(r[column]) for column in columns)) for r in found["rows"]]
    print(table(header, body))
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="folder of the public data")
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--questions", type=int, default=900, help="in all rounds together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quantization", choices=("auto", "none", "turbo8", "turbo4", "binary"), default="auto")
    parser.add_argument("--keep", type=Path, help="build here, and use again what is here")
    parser.add_argument("--quick", action="store_true", help="a small collection: not comparable")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = required_data(arguments.data, *SETS)
    n_real, n_chunks = (QUICK_REAL, QUICK_CHUNKS) if arguments.quick else (REAL, arguments.chunks)
    found_conditions = conditions(data)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        threads = Settings.from_environment().n_threads
        encoders = [load_embedder("all-MiniLM-L6-v2", cache_dir=folder, threads=threads) for _ in range(2)]
        corpus = build_corpus(data, encoders[0], folder, n_real=n_real, n_chunks=n_chunks)
        corpus = replace(corpus, questions=corpus.questions[: 120 if arguments.quick else arguments.questions])
        settings = StoreSettings(quantization=arguments.quantization)
        found = measure(corpus, (encoders[0], encoders[1]), folder, arguments.rounds, settings)
    if arguments.json:
        print(json.dumps({"conditions": found_conditions, **found}, default=_plain, indent=2))
        return
    print_conditions(found_conditions)
    print_findings(found)


def _plain(value: Any) -> Any:
    from dataclasses import asdict

    return asdict(value)


if __name__ == "__main__":
    main()
