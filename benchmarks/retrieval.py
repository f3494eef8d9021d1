"""How well the product's own parts find documents, and how fast, on every public set with judgements.

    python benchmarks/retrieval.py [DATA] [--set ir_cranfield] [--quick] [--json] [--vectors FOLDER]

Document → chunk → encoder and BM25 → Qdrant Edge → `Retriever`, with the product's defaults where no option says
otherwise; only recall@100 searches deeper, for a hundred documents may be more than a hundred chunks. A document
stands where its best chunk does. `retrieval_sets.py` says what is judged in each set.

The fusion is chosen on one part of the queries by the rule of `llmops ingest tune` (a change only when a paired
test proves it; never a fusion that is more than 0.005 below the better single search), and reported on the other.

Cranfield's judgements coded -1, one a query, name the paper the query was written for. Our copy is without them,
and that paper, mostly ranked first, counts as a miss: nDCG@10 with them is .15 higher for the same rankings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.clients.database import open_database
from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder, VectorStore
from llmops.clients.vectors import open_store
from llmops.evals.tuning import Choice, Setting, choose, encoding_once, searching_once, settings_to_try
from llmops.ingestion.chunking import chunk
from llmops.ingestion.spec import ChunkSpec
from llmops.metrics import Interval, bootstrap_interval, ndcg_at_k, recall_at_k
from llmops.metrics.paired import paired_p_value
from llmops.records import Caller, Chunk, Point
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.settings import Settings
from llmops.tokens import Bm25, terms
from report import conditions, percentile, print_conditions, required_data, table
from retrieval_sets import REPORT, SETS, TUNE, Judged, Labelled, folders, read_set

TARGETS = {"ir_scifact": 0.72, "ir_cranfield": 0.58, "squad_v2": 0.92, "xquad_en": 0.98}
"""nDCG@10 to reach on the part that is reported."""
MAX_BELOW = 0.005
DENSE, SPARSE, RRF, DBSF = (
    Setting(fusion="dense"),
    Setting(fusion="sparse"),
    Setting(fusion="rrf"),
    Setting(fusion="dbsf"),
)
DEEP = 300
CALLER = Caller()
QUICK_DOCUMENTS, LATENCY_QUERIES = 300, 200
Searched = Callable[[Setting], Retriever]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """What one query took."""

    embed_ms: float
    search_ms: float


@dataclass(kw_only=True)
class Findings:
    """Everything measured on one set."""

    name: str
    n_documents: int
    n_chunks: int
    max_tokens: int
    n_queries: dict[str, int]
    choice: Choice
    rows: list[dict[str, Any]] = field(default_factory=list)
    gains: list[dict[str, Any]] = field(default_factory=list)
    latency: list[dict[str, Any]] = field(default_factory=list)


class KeptVectors:
    """An encoder whose vectors of a whole corpus outlive the run, in a folder named by the user."""

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self._embedder, self._folder = embedder, folder
        folder.mkdir(parents=True, exist_ok=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """As the encoder's; read from the folder where the same texts were embedded before."""
        key = hashlib.sha256(("\0".join(texts) + self._embedder.digest).encode()).hexdigest()[:24]
        path = self._folder / f"{key}.npy"
        if not path.exists():
            np.save(path, self._embedder.embed(texts, on_progress))
        vectors: NDArray[np.float32] = np.load(path)
        return vectors


def chunks_of(labelled: Labelled, embedder: Embedder, chunking: ChunkSpec) -> list[Chunk]:
    return [
        piece
        for document in labelled.documents
        for piece in chunk(
            document,
            count_tokens=embedder.count_tokens,
            max_tokens=chunking.max_tokens,
            min_tokens=chunking.min_tokens,
        )
    ]


@contextmanager
def collection(
    name: str, chunks: Sequence[Chunk], embedder: Embedder, chunking: ChunkSpec, *, k1: float, b: float
) -> Iterator[tuple[VectorStore, CollectionBook]]:
    """The chunks as a collection, in a folder that is gone afterwards."""
    average = sum(len(terms(c.embedded_text)) for c in chunks) / len(chunks)
    shape = CollectionShape(
        collection=f"{name}-1",
        name=name,
        state="building",
        embedder=embedder.name,
        embedder_digest=embedder.digest,
        dimension=embedder.dimension,
        chunker=chunking.model_dump(mode="json"),
        average_terms=average,
        spec_hash="",
        created_at=datetime.now(UTC),
    )
    with tempfile.TemporaryDirectory() as folder:
        database = open_database("", Path(folder) / "ledger.sqlite3")
        store = open_store(Settings(), Path(folder) / "vectors")
        book = CollectionBook(database)
        store.create(shape.collection, dimension=shape.dimension, metadata={})
        store.upsert(shape.collection, _points(chunks, embedder, Bm25(average_terms=average, k1=k1, b=b)))
        book.register(shape)
        book.point(name, shape.collection)
        try:
            yield store, book
        finally:
            store.close()
            database.close()


