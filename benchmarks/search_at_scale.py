"""What a search with permissions costs over 50,000 chunks, beside the bare encoder and the bare store.

    python benchmarks/search_at_scale.py [DATA] [--chunks 50000] [--rounds 3] [--keep DIR] [--quick] [--json]

Ours is the whole `Retriever`: query embedding, BM25 weights, permissions, both searches, fusion, the passages.
Bare is what one would write without us: `embed_query` of a second encoder, then one call of `qdrant_edge` on a copy
of the same folder that searches both vectors under the same permissions, fuses them and returns the same number of
payloads; its filter and its BM25 weights are made before the clock starts. Both answer every question in turns.

The corpus: some 6,000 real passages (technical documentation, SQuAD, SciFact, API docs) are embedded. The rest are
recombinations: the first half of one passage's sentences and the second half of another's, whose vector is the mean
of the two with a little noise; the cosine to the true vector is measured on a sample and printed. There are 1,000
principals of Zipf-distributed size, 1 to 20 on a document. A caller holds 5 to 50 principals; every second caller
drew them by their size, as members of large groups do, and the others evenly.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge
from numpy.typing import NDArray

from llmops.clients.database import open_database
from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder, VectorStore
from llmops.clients.vectors import open_store
from llmops.records import EVERYONE, Caller, Chunk, Point
from llmops.releases import CollectionBook, CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.settings import Settings
from llmops.tokens import Bm25, sentence_spans, terms
from report import conditions, percentile, print_conditions, required_data, spread, table

SETS = ("docs_technical", "squad_v2", "ir_scifact", "api_docs_rag")
REAL, QUICK_REAL, QUICK_CHUNKS = 6_000, 300, 2_000
PASSAGE_CHARACTERS, NOISE, CHECKED = 900, 0.25, 200
PRINCIPALS, MOST_ON_A_DOCUMENT, FEWEST_HELD, MOST_HELD = 1_000, 20, 5, 50
NAME, COLLECTION = "scale", "scale-1"
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A passage and the document it is from."""

    document: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Passages with their vectors `(n, dimension)`, and questions about them.

    Attributes:
        likeness: mean cosine of a recombination's made-up vector to its true one.
    """

    passages: list[Passage]
    vectors: Vectors
    questions: list[str]
    likeness: float


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


def read_passages(data: Path, limit: int) -> list[Passage]:
    """Real passages of all sets, an even sample in a fixed order."""
    found: list[Passage] = []
    root = data / "docs_technical" / "files"
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = str(path.relative_to(root))
        found += [Passage(document=name, text=text) for text in _pieces(path.read_text("utf-8", "replace"))]
    for row in _lines(data / "squad_v2" / "paragraphs.jsonl.gz"):
        found.append(Passage(document=row["title"], text=row["text"]))
    for row in _lines(data / "api_docs_rag" / "chunks.jsonl.gz"):
        found += [Passage(document=row["chunk_id"].partition("#")[0], text=text) for text in _pieces(row["text"])]
    for row in _lines(data / "ir_scifact" / "corpus.jsonl.gz"):
        found += [Passage(document=row["_id"], text=text) for text in _pieces(f"{row['title']}. {row['text']}")]
    chosen = sorted(found, key=lambda p: hashlib.sha256(p.text.encode("utf-8", "replace")).digest())[:limit]
    return sorted(chosen, key=lambda p: p.document)


def read_questions(data: Path) -> list[str]:
    """Questions and claims, in a fixed mixed order."""
    squad = [row["question"].strip() for row in _lines(data / "squad_v2" / "questions.jsonl.gz")]
    claims = [row["text"] for row in _lines(data / "ir_scifact" / "queries.jsonl")]
    api = [row["question"] for row in _lines(data / "api_docs_rag" / "questions.jsonl")]
    return sorted({*squad, *claims, *api} - {""}, key=lambda q: hashlib.sha256(q.encode()).digest())


def _lines(path: Path) -> list[dict[str, Any]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in raw.splitlines()]


def _pieces(text: str) -> Iterator[str]:
    """Whole sentences up to the size of a passage."""
    piece = ""
    for start, end in sentence_spans(text):
        sentence = text[start:end][:PASSAGE_CHARACTERS]
        if piece and len(piece) + len(sentence) > PASSAGE_CHARACTERS:
            yield piece
            piece = ""
        piece = f"{piece} {sentence}".strip()
    if len(piece) > 80:
        yield piece


def build_corpus(data: Path, embedder: Embedder, folder: Path, *, n_real: int, n_chunks: int) -> Corpus:
    real = read_passages(data, n_real)
    vectors = _embedded(embedder, [p.text for p in real], folder)
    rng = np.random.default_rng(7)
    passages, rows = list(real), [vectors]
    for copy in range(1, -(-n_chunks // len(real))):
        partners = rng.permutation(len(real))
        passages += [
            Passage(document=f"{p.document}~{copy}", text=_recombined(p.text, real[j].text))
            for p, j in zip(real, partners, strict=True)
        ]
        noise = rng.normal(size=vectors.shape).astype(np.float32) * NOISE / vectors.shape[1] ** 0.5
        rows.append(_unit((vectors + vectors[partners]) / 2 + noise))
    everything = np.concatenate(rows)[:n_chunks]
    checked = range(len(real), min(len(real) + CHECKED, n_chunks))
    true = _embedded(embedder, [passages[i].text for i in checked], folder)
    likeness = float(np.mean(np.sum(true * everything[checked.start : checked.stop], axis=1)))
    return Corpus(
        passages=passages[:n_chunks], vectors=everything, questions=read_questions(data), likeness=likeness
    )


def _embedded(embedder: Embedder, texts: Sequence[str], folder: Path) -> Vectors:
    """Vectors of texts; those that an earlier run left in `folder` are used again."""
    kept = folder / f"{hashlib.sha256(json.dumps([embedder.digest, *texts]).encode()).hexdigest()[:16]}.npy"
    if not kept.exists():
        np.save(kept, embedder.embed(texts))
    vectors: Vectors = np.load(kept)
    return vectors


def _recombined(first: str, second: str) -> str:
    ours, theirs = sentence_spans(first), sentence_spans(second)
    kept = ours[: -(-len(ours) // 2)] + [(0, 0)] + theirs[len(theirs) // 2 :]
    cut = kept.index((0, 0))
    return " ".join([*(first[s:e] for s, e in kept[:cut]), *(second[s:e] for s, e in kept[cut + 1 :])])


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def permissions(documents: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Principals of each document: few on most, and a few principals on many."""
    rng = np.random.default_rng(11)
    sizes = np.minimum(rng.zipf(1.5, len(documents)), MOST_ON_A_DOCUMENT)
    return {name: _principals(rng, int(size), by_size=True) for name, size in zip(documents, sizes, strict=True)}


