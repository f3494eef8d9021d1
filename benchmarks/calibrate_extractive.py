"""Fits the coefficients of `llmops.clients.extractive` on `dev` and reports on `dev-test`.

    python benchmarks/calibrate_extractive.py ../shared/data

Coefficients are fitted on squad_v2 (CC BY-SA 4.0) and clapnq_rag (Apache-2.0); api_docs_rag only checks how they
transfer. A case is a question with the five passages that a dense + BM25 search finds for it:

    answerable   the gold passage is among the five
    adversarial  the annotators found no answer in the passage the question was written for
    absent       an answerable question whose gold passage was withheld
    foreign      a question of one set asked of another set's passages
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.clients.embeddings import load_embedder
from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.extractive import coefficients
from llmops.clients.extractive.context import GivenContext, GivenPassage
from llmops.clients.extractive.reading import Reading, choose, read
from llmops.tokens import terms

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# What a product is asked: mostly what its documents answer, then what they nearly or do not answer.
MIX = {"answerable": 0.60, "adversarial": 0.15, "absent": 0.10, "foreign": 0.15}
PASSAGES = 5
SENTENCES = 3
SEED = 20


class Corpus:
    """Passages under dense + BM25 search (min-max fusion)."""

    def __init__(self, passages: Sequence[tuple[str, str, str]], vectors: VectorCache) -> None:
        self.ids, self.titles, self.texts = (list(column) for column in zip(*passages, strict=True))
        whole = [f"{title}\n{text}" for title, text in zip(self.titles, self.texts, strict=True)]
        self._vectors, self._dense = vectors, vectors.embed(whole)
        self._counts = [Counter(terms(text)) for text in whole]
        frequency = Counter(term for counts in self._counts for term in counts)
        self._idf = {t: math.log(1 + (len(whole) - n + 0.5) / (n + 0.5)) for t, n in frequency.items()}
        self._average = sum(counts.total() for counts in self._counts) / len(whole)

    def search(self, question: str, without: Collection[str]) -> list[int]:
        dense = self._dense @ self._vectors.embed([question])[0]
        sparse = np.array([self._bm25(set(terms(question)), counts) for counts in self._counts])
        fused = sum((x - x.min()) / (float(np.ptp(x)) or 1.0) for x in (dense, sparse))
        ranked = (int(i) for i in np.argsort(-np.asarray(fused), kind="stable"))
        return [i for i in ranked if self.ids[i] not in without][:PASSAGES]

    def _bm25(self, asked: set[str], counts: Counter[str]) -> float:
        norm = 1.2 * (0.25 + 0.75 * counts.total() / self._average)
        return sum(self._idf[t] * counts[t] * 2.2 / (counts[t] + norm) for t in asked if t in counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question with its gold: passages, texts that the right sentences contain, and a whole answer."""

    text: str
    answerable: bool
    gold: tuple[str, ...]
    part: str
    spans: tuple[str, ...] = ()
    reference: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    corpus: str
    kind: str
    question: Question
    found: tuple[str, ...]
    context: GivenContext
    reading: Reading


def read_lines(path: Path) -> list[dict[str, Any]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.splitlines()]


def squad(data: Path, vectors: VectorCache) -> tuple[Corpus, list[Question]]:
    paragraphs = read_lines(data / "squad_v2/paragraphs.jsonl.gz")
    questions = [
        Question(
            text=q["question"],
            answerable=q["answerable"],
            gold=(q["paragraph_id"],),
            part=q["part"],
            spans=tuple(a["text"] for a in q["answers"]),
        )
        for q in read_lines(data / "squad_v2/questions.jsonl.gz")
    ]
    return Corpus([(p["paragraph_id"], p["title"], p["text"]) for p in paragraphs], vectors), questions


def clapnq(data: Path, vectors: VectorCache) -> tuple[Corpus, list[Question]]:
    records = read_lines(data / "clapnq_rag/clapnq.jsonl.gz")
    passages = {r["passages"][0]["text"]: r["passages"][0]["title"] for r in records}
    questions = [
        Question(
            text=r["question"],
            answerable=r["answerable"],
            gold=(r["passages"][0]["text"],),
            part=r["part"],
            spans=tuple(s for o in r["outputs"] for s in o.get("selected_sentences", ())),
            reference=r["outputs"][0]["answer"] if r["answerable"] else "",
        )
        for r in records
    ]
    return Corpus([(text, title, text) for text, title in passages.items()], vectors), questions