def _points(chunks: Sequence[Chunk], embedder: Embedder, bm25: Bm25) -> list[Point]:
    vectors = embedder.embed([c.embedded_text for c in chunks])
    return [
        Point(chunk=c, dense=vector, sparse=bm25.document(c.embedded_text))
        for c, vector in zip(chunks, vectors, strict=True)
    ]


def ranked(retriever: Retriever, labelled: Labelled, query: str, *, k: int) -> list[str]:
    """What is judged, best first, among the best `k` chunks."""
    hits = retriever.search(retriever.embed(labelled.queries[query]), CALLER, k=k)
    return list(dict.fromkeys(labelled.owner(hit.chunk) for hit in hits))


def ndcg(retriever: Retriever, labelled: Labelled, judged: Judged) -> list[float]:
    """nDCG@10, one a query."""
    depth = retriever.spec.candidates
    return [ndcg_at_k(judged[q], ranked(retriever, labelled, q, k=depth), 10) for q in judged]


def timed(retriever: Retriever, query: str) -> Timed:
    started = time.perf_counter()
    vectors = retriever.embed(query)
    embedded = time.perf_counter()
    retriever.search(vectors, CALLER)
    ended = time.perf_counter()
    return Timed(embed_ms=(embedded - started) * 1000, search_ms=(ended - embedded) * 1000)


def measure(
    labelled: Labelled, embedder: Embedder, chunking: ChunkSpec, arguments: argparse.Namespace
) -> Findings:
    """Tune on one part of the queries, report on the other."""
    chunks = chunks_of(labelled, embedder, chunking)
    parts = labelled.parts(chunks)
    name = labelled.name.replace("_", "-")
    with collection(name, chunks, embedder, chunking, k1=arguments.k1, b=arguments.b) as (store, book):

        def opened(store: VectorStore, embedder: Embedder) -> Searched:
            plain = RetrievalSpec(collection=name, candidates=arguments.candidates)
            return lambda setting: Retriever(
                spec=setting.on(plain) or plain, store=store, embedder=embedder, collections=book
            )

        kept = opened(searching_once(store), encoding_once(embedder))
        choice = choose({one: ndcg(kept(one), labelled, parts[TUNE]) for one in settings_to_try(DBSF)})
        found = Findings(
            name=labelled.name,
            n_documents=len(labelled.documents),
            n_chunks=len(chunks),
            max_tokens=chunking.max_tokens,
            n_queries={part: len(judged) for part, judged in parts.items()},
            choice=choice,
        )
        reported = list(dict.fromkeys([DENSE, SPARSE, RRF, DBSF, choice.chosen]))
        _report(found, labelled, parts, kept, reported)
        sample = [labelled.queries[query] for judged in parts.values() for query in judged][:LATENCY_QUERIES]
        plain = opened(store, embedder)
        found.latency += _latencies({one.name: plain(one) for one in reported}, sample)
    return found


def _report(
    found: Findings, labelled: Labelled, parts: dict[str, Judged], searched: Searched, reported: Sequence[Setting]
) -> None:
    """What each setting finds on the part that nothing was chosen by, and on all queries."""
    every = {**parts[TUNE], **parts[REPORT]}
    for part, judged in ((REPORT, parts[REPORT]), ("all", every)):
        scores = {one: ndcg(searched(one), labelled, judged) for one in reported}
        for one in reported:
            deep = [ranked(searched(one), labelled, query, k=DEEP) for query in judged]
            recall = [recall_at_k(judged[q], ranking, 100) for q, ranking in zip(judged, deep, strict=True)]
            found.rows.append(
                {
                    "queries": part,
                    "n": len(judged),
                    "search": one.name,
                    "ndcg_at_10": bootstrap_interval(scores[one]),
                    "recall_at_100": bootstrap_interval(recall),
                }
            )
        single = max((DENSE, SPARSE), key=lambda one: float(np.mean(scores[one])))
        pairs = {(hybrid, over) for hybrid in (found.choice.chosen, DBSF, RRF) for over in (single, DBSF)}
        for hybrid, over in sorted(pairs, key=lambda pair: (pair[0].name, pair[1].name)):
            if hybrid != over:
                found.gains.append(_gain(part, hybrid, over, scores, is_better_single=over == single))


def _gain(
    part: str, hybrid: Setting, over: Setting, scores: dict[Setting, list[float]], *, is_better_single: bool
) -> dict[str, Any]:
    differences = list(np.subtract(scores[hybrid], scores[over]))
    return {
        "queries": part,
        "search": hybrid.name,
        "over": over.name,
        "is_better_single": is_better_single,
        "ndcg_at_10": bootstrap_interval(differences),
        "p_value": paired_p_value(differences),
    }


def _latencies(retrievers: dict[str, Retriever], queries: Sequence[str]) -> list[dict[str, Any]]:
    """Every query through every search before the next one: all meet the same machine."""
    taken: dict[str, list[Timed]] = {name: [] for name in retrievers}
    for query in queries:
        for name, retriever in retrievers.items():
            taken[name].append(timed(retriever, query))
    return [_latency(name, times) for name, times in taken.items()]


