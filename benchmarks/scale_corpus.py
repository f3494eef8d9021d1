"""A corpus of any size from public texts, with permissions like a company's, for measuring searches.

Some thousand real passages (technical documentation, SQuAD, SciFact, API docs) are embedded. The rest are
recombinations: the first half of one passage's sentences and the second half of another's, whose vector is the
mean of the two with a little noise; the cosine to the true vector is measured on a sample. There are 1,000
principals of Zipf-distributed size, 1 to 20 on a document. A caller holds 5 to 50 principals; every second
caller drew them by their size, as members of large groups do, and the others evenly.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.clients.protocols import Embedder
from llmops.records import EVERYONE, Caller, Chunk, Point
from llmops.tokens import Bm25, sentence_spans

SETS = ("docs_technical", "squad_v2", "ir_scifact", "api_docs_rag")
PASSAGE_CHARACTERS, NOISE, CHECKED = 900, 0.25, 200
PRINCIPALS, MOST_ON_A_DOCUMENT, FEWEST_HELD, MOST_HELD = 1_000, 20, 5, 50
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
    """The first half of one passage's sentences and the second half of another's."""
    ours, theirs = sentence_spans(first), sentence_spans(second)
    kept = [first[start:end] for start, end in ours[: -(-len(ours) // 2)]]
    return " ".join([*kept, *(second[start:end] for start, end in theirs[len(theirs) // 2 :])])


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