def api_docs(data: Path, vectors: VectorCache) -> tuple[Corpus, list[Question]]:
    chunks = read_lines(data / "api_docs_rag/chunks.jsonl.gz")
    questions = [
        Question(
            text=q["question"],
            answerable=True,
            gold=tuple(q["gold_chunks"]),
            part="dev-test",
            reference=q["answer"],
        )
        for q in read_lines(data / "api_docs_rag/questions.jsonl")
    ]
    return Corpus([(c["chunk_id"], c["heading"], c["text"]) for c in chunks], vectors), questions


Sets = dict[str, tuple[Corpus, list[Question]]]


def cases(sets: Sets, part: str, limit: int, vectors: VectorCache) -> Iterator[Case]:
    """All kinds of cases of one part, at most `limit` of a kind in one corpus."""
    chance = random.Random(SEED)
    for name, (corpus, questions) in sets.items():
        own = [q for q in questions if q.part == part]
        answerable = [q for q in own if q.answerable]
        foreign = [q for other, (_, asked) in sets.items() if other != name for q in asked if q.part == part]
        for kind, asked in (
            ("answerable", answerable),
            ("adversarial", [q for q in own if not q.answerable]),
            ("absent", answerable),
            ("foreign", foreign),
        ):
            for question in chance.sample(asked, min(limit, len(asked))):
                yield from _case(name, kind, corpus, question, vectors)


def _case(name: str, kind: str, corpus: Corpus, question: Question, vectors: VectorCache) -> Iterator[Case]:
    top = corpus.search(question.text, question.gold if kind == "absent" else ())
    found = tuple(corpus.ids[i] for i in top)
    if kind == "answerable" and not set(found) & set(question.gold):
        kind = "absent"
    passages = tuple(
        GivenPassage(number=rank + 1, rank=rank, title=corpus.titles[i], text=corpus.texts[i])
        for rank, i in enumerate(top)
    )
    context = GivenContext(question=question.text, passages=passages)
    reading = read(context, vectors)
    if reading is not None:
        yield Case(corpus=name, kind=kind, question=question, found=found, context=context, reading=reading)


def normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def holds_answer(case: Case) -> NDArray[np.bool_]:
    """`(n,)` whether each candidate is a gold sentence: of a gold passage, with an answer text in it."""
    spans = [normal(s) for s in case.question.spans]
    return np.array(
        [
            case.found[s.passage.rank] in case.question.gold
            and any(span in normal(s.text) for span in spans if span)
            for s in case.reading.candidates.sentences
        ]
    )


def fit_relevance(train: Sequence[Case], *, steps: int = 400, rate: float = 0.3, l2: float = 3e-3) -> Floats:
    """Weights that make a gold sentence the most probable of its context (softmax over the candidates)."""
    rows, gold, sizes = [], [], []
    for case in train:
        labels = holds_answer(case)
        if case.kind == "answerable" and labels.any() and not labels.all():
            rows.append(case.reading.candidates.features(case.reading.cosines))
            gold.append(labels)
            sizes.append(len(labels))
    features = np.concatenate(rows)
    spread = features.std(axis=0)
    x, y = features / spread, np.concatenate(gold).astype(float)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    weights = np.zeros(x.shape[1])
    for _ in range(steps):
        z = x @ weights
        e = np.exp(z - np.repeat(np.maximum.reduceat(z, starts), sizes))
        p = e / np.repeat(np.add.reduceat(e, starts), sizes)
        right = p * y
        right /= np.repeat(np.add.reduceat(right, starts), sizes)
        weights -= rate * (x.T @ (p - right) / len(sizes) + 2 * l2 * weights)
    return np.asarray(weights / spread)


def mix_weights(of: Sequence[Case]) -> Floats:
    """Weights that give the kinds the shares of `MIX`, and the corpora equal shares within a kind."""
    groups = Counter((c.kind, c.corpus) for c in of)
    corpora = Counter(kind for kind, _ in groups)
    weights = np.array([MIX[c.kind] / corpora[c.kind] / groups[c.kind, c.corpus] for c in of])
    return np.asarray(weights / weights.sum())


def fit_answerable(train: Sequence[Case], *, l2: float = 1e-3) -> tuple[Floats, float]:
    """Weighted logistic regression by Newton's method; coefficients and bias."""
    x = np.array([c.reading.evidence for c in train])
    mean, spread = x.mean(axis=0), x.std(axis=0)
    z = np.column_stack(((x - mean) / spread, np.ones(len(x))))
    y = answerable(train)
    w, penalty = mix_weights(train), 2 * l2 * np.diag([1.0] * x.shape[1] + [0.0])
    beta = np.zeros(z.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-z @ beta))
        gradient = z.T @ (w * (p - y)) + penalty @ beta
        beta -= np.linalg.solve((z.T * (w * p * (1 - p))) @ z + penalty, gradient)
    weights = beta[:-1] / spread
    return weights, float(beta[-1] - weights @ mean)


