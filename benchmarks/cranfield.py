"""How far nDCG@10 goes on Cranfield's judgements as they are shared: further ways to search, with their figures.

    python benchmarks/cranfield.py [DATA] [--vectors FOLDER] [--json]

`retrieval.py` measures the product on them. This measures what the product does not do, in numpy, on the same
chunks, vectors and weights: other chunk sizes, whole documents, pseudo relevance feedback (RM3 on BM25, Rocchio on
the dense side), weighted titles, and the shipped reranker, headings and query forms. Nothing is tuned: parameters
are those of the literature. At the end stands what no ranker can pass: the best order of what was found, and what
it would be if each query's first unjudged hit were forgiven, for it is mostly the paper that the query was written
for, whose judgement (code -1) our copy is without.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.clients.embeddings import load_embedder
from llmops.clients.protocols import Embedder
from llmops.ingestion.spec import ChunkSpec
from llmops.metrics import Interval, bootstrap_interval, ndcg_at_k
from llmops.metrics.paired import paired_p_value
from llmops.records import Chunk, ScoredId
from llmops.retrieval.fusion import distribution_based, reciprocal_rank
from llmops.retrieval.lexical import LexicalReranker
from llmops.retrieval.queries import SearchText, forms_of
from llmops.retrieval.reranking import reranked
from llmops.settings import Settings
from llmops.tokens import terms
from report import conditions, print_conditions, required_data, table
from retrieval import KeptVectors, chunks_of
from retrieval_sets import REPORT, TUNE, Labelled, read_set

K1, B, CANDIDATES = 1.2, 0.75, 100
Found = list[ScoredId]
Vector = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One way to search: nDCG@10 with graded gains, and with binary ones."""

    name: str
    graded: Interval
    binary: float
    report: float
    gain: Interval
    p_value: float


class Corpus:
    """Chunks with their vectors and BM25 weights, all in memory.

    Args:
        titles: how often more a title's words count.
    """

    def __init__(
        self, labelled: Labelled, chunks: Sequence[Chunk], embedder: Embedder, *, titles: int = 0
    ) -> None:
        self.labelled, self.chunks, self.embedder = labelled, chunks, embedder
        self.index = {chunk.chunk_id: row for row, chunk in enumerate(chunks)}
        self.vectors = embedder.embed([chunk.embedded_text for chunk in chunks])
        texts = [terms(c.embedded_text) + terms(" ".join(c.heading_path)) * titles for c in chunks]
        self.terms = {term: column for column, term in enumerate(sorted({t for text in texts for t in text}))}
        counts = np.zeros((len(texts), len(self.terms)), np.float32)
        for row, text in enumerate(texts):
            for term, n in Counter(text).items():
                counts[row, self.terms[term]] = n
        lengths = counts.sum(axis=1, keepdims=True)
        self.shares = counts / np.maximum(lengths, 1)
        norm = K1 * (1 - B + B * lengths / lengths.mean())
        n_with = (counts > 0).sum(axis=0)
        idf = np.log(1 + (len(texts) - n_with + 0.5) / (n_with + 0.5))
        self.weights = (counts * (K1 + 1) / (counts + norm) * idf).astype(np.float32)

    def asked(self, text: str) -> Vector:
        """Terms of a query, counted."""
        found = np.zeros(len(self.terms), np.float32)
        for term, n in Counter(terms(text)).items():
            if term in self.terms:
                found[self.terms[term]] = n
        return found

    def sparse(self, asked: Vector) -> Found:
        return self._best(self.weights @ asked, floor=0)

    def dense(self, vector: Vector) -> Found:
        return self._best(self.vectors @ vector, floor=-2)

    def _best(self, scores: Vector, *, floor: float) -> Found:
        best = np.argsort(-scores, kind="stable")[:CANDIDATES]
        return [
            ScoredId(chunk_id=self.chunks[row].chunk_id, score=float(scores[row]))
            for row in best
            if scores[row] > floor
        ]

    def expanded(self, asked: Vector, found: Found, *, n: int = 10, n_terms: int = 30, own: float = 0.5) -> Vector:
        """RM3 (Abdul-Jaleel et al., UMass at TREC 2004): half the query, half the words of the first hits."""
        scores = np.array([one.score for one in found[:n]])
        likely = np.exp((scores - scores.max()) / max(scores.max() / 5, 1e-9))
        model = (likely / likely.sum()) @ self.shares[[self.index[one.chunk_id] for one in found[:n]]]
        model[np.argsort(-model)[n_terms:]] = 0
        mixed: Vector = own * asked / max(asked.sum(), 1) + (1 - own) * model / max(model.sum(), 1e-9)
        return mixed

    def moved(self, vector: Vector, found: Found, *, n: int = 5, beta: float = 0.6) -> Vector:
        """Rocchio (1971) on unit vectors: the query moved towards what was found first."""
        near = self.vectors[[self.index[one.chunk_id] for one in found[:n]]].mean(axis=0)
        new: Vector = vector + beta * near
        return new / np.linalg.norm(new)


