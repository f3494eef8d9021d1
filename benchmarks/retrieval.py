"""How well the product's own parts find documents, and how fast, on every public set with judgements.

    python benchmarks/retrieval.py [DATA] [--set ir_cranfield] [--quick] [--json] [--vectors FOLDER]

Document → chunk → encoder and BM25 → Qdrant Edge → `Retriever`, with the product's defaults where no option says
otherwise; only recall@100 searches deeper, for a hundred documents may be more than a hundred chunks. A document
stands where its best chunk does. `retrieval_sets.py` says what is judged in each set.

The fusion is chosen on one part of the queries by the rule of `llmops ingest tune` (a change only when a paired
test proves it; never a fusion that is more than 0.005 below the better single search), and reported on the other.
The lexical reranker at its defaults is added where the same part proves that it helps.

Cranfield's judgements coded -1, one a query, name the paper the query was written for. Our copy is without them,
and that paper, mostly ranked first, counts as a miss: nDCG@10 with them is .15 higher for the same rankings.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.clients.database import open_database
from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder, Filter, VectorStore
from llmops.clients.vectors import open_store
from llmops.evals.tuning import (
    BELOW_SINGLE,
    SIGNIFICANT,
    Choice,
    Setting,
    choose,
    encoding_once,
    searching_once,
    settings_to_try,
)
from llmops.ingestion.chunking import chunk
from llmops.ingestion.spec import ChunkSpec
from llmops.metrics import Interval, bootstrap_interval, ndcg_at_k, recall_at_k
from llmops.metrics.paired import paired_p_value
from llmops.records import Caller, Chunk, Point
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.retrieval.spec import LexicalRerank
from llmops.settings import Settings
from llmops.tokens import Bm25, terms
from report import conditions, percentile, print_conditions, required_data, table
from retrieval_sets import REPORT, SETS, TUNE, Judged, Labelled, folders, read_set

TARGETS = {"ir_scifact": 0.72, "ir_cranfield": 0.58, "squad_v2": 0.92, "xquad_en": 0.98}
"""nDCG@10 to reach on the part that is reported."""
_NEW = itertools.count()
DEEP = 300
CALLER = Caller()
QUICK_DOCUMENTS, LATENCY_QUERIES, ROLLBACKS = 300, 200, 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a set is searched."""

    setting: Setting
    is_reranked: bool = False

    @property
    def name(self) -> str:
        return f"{self.setting.name} + lexical reranker" if self.is_reranked else self.setting.name

    def section(self, collection: str, candidates: int) -> RetrievalSpec:
        plain = RetrievalSpec(
            collection=collection,
            candidates=candidates,
            rerank=LexicalRerank(type="lexical") if self.is_reranked else None,
        )
        return self.setting.on(plain) or plain


DENSE, SPARSE, RRF, DBSF = (
    Way(setting=Setting(fusion="dense")),
    Way(setting=Setting(fusion="sparse")),
    Way(setting=Setting(fusion="rrf")),
    Way(setting=Setting(fusion="dbsf")),
)
Searched = Callable[[Way], Retriever]


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
    chosen: Way
    reranker: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    gains: list[dict[str, Any]] = field(default_factory=list)
    latency: list[dict[str, Any]] = field(default_factory=list)
    rollback_ms: dict[str, float] = field(default_factory=dict)


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


def timed(retriever: Retriever, query: str, encode_ms: float) -> Timed:
    """A query that the encoder remembers, with what encoding it took when it was new."""
    started = time.perf_counter()
    vectors = retriever.embed(query)
    embedded = time.perf_counter()
    retriever.search(vectors, CALLER)
    ended = time.perf_counter()
    own_ms = (embedded - started) * 1000
    has_meaning = vectors.dense is not None
    return Timed(embed_ms=own_ms + encode_ms * has_meaning, search_ms=(ended - embedded) * 1000)


def measure(
    labelled: Labelled, embedder: Embedder, chunking: ChunkSpec, arguments: argparse.Namespace
) -> Findings:
    """Tune on one part of the queries, report on the other."""
    chunks = chunks_of(labelled, embedder, chunking)
    parts = labelled.parts(chunks)
    name = labelled.name.replace("_", "-")
    with collection(name, chunks, embedder, chunking, k1=arguments.k1, b=arguments.b) as (store, book):

        def opened(store: VectorStore, embedder: Embedder) -> Searched:
            return lambda way: Retriever(
                spec=way.section(name, arguments.candidates), store=store, embedder=embedder, collections=book
            )

        kept = opened(searching_once(store), encoding_once(embedder))
        tuned = {one: ndcg(kept(Way(setting=one)), labelled, parts[TUNE]) for one in settings_to_try(DBSF.setting)}
        choice = choose(tuned)
        plain, reranked = (Way(setting=choice.chosen, is_reranked=with_it) for with_it in (False, True))
        gains = list(np.subtract(ndcg(kept(reranked), labelled, parts[TUNE]), tuned[choice.chosen]))
        p_value = paired_p_value(gains)
        is_proven = p_value < SIGNIFICANT and sum(gains) > 0
        found = Findings(
            name=labelled.name,
            n_documents=len(labelled.documents),
            n_chunks=len(chunks),
            max_tokens=chunking.max_tokens,
            n_queries={part: len(judged) for part, judged in parts.items()},
            choice=choice,
            chosen=reranked if is_proven else plain,
            reranker={"gain_on_tune": bootstrap_interval(gains), "p_value": p_value, "is_added": is_proven},
        )
        reported = list(dict.fromkeys([DENSE, SPARSE, RRF, DBSF, plain, reranked]))
        _report(found, labelled, parts, kept, reported)
        sample = [labelled.queries[query] for judged in parts.values() for query in judged][:LATENCY_QUERIES]
        fresh = opened(store, embedder)
        found.latency += _latencies({one.name: fresh(one) for one in reported}, embedder, sample)
        if labelled.name == "ir_cranfield":
            found.rollback_ms = _rollbacks(store, book, fresh(plain), sample[0])
    return found