def answerable(of: Sequence[Case]) -> Floats:
    return np.array([c.kind == "answerable" for c in of], dtype=float)


def probabilities(of: Sequence[Case], weights: Floats, bias: float) -> Floats:
    return np.asarray(1 / (1 + np.exp(-(np.array([c.reading.evidence for c in of]) @ weights + bias))))


def auroc(y: Floats, p: Floats, w: Floats) -> float:
    """Weighted area under the ROC curve; ties count half."""
    above = p[y == 1][:, None] - p[y == 0][None, :]
    pair = w[y == 1][:, None] * w[y == 0][None, :]
    return float(((above > 0) * pair + 0.5 * (above == 0) * pair).sum() / pair.sum())


def abstention(y: Floats, p: Floats, w: Floats, threshold: float) -> tuple[float, float, float]:
    """Precision, recall and F1 of saying "I don't know"; 0 where undefined."""
    silent = p < threshold
    hit, said, due = (w * silent * (1 - y)).sum(), (w * silent).sum(), (w * (1 - y)).sum()
    precision, recall = (hit / said if said else 0.0), (hit / due if due else 0.0)
    return precision, recall, 2 * precision * recall / (precision + recall) if hit else 0.0


def token_f1(answer: str, reference: str) -> float:
    a, b = Counter(normal(answer).split()), Counter(normal(reference).split())
    common = (a & b).total()
    return 2 * common / (a.total() + b.total()) if common else 0.0


def contains(answer: str, case: Case) -> float:
    return float(any(normal(s) in normal(answer) for s in case.question.spans if normal(s)))


def quality(answer: str, case: Case) -> float:
    """Token F1 with the reference answer, or whether it contains the gold span where there is none."""
    reference = case.question.reference
    return token_f1(answer, reference) if reference else contains(answer, case)