def fused(*lists: Found, weights: Sequence[float] | None = None) -> Found:
    return [ScoredId(chunk_id=key, score=score) for key, score in distribution_based(lists, weights=weights)]


def ways(corpus: Corpus) -> dict[str, dict[str, Found]]:
    """Every way to search these chunks: its name to query id to ranking."""
    found: dict[str, dict[str, Found]] = {}
    reranker = LexicalReranker()
    by_id = {chunk.chunk_id: chunk for chunk in corpus.chunks}
    titles = [chunk.heading_path[-1] if chunk.heading_path else chunk.title for chunk in corpus.chunks]
    heads = corpus.embedder.embed(titles)
    for query in corpus.labelled.judged[TUNE] | corpus.labelled.judged[REPORT]:
        text = corpus.labelled.queries[query]
        vector, asked = corpus.embedder.embed_query(text), corpus.asked(text)
        dense, sparse = corpus.dense(vector), corpus.sparse(asked)
        hybrid = fused(dense, sparse)
        wider, nearer = corpus.sparse(corpus.expanded(asked, hybrid)), corpus.dense(corpus.moved(vector, hybrid))
        scored = reranker.score(text, [by_id[one.chunk_id] for one in hybrid[:50]])
        plain = [(one.chunk_id, one.score) for one in hybrid]
        forms = [form.text for form in forms_of(SearchText(text=text), text, n=3)]
        searched = [
            fused(corpus.dense(corpus.embedder.embed_query(f)), corpus.sparse(corpus.asked(f))) for f in forms
        ]
        by_title = corpus._best(heads @ vector, floor=-2)
        rankings = {
            "dense": dense,
            "sparse": sparse,
            "dbsf": hybrid,
            "dbsf + lexical reranker": _found(reranked(plain, scored, weight=0.2)),
            "dbsf, 3 forms of the query": _found(reciprocal_rank(searched)),
            "dbsf + search in titles alone (.5)": fused(dense, sparse, by_title, weights=(1, 1, 0.5)),
            "RM3 on BM25": corpus.sparse(corpus.expanded(asked, sparse)),
            "dbsf, RM3 on BM25": fused(dense, wider),
            "dbsf, Rocchio on the dense side": fused(nearer, sparse),
            "dbsf, feedback on both sides": fused(nearer, wider),
        }
        for name, ranking in rankings.items():
            found.setdefault(name, {})[query] = ranking
    return found


def _found(ranked: Sequence[tuple[str, float]]) -> Found:
    return [ScoredId(chunk_id=key, score=score) for key, score in ranked]


def documents(corpus: Corpus, rankings: Mapping[str, Found]) -> dict[str, list[str]]:
    """Each document where its best chunk stands."""
    return {
        query: list(dict.fromkeys(corpus.chunks[corpus.index[one.chunk_id]].document_id for one in ranking))
        for query, ranking in rankings.items()
    }