def _latency(name: str, times: Sequence[Timed]) -> dict[str, Any]:
    columns = {
        "embed": [t.embed_ms for t in times],
        "search": [t.search_ms for t in times],
        "both": [t.embed_ms + t.search_ms for t in times],
    }
    shares = (("p50", 0.5), ("p95", 0.95))
    return {"search": name} | {
        f"{column}_{label}_ms": percentile(values, share)
        for column, values in columns.items()
        for label, share in shares
    }


def print_findings(found: Findings) -> None:
    size = f"{found.n_chunks} chunks of at most {found.max_tokens} tokens"
    queries = ", ".join(f"{n} {part}" for part, n in found.n_queries.items())
    print(f"\n{found.name}: {found.n_documents} documents, {size}; queries: {queries}")
    chosen = found.choice.chosen.name
    print(f"chosen on {TUNE}: {chosen} ({found.choice.reason})\n")
    rows = [
        (
            row["queries"],
            str(row["n"]),
            _marked(row["search"], chosen),
            str(row["ndcg_at_10"]),
            str(row["recall_at_100"]),
        )
        for row in found.rows
    ]
    print(table(("queries", "n", "search", "nDCG@10 [95 %]", "recall@100 [95 %]"), rows))
    print("\nnDCG@10 query by query, one search less another:")
    gains = [
        (
            gain["queries"],
            _marked(gain["search"], chosen),
            gain["over"] + (" (the better single search)" if gain["is_better_single"] else ""),
            str(gain["ndcg_at_10"]),
            f"{gain['p_value']:.4f}",
        )
        for gain in found.gains
    ]
    print(table(("queries", "search", "less", "difference [95 %]", "p"), gains))
    print()
    columns = [f"{part}_{share}_ms" for part in ("embed", "search", "both") for share in ("p50", "p95")]
    latency = [(row["search"], *(f"{row[column]:.1f}" for column in columns)) for row in found.latency]
    header = ("search", "embed p50 ms", "p95", "search p50 ms", "p95", "both p50 ms", "p95")
    print(table(header, latency))
    _print_targets(found)


def _marked(name: str, chosen: str) -> str:
    return f"{name} (chosen)" if name == chosen else name


def _print_targets(found: Findings) -> None:
    chosen = found.choice.chosen.name
    interval: Interval = next(
        row["ndcg_at_10"] for row in found.rows if (row["search"], row["queries"]) == (chosen, REPORT)
    )
    if found.name in TARGETS:
        verdict = "reached" if interval.mean >= TARGETS[found.name] else "NOT reached"
        print(f"target of the chosen fusion: {TARGETS[found.name]:.2f}, {verdict} with {interval}")
    gain: Interval | None = next(
        (
            one["ndcg_at_10"]
            for one in found.gains
            if one["is_better_single"] and (one["search"], one["queries"]) == (chosen, REPORT)
        ),
        None,
    )
    if gain is not None:
        verdict = "held" if gain.mean >= -MAX_BELOW else "NOT held"
        print(f"at most {MAX_BELOW} below the better single search: {verdict} with {gain}")


def _default(field_name: str) -> Any:
    return RetrievalSpec.model_fields[field_name].default


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="folder of the public data")
    parser.add_argument("--set", action="append", choices=SETS, help="only this one")
    parser.add_argument("--max-tokens", type=int, default=ChunkSpec().max_tokens)
    parser.add_argument("--candidates", type=int, default=_default("candidates"), help="depth of each search")
    parser.add_argument("--k1", type=float, default=Bm25(average_terms=1).k1)
    parser.add_argument("--b", type=float, default=Bm25(average_terms=1).b)
    parser.add_argument("--vectors", type=Path, help="keep the corpora's vectors here for the next run")
    parser.add_argument("--quick", action="store_true", help="a part of Cranfield: not comparable")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = ["ir_cranfield"] if arguments.quick else arguments.set or SETS
    data = required_data(arguments.data, *folders(names))
    found_conditions = conditions(data)
    if not arguments.json:
        print_conditions(found_conditions)
    with tempfile.TemporaryDirectory() as cache:
        embedder = load_embedder(
            "all-MiniLM-L6-v2", cache_dir=Path(cache), threads=Settings.from_environment().n_threads
        )
        if arguments.vectors is not None:
            embedder = KeptVectors(embedder, arguments.vectors)  # type: ignore[assignment]  # passes the rest on
        chunking = ChunkSpec(max_tokens=arguments.max_tokens)
        findings = []
        for name in names:
            labelled = read_set(data, name, n_documents=QUICK_DOCUMENTS if arguments.quick else None)
            findings.append(measure(labelled, embedder, chunking, arguments))
            if not arguments.json:
                print_findings(findings[-1])
    if arguments.json:
        print(json.dumps({"conditions": found_conditions, "sets": findings}, default=asdict, indent=2))


if __name__ == "__main__":
    main()