def interval(values: Callable[[Indices], float], of: Sequence[Case], *, draws: int = 1000) -> str:
    """The value with its 95 % bootstrap interval, cases drawn within kind and corpus."""
    chance = np.random.default_rng(SEED)
    groups: dict[tuple[str, str], list[int]] = {}
    for index, case in enumerate(of):
        groups.setdefault((case.kind, case.corpus), []).append(index)
    drawn = [values(np.concatenate([chance.choice(g, len(g)) for g in groups.values()])) for _ in range(draws)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{values(np.arange(len(of))):.3f} [{low:.3f}, {high:.3f}]"


def mean_of(scores: Floats, drawn: Indices) -> float:
    return float(scores[drawn].mean())


def answers(of: Sequence[Case], **options: float) -> list[str]:
    return [answer(c.reading, **options) for c in of]


def answer(reading: Reading, **options: float) -> str:
    return " ".join(s.text for s in choose(reading, SENTENCES, **options))


def tune_choice(train: Sequence[Case]) -> None:
    """Margin and novelty against the references of ClapNQ, and how long SQuAD's answers become."""
    long = [c for c in train if c.kind == "answerable" and c.question.reference]
    short = [c for c in train if c.kind == "answerable" and not c.question.reference][:300]
    print("\nmargin novelty | clapnq token F1 | squad contains, sentences")
    for margin in (0.0, 1.0, 2.0, 3.0, 4.0):
        for novelty in (0.0, 2.0, 4.0):
            options = {"margin": margin, "novelty": novelty}
            f1, right = (
                np.mean([quality(text, c) for text, c in zip(answers(of, **options), of, strict=True)])
                for of in (long, short)
            )
            count = np.mean([len(choose(c.reading, SENTENCES, **options)) for c in short])
            print(f"{margin:6.1f} {novelty:7.1f} | {f1:15.3f} | {right:.3f} {count:.2f}")


def best_threshold(train: Sequence[Case], p: Floats) -> float:
    """The least threshold whose F1 of abstention on the mix is within 0.005 of the largest.

    The curve is flat at its top; along it, the lower threshold refuses fewer questions that have an answer.
    """
    y, w = answerable(train), mix_weights(train)
    print("\nthreshold: abstention precision, recall, F1; answerable questions refused (dev)")
    for threshold in np.arange(0.3, 0.71, 0.05):
        precision, recall, f1 = abstention(y, p, w, float(threshold))
        refused = (w * y * (p < threshold)).sum() / (w * y).sum()
        print(f"  {threshold:.2f}: {precision:.3f} {recall:.3f} {f1:.3f}; {refused:.3f}")
    curve: dict[float, float] = {
        round(t, 2): abstention(y, p, w, t)[2] for t in np.arange(0.2, 0.8, 0.05).tolist()
    }
    return min(t for t, f1 in curve.items() if f1 >= max(curve.values()) - 0.005)


def report(name: str, test: Sequence[Case], vectors: VectorCache) -> None:
    """Figures of the coefficients in use, with their trivial floors."""
    weights, bias = np.array(coefficients.ANSWERABLE), coefficients.ANSWERABLE_BIAS
    threshold = coefficients.THRESHOLD
    y, w, p = answerable(test), mix_weights(test), probabilities(test, weights, bias)
    cosine, coverage = (np.array([c.reading.evidence[i] for c in test]) for i in (0, 1))

    def area(scores: Floats, drawn: Indices) -> float:
        return auroc(y[drawn], scores[drawn], w[drawn])

    def silence(column: int, drawn: Indices) -> float:
        return abstention(y[drawn], p[drawn], w[drawn], threshold)[column]

    print(f"\n{name}: {dict(Counter(c.kind for c in test))}")
    for label, scores in (
        ("model", p),
        ("cosine of best sentence", cosine),
        ("coverage of best sentence", coverage),
    ):
        print(f"  AUROC on the mix, {label}: {interval(partial(area, scores), test)}")
    for column, metric in enumerate(("precision", "recall", "F1")):
        print(f"  abstention {metric} at {threshold:.2f}: {interval(partial(silence, column), test)}")
    print(f"  abstention F1 of always refusing: {abstention(y, p, w, 2.0)[2]:.3f}, of never refusing: 0")
    for corpus, kind in sorted({(c.corpus, c.kind) for c in test}):
        of = [i for i, c in enumerate(test) if (c.corpus, c.kind) == (corpus, kind)]
        line = f"  {corpus:9} {kind:11} n={len(of):4} refused {np.mean(p[of] < threshold):.3f}"
        own = [i for i, c in enumerate(test) if c.corpus == corpus and (c.kind == kind or y[i])]
        if kind != "answerable":
            line += f"  AUROC against its answerable {auroc(y[own], p[own], np.ones(len(own))):.3f}"
        print(line)
    for corpus in sorted({c.corpus for c in test if c.kind == "answerable"}):
        report_answers([c for c in test if c.corpus == corpus and c.kind == "answerable"], vectors)


def report_answers(of: Sequence[Case], vectors: VectorCache) -> None:
    """Quality of what is quoted on answerable questions, threshold aside."""
    measure = "token F1 with the reference" if of[0].question.reference else "contains the gold answer"
    first = [c.context.passages[0].text for c in of]
    lexical = [c.reading.candidates.sentences[int(np.argmax(c.reading.candidates.coverage))].text for c in of]
    best = [c.reading.candidates.sentences[int(np.argmax(c.reading.scores))].text for c in of]
    opening = [next(s.text for s in c.reading.sentences if s.is_quotable) for c in of]
    chosen = answers(of)
    every = [reading for c in of if (reading := read(c.context, vectors, max_candidates=sys.maxsize))]
    print(f"  {of[0].corpus}: {measure} ({np.mean([len(a.split()) for a in chosen]):.0f} words)")
    for label, texts in (
        ("answer", chosen),
        ("answer, every sentence embedded", [answer(reading) for reading in every]),
        ("best sentence", best),
        ("floor: most question words", lexical),
        ("floor: opening sentence", opening),
        ("whole first passage", first),
    ):
        scores = np.array([quality(t, c) for t, c in zip(texts, of, strict=True)])
        print(f"    {label}: {interval(partial(mean_of, scores), of)}")


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("../shared/data")
    if not (data / "squad_v2").is_dir():
        print(f"skipped: no squad_v2 in {str(data)!r}; give the folder of the shared data as the argument")
        return
    with tempfile.TemporaryDirectory() as cache:
        vectors = VectorCache(load_embedder("all-MiniLM-L6-v2", cache_dir=Path(cache), threads=2))
        fitted = {"squad": squad(data, vectors), "clapnq": clapnq(data, vectors)}
        every = {**fitted, "api_docs": api_docs(data, vectors)}
        train = list(cases(fitted, "dev", 500, vectors))
        print("RELEVANCE", fit_relevance(train).round(2), "in use", coefficients.RELEVANCE)
        weights, bias = fit_answerable(train)
        print("ANSWERABLE", weights.round(2), round(bias, 2), "in use", coefficients.ANSWERABLE)
        tune_choice(train)
        threshold = best_threshold(train, probabilities(train, weights, bias))
        print(f"threshold by dev {threshold:.2f}, in use {coefficients.THRESHOLD}")
        test = list(cases(every, "dev-test", 500, vectors))
        report("dev-test, sets that were fitted", [c for c in test if c.corpus != "api_docs"], vectors)
        report("transfer, never fitted", [c for c in test if c.corpus == "api_docs"], vectors)


if __name__ == "__main__":
    main()