def scored(labelled: Labelled, name: str, ranked: Mapping[str, Sequence[str]], base: Sequence[float]) -> Row:
    judged = labelled.judged[TUNE] | labelled.judged[REPORT]
    graded = [ndcg_at_k(judged[query], ids, 10) for query, ids in ranked.items()]
    binary = [ndcg_at_k(dict.fromkeys(judged[query], 1.0), ids, 10) for query, ids in ranked.items()]
    gains = list(np.subtract(graded, base)) if len(base) else [0.0] * len(graded)
    reported = [one for query, one in zip(ranked, graded, strict=True) if query in labelled.judged[REPORT]]
    return Row(
        name=name,
        graded=bootstrap_interval(graded),
        binary=float(np.mean(binary)),
        report=float(np.mean(reported)),
        gain=bootstrap_interval(gains),
        p_value=paired_p_value(gains),
    )


def ceilings(labelled: Labelled, ranked: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """What a perfect order of the first hits would give, and what forgiving each query one unjudged hit would."""
    judged = labelled.judged[TUNE] | labelled.judged[REPORT]
    found: dict[str, dict[str, list[str]]] = {}
    for query, ids in ranked.items():
        first = next((one for one in ids if one not in judged[query]), None)
        found.setdefault("its first unjudged hit left out", {})[query] = [one for one in ids if one != first]
        for n in (10, 20):
            best = sorted(ids[:n], key=lambda one: -judged[query].get(one, 0))
            found.setdefault(f"best order of its first {n}", {})[query] = best
    return found


def measure(labelled: Labelled, embedder: Embedder) -> list[Row]:
    """All ways on chunks of 200 tokens, then other chunks and weighted titles, then the ceilings."""
    rows: list[Row] = []
    judged = labelled.judged[TUNE] | labelled.judged[REPORT]
    corpus = Corpus(labelled, chunks_of(labelled, embedder, ChunkSpec()), embedder)
    ranked = {name: documents(corpus, found) for name, found in ways(corpus).items()}
    base = [ndcg_at_k(judged[query], ids, 10) for query, ids in ranked["dbsf"].items()]
    rows += [scored(labelled, name, ids, base) for name, ids in ranked.items()]
    for titles in (1, 2):
        name = f"dbsf, words of titles count {titles + 1} times"
        heavy = Corpus(labelled, corpus.chunks, embedder, titles=titles)
        rows.append(scored(labelled, name, documents(heavy, ways(heavy)["dbsf"]), base))
    for max_tokens in (128, 256):
        spec = ChunkSpec(max_tokens=max_tokens)
        other = Corpus(labelled, chunks_of(labelled, embedder, spec), embedder)
        found = ways(other)
        for way in ("dbsf", "dbsf, feedback on both sides"):
            rows.append(scored(labelled, f"{way}, chunks of {max_tokens}", documents(other, found[way]), base))
    best = ranked["dbsf, feedback on both sides"]
    rows += [scored(labelled, f"  {name}", ids, base) for name, ids in ceilings(labelled, best).items()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="folder of the public data")
    parser.add_argument("--vectors", type=Path, help="keep the corpora's vectors here for the next run")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = required_data(arguments.data, "ir_cranfield")
    found_conditions = conditions(data)
    with tempfile.TemporaryDirectory() as cache:
        threads = Settings.from_environment().n_threads
        plain = load_embedder("all-MiniLM-L6-v2", cache_dir=Path(cache), threads=threads)
        kept: Any = KeptVectors(plain, arguments.vectors) if arguments.vectors is not None else plain
        rows = measure(read_set(data, "ir_cranfield"), kept)
    if arguments.json:
        print(json.dumps({"conditions": found_conditions, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print_conditions(found_conditions)
    shown = [
        (
            row.name,
            str(row.graded),
            f"{row.report:.3f}",
            f"{row.binary:.3f}",
            f"{row.gain.mean:+.3f} [{row.gain.low:+.3f}, {row.gain.high:+.3f}]",
            f"{row.p_value:.4f}",
        )
        for row in rows
    ]
    print(table(("search", "nDCG@10, all 225", "report half", "binary gains", "less dbsf", "p"), shown))


if __name__ == "__main__":
    main()