def _rollbacks(store: VectorStore, book: CollectionBook, retriever: Retriever, query: str) -> dict[str, float]:
    """A name moved to another collection and back, until it answers from there again: one alias on the ledger."""
    name = retriever.spec.collection
    shape = retriever.shape()
    vectors = retriever.embed(query)
    other = replace(shape, collection=f"{name}-2", state="candidate", created_at=datetime.now(UTC))
    store.create(other.collection, dimension=other.dimension, metadata={})
    store.upsert(other.collection, list(store.scroll(shape.collection, where=Filter(principals=None))))
    book.register(other)
    taken = []
    for _ in range(ROLLBACKS):
        book.point(name, other.collection, action="promote")
        started = time.perf_counter()
        book.point(name, shape.collection, action="rollback")
        hits = retriever.search(vectors, CALLER)
        taken.append((time.perf_counter() - started) * 1000)
        assert hits
        assert retriever.shape().collection == shape.collection
    return {"p50": percentile(taken, 0.5), "p95": percentile(taken, 0.95), "most": max(taken)}


def _report(
    found: Findings, labelled: Labelled, parts: dict[str, Judged], searched: Searched, reported: Sequence[Way]
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
        fusion = Way(setting=found.choice.chosen)
        pairs = {(hybrid, over) for hybrid in (fusion, found.chosen, DBSF, RRF) for over in (single, DBSF)}
        pairs.add((Way(setting=found.choice.chosen, is_reranked=True), fusion))
        for hybrid, over in sorted(pairs, key=lambda pair: (pair[0].name, pair[1].name)):
            if hybrid != over:
                found.gains.append(_gain(part, hybrid, over, scores, is_better_single=over == single))


def _gain(
    part: str, hybrid: Way, over: Way, scores: dict[Way, list[float]], *, is_better_single: bool
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


def _latencies(
    retrievers: dict[str, Retriever], embedder: Embedder, queries: Sequence[str]
) -> list[dict[str, Any]]:
    """Every query through every search before the next one: all meet the same machine.

    The encoder remembers its latest queries, so that encoding is timed once, on the query with a number more.
    """
    taken: dict[str, list[Timed]] = {name: [] for name in retrievers}
    for query in queries:
        started = time.perf_counter()
        embedder.embed_query(f"{query} {next(_NEW)}")
        encode_ms = (time.perf_counter() - started) * 1000
        for name, retriever in retrievers.items():
            retriever.embed(query)
            taken[name].append(timed(retriever, query, encode_ms))
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
    chosen, told = found.chosen.name, found.reranker
    print(f"chosen on {TUNE}: {found.choice.chosen.name} ({found.choice.reason})")
    added = "added" if told["is_added"] else "left out"
    print(f"lexical reranker on {TUNE}: {told['gain_on_tune']}, p = {told['p_value']:.4f}: {added}\n")
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
    if found.rollback_ms:
        said = ", ".join(f"{name} {value:.1f} ms" for name, value in found.rollback_ms.items())
        print(f"rollback of the collection, until it answers: {said} of {ROLLBACKS}")


def _marked(name: str, chosen: str) -> str:
    return f"{name} (chosen)" if name == chosen else name


def _print_targets(found: Findings) -> None:
    interval = _reported(found, found.chosen.name)
    if found.name in TARGETS:
        verdict = "reached" if interval.mean >= TARGETS[found.name] else "NOT reached"
        print(f"target: {TARGETS[found.name]:.2f}, {verdict} with {interval} by {found.chosen.name}")
    fusion = found.choice.chosen.name
    gain: Interval | None = next(
        (
            one["ndcg_at_10"]
            for one in found.gains
            if one["is_better_single"] and (one["search"], one["queries"]) == (fusion, REPORT)
        ),
        None,
    )
    if gain is not None:
        verdict = "held" if gain.mean >= -BELOW_SINGLE else "NOT held"
        print(f"{fusion} at most {BELOW_SINGLE} below the better single search: {verdict} with {gain}")


def _reported(found: Findings, name: str) -> Interval:
    interval: Interval = next(
        row["ndcg_at_10"] for row in found.rows if (row["search"], row["queries"]) == (name, REPORT)
    )
    return interval


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
            embedder = KeptVectors(embedder, arguments.vectors)
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