def callers(n: int) -> list[Caller]:
    """Callers as they are after their groups were expanded."""
    rng = np.random.default_rng(13)
    sizes = rng.integers(FEWEST_HELD, MOST_HELD + 1, n)
    held = [_principals(rng, int(size), by_size=number % 2 == 0) for number, size in enumerate(sizes)]
    return [Caller(principals=(EVERYONE, *principals)) for principals in held]


def _principals(rng: np.random.Generator, n: int, *, by_size: bool) -> tuple[str, ...]:
    weights = 1 / np.arange(1, PRINCIPALS + 1) if by_size else np.ones(PRINCIPALS)
    chosen = rng.choice(PRINCIPALS, size=n, replace=False, p=weights / weights.sum())
    return tuple(f"group:{i}" for i in sorted(chosen))


def points(corpus: Corpus, acls: dict[str, tuple[str, ...]], bm25: Bm25) -> Iterator[Point]:
    ordinals: dict[str, int] = {}
    for number, (passage, vector) in enumerate(zip(corpus.passages, corpus.vectors, strict=True)):
        ordinal = ordinals[passage.document] = ordinals.get(passage.document, -1) + 1
        chunk = Chunk(
            chunk_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number}")),
            document_id=hashlib.sha256(passage.document.encode()).hexdigest()[:32],
            uri=passage.document,
            title=passage.document,
            ordinal=ordinal,
            text=passage.text,
            start=0,
            end=len(passage.text),
            heading_path=(),
            locator="",
            n_tokens=len(passage.text) // 4,
            acl=acls[passage.document],
        )
        yield Point(chunk=chunk, dense=vector, sparse=bm25.document(passage.text))


@contextmanager
def collection(corpus: Corpus, embedder: Embedder, folder: Path) -> Iterator[tuple[VectorStore, CollectionBook]]:
    """The corpus in Qdrant Edge; what an earlier run built in `folder` is used again."""
    database, store = open_database("", folder / "ledger.sqlite3"), open_store(Settings(), folder / "vectors")
    book = CollectionBook(database)
    if COLLECTION not in store.collections():
        average = statistics.fmean(len(terms(p.text)) for p in corpus.passages)
        store.create(COLLECTION, dimension=embedder.dimension, metadata={})
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
        searches = [
            qdrant_edge.Prefetch(
                self._spec.candidates, query=qdrant_edge.Query.Nearest(vector, using=using), filter=only
            )
            for vector, using in ((dense, "dense"), (sparse, "bm25"))
        ]
        request = qdrant_edge.QueryRequest(
            self._spec.k, prefetches=searches, query=qdrant_edge.Fusion.Dbsf(), with_payload=True
        )
        found = self._shard.query(request)
        texts = [f"{point.payload['text']}" for point in found]
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
    return Taken(
        embed=embedded.since(started), search=ended.since(embedded), together=ended.since(started)
    )


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


def visible(store: VectorStore, retriever: Retriever, asked: Sequence[Asked], n_chunks: int) -> dict[str, float]:
    """Share of the chunks that a caller may see."""
    from llmops.clients.protocols import Filter

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


def measure(corpus: Corpus, embedders: tuple[Embedder, Embedder], folder: Path, n_rounds: int) -> dict[str, Any]:
    spec = RetrievalSpec(collection=NAME)
    with collection(corpus, embedders[0], folder) as (store, book):
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
        shares = visible(store, retriever, everything, len(corpus.passages))
        bare.close()
    return {
        "chunks": len(corpus.passages),
        "likeness": corpus.likeness,
        "visible": shares,
        "questions_a_round": size,
        "agreement": statistics.fmean(r.agreement for r in rounds),
        "rows": rows(rounds),
    }


def print_findings(found: dict[str, Any]) -> None:
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found["visible"].items())
    print(f"\n{found['chunks']} chunks, {found['questions_a_round']} questions a round, all different")
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
        found = measure(corpus, (encoders[0], encoders[1]), folder, arguments.rounds)
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
