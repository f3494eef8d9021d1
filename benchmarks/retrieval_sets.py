"""The public sets that `retrieval.py` measures: documents, queries, and what answers each.

Relevance is of documents where the set judges documents (SciFact, Cranfield: abstracts; SQuAD, XQuAD: paragraphs;
API documentation: its own sections), and of passages where it does not: the answers to questions over SEC filings
carry figures, and a passage of a filing that the answer names is relevant when it holds one of them.

Parts: SciFact by its own train and test judgements; every other set in halves by the SHA-256 of the query id.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.ingestion.parsing import parse
from llmops.records import EVERYONE, Block, Chunk, Document

Judged = dict[str, dict[str, float]]
"""Query id to id of a document (or a passage) to relevance."""

XQUAD_LANGUAGES = ("en", "de", "es", "zh", "ar")
SETS = (
    "ir_scifact",
    "ir_cranfield",
    "squad_v2",
    *(f"xquad_{language}" for language in XQUAD_LANGUAGES),
    "api_docs_rag",
    "sec10q_documents",
    "sec10q_passages",
)
TUNE, REPORT = "tune", "report"
_COMMON = 0.02  # a figure that stands in a larger share of the passages (a year, a page number) tells nothing


def of_document(chunk: Chunk) -> str:
    """Judged is the document: it stands where its best chunk does."""
    return chunk.document_id


def of_passage(chunk: Chunk) -> str:
    """Judged is the chunk itself."""
    return chunk.chunk_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """Documents, queries, and for each part of the queries what answers them.

    Attributes:
        judged: part ("tune", "report") to judgements; empty where they depend on the chunks.
        owner: the judged thing that a chunk belongs to.
        judge: judgements of all queries once the chunks are known, before they are split into halves.
    """

    name: str
    documents: list[Document]
    queries: dict[str, str]
    judged: dict[str, Judged] = field(default_factory=dict)
    owner: Callable[[Chunk], str] = of_document
    judge: Callable[[Sequence[Chunk]], Judged] | None = None

    def parts(self, chunks: Sequence[Chunk]) -> dict[str, Judged]:
        """Judgements by part; a query of which nothing is relevant is left out."""
        return halves(self.judge(chunks)) if self.judge is not None else self.judged


def folders(names: Sequence[str]) -> list[str]:
    """What of the data folder these sets need."""
    starts = {"xquad": "xquad", "sec10q": "sec10q_rag"}
    return list(dict.fromkeys(starts.get(name.partition("_")[0], name) for name in names))


def read_set(data: Path, name: str, *, n_documents: int | None = None) -> Labelled:
    """A set by its name; with `n_documents` only the first ones, and the queries they answer."""
    if name.startswith("ir_"):
        return _beir(data / name, n_documents)
    if name.startswith("xquad_"):
        return _xquad(data / "xquad" / f"{name}.jsonl.gz", name)
    return (
        {"squad_v2": _squad, "api_docs_rag": _api_docs}[name](data / name)
        if name in ("squad_v2", "api_docs_rag")
        else _filings(data / "sec10q_rag", name)
    )


def halves(judged: Judged) -> dict[str, Judged]:
    """Queries in two halves by the SHA-256 of their id."""
    return {part: {q: judged[q] for q in judged if _half(q) == part} for part in (TUNE, REPORT)}


def _half(query_id: str) -> str:
    return TUNE if hashlib.sha256(query_id.encode()).digest()[0] < 128 else REPORT


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _document(document_id: str, title: str, text: str) -> Document:
    text = text.strip() or title
    return Document(
        document_id=document_id,
        uri=document_id,
        title=title,
        text=text,
        blocks=(Block(kind="paragraph", start=0, end=len(text)),) if text else (),
        media_type="text/plain",
        content_hash="",
        acl=(EVERYONE,),
    )


def _beir(folder: Path, n_documents: int | None) -> Labelled:
    rows = _rows(folder / "corpus.jsonl.gz")[:n_documents]
    documents = [_document(row["_id"], row["title"], row["text"]) for row in rows]
    held = {document.document_id for document in documents}
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")}
    judged = {path.stem: _qrels(path, held) for path in sorted((folder / "qrels").glob("*.tsv"))}
    parts = halves(judged["test"]) if set(judged) == {"test"} else {TUNE: judged["train"], REPORT: judged["test"]}
    return Labelled(name=folder.name, documents=documents, queries=queries, judged=parts)


def _qrels(path: Path, held: set[str]) -> Judged:
    judged: Judged = {}
    for line in path.read_text("utf-8").splitlines()[1:]:
        query, document, relevance = line.split("\t")[:3]
        if document in held:
            judged.setdefault(query, {})[document] = float(relevance)
    return judged


def _squad(folder: Path) -> Labelled:
    documents = [
        _document(row["paragraph_id"], row["title"], row["text"]) for row in _rows(folder / "paragraphs.jsonl.gz")
    ]
    rows = [row for row in _rows(folder / "questions.jsonl.gz") if row["answerable"]]
    return Labelled(
        name=folder.name,
        documents=documents,
        queries={row["id"]: row["question"] for row in rows},
        judged=halves({row["id"]: {row["paragraph_id"]: 1.0} for row in rows}),
    )


def _xquad(path: Path, name: str) -> Labelled:
    rows = _rows(path)
    contexts = {row["context"]: row for row in rows}
    documents = [_document(row["paragraph"], row["article"], row["context"]) for row in contexts.values()]
    return Labelled(
        name=name,
        documents=documents,
        queries={row["id"]: row["question"] for row in rows},
        judged=halves({row["id"]: {row["paragraph"]: 1.0} for row in rows}),
    )


def _api_docs(folder: Path) -> Labelled:
    documents = [
        _document(row["chunk_id"], row["heading"], row["text"]) for row in _rows(folder / "chunks.jsonl.gz")
    ]
    rows = _rows(folder / "questions.jsonl")
    return Labelled(
        name=folder.name,
        documents=documents,
        queries={row["id"]: row["question"] for row in rows},
        judged=halves({row["id"]: dict.fromkeys(row["gold_chunks"], 1.0) for row in rows}),
    )


def _filings(folder: Path, name: str) -> Labelled:
    documents = [_filing(path) for path in sorted((folder / "docs").glob("*.pdf"))]
    rows = _rows(folder / "questions.jsonl")
    queries = {row["id"]: row["question"] for row in rows}
    if name == "sec10q_documents":
        named = {row["id"]: dict.fromkeys(row["source_docs"], 1.0) for row in rows}
        return Labelled(name=name, documents=documents, queries=queries, judged=halves(named))
    return Labelled(
        name=name,
        documents=documents,
        queries=queries,
        owner=of_passage,
        judge=lambda chunks: _figures(rows, chunks),
    )


def _filing(path: Path) -> Document:
    parsed = parse(path.read_bytes(), uri=path.name)
    return Document(
        document_id=path.name,
        uri=path.name,
        title=parsed.title,
        text=parsed.text,
        blocks=parsed.blocks,
        media_type=parsed.media_type,
        content_hash="",
        acl=(EVERYONE,),
    )


_FIGURE = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w])")


def figures(text: str) -> set[str]:
    """Amounts in a text: numbers with a separator or a decimal point, which years and dates are without."""
    found = (match[0].rstrip(",") for match in _FIGURE.finditer(text))
    return {figure.replace(",", "") for figure in found if "," in figure or "." in figure}


def _figures(rows: Sequence[Mapping[str, Any]], chunks: Sequence[Chunk]) -> Judged:
    """Passages of the named filings that hold a figure of the answer; as relevant as they hold figures."""
    held = [figures(chunk.text) for chunk in chunks]
    judged: Judged = {}
    for row in rows:
        asked = figures(row["answer"])
        telling = {f for f in asked if 0 < sum(f in own for own in held) <= max(1, _COMMON * len(chunks))}
        relevant = {
            chunk.chunk_id: float(len(telling & own))
            for chunk, own in zip(chunks, held, strict=True)
            if telling & own and chunk.document_id in row["source_docs"]
        }
        if relevant:
            judged[row["id"]] = relevant
    return judged
