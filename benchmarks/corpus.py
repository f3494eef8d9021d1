"""The documentation that ingestion is measured on: its spec, workspaces to fill, an encoder that costs nothing."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.clients.database import open_database
from llmops.clients.protocols import Embedder, Filter, VectorStore
from llmops.clients.vectors import open_store
from llmops.ingestion.run import ingest
from llmops.ingestion.shape import Indexer
from llmops.ingestion.spec import IngestionSpec
from llmops.records import EVERYONE
from llmops.releases import CollectionBook
from llmops.settings import Settings

MODEL = "all-MiniLM-L6-v2"
CHUNK_TOKENS = 200
"""Word pieces of a chunk, the product's default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Files and the texts that are embedded of them.

    Attributes:
        files: uris, in an order that mixes the folders.
        texts: of all chunks, each under its headings.
    """

    spec: IngestionSpec
    root: Path
    files: list[str]
    texts: list[str]
    max_tokens: int = CHUNK_TOKENS


class FreeEncoder:
    """Looks like `embedder` and embeds for nothing; keeps what it was asked to embed, and the time it counted."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name, self.digest = embedder.name, embedder.digest
        self.dimension, self.max_tokens = embedder.dimension, embedder.max_tokens
        self.texts: list[str] = []
        self.counting_s = 0.0
        self._lock = threading.Lock()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        started = time.perf_counter()
        counts = self._embedder.count_tokens(texts)
        with self._lock:
            self.counting_s += time.perf_counter() - started
        return counts

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        self.texts.extend(texts)
        if on_progress is not None:
            on_progress(len(texts))
        seed = int.from_bytes(hashlib.sha256("".join(texts[:1]).encode("utf-8", "replace")).digest()[:4], "big")
        vectors = np.random.default_rng(seed).normal(size=(len(texts), self.dimension)).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.asarray(self.embed([text])[0])


@dataclass(kw_only=True)
class TimedStore:
    """A vector store that keeps the time of its writes."""

    store: VectorStore
    writing_s: float = 0.0
    marks: dict[str, Any] = field(default_factory=dict)

    def upsert(self, collection: str, points: Sequence[Any]) -> None:
        started = time.perf_counter()
        self.store.upsert(collection, points)
        self.writing_s += time.perf_counter() - started

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def spec_of(root: Path, *, include: Sequence[str] = ("**/*",), max_tokens: int = CHUNK_TOKENS) -> IngestionSpec:
    """A pipeline over a folder, with the product's defaults."""
    value = {
        "name": "docs",
        "description": "Technical documentation.",
        "source": {"type": "folder", "path": str(root), "include": list(include), "acl": [EVERYONE]},
        "chunk": {"max_tokens": max_tokens},
    }
    return IngestionSpec.model_validate_json(json.dumps(value)).located("benchmark.yaml")


@contextmanager
def new_workspace(
    embedder: Embedder, wrap: Callable[[VectorStore], Any] = lambda store: store
) -> Iterator[Indexer]:
    """A ledger and a vector store in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_database("", Path(folder) / "ledger.sqlite3")
        store = open_store(Settings(), Path(folder) / "vectors")
        try:
            yield Indexer(
                database=database,
                store=wrap(store),
                collections=CollectionBook(database),
                load_embedder=lambda _: embedder,
            )
        finally:
            store.close()
            database.close()


def corpus_of(root: Path, embedder: Embedder, *, include: Sequence[str] = ("**/*",)) -> Corpus:
    """What an ingestion of these files embeds, found by one that embeds for nothing."""
    spec, free = spec_of(root, include=include), FreeEncoder(embedder)
    with new_workspace(free) as indexer:
        report = ingest(spec, indexer)
        points = indexer.store.scroll(report.collection, where=Filter(principals=None))
        files = {point.chunk.uri for point in points}
    mixed = sorted(files, key=lambda uri: hashlib.sha256(uri.encode()).digest())
    return Corpus(spec=spec, root=root, files=mixed, texts=free.texts)


def sample(corpus: Corpus, embedder: Embedder, n_chunks: int, *, suffixes: Sequence[str] = ()) -> Corpus:
    """The first files of these kinds (of every kind, by default) that make at least `n_chunks`."""
    chosen = [uri for uri in corpus.files if not suffixes or Path(uri).suffix in suffixes]
    share = max(1, round(len(chosen) * n_chunks / max(len(corpus.texts), 1)))
    found = corpus_of(corpus.root, embedder, include=[literal(uri) for uri in chosen[:share]])
    while len(found.texts) < n_chunks and share < len(chosen):
        share = min(len(chosen), share + max(1, share // 4))
        found = corpus_of(corpus.root, embedder, include=[literal(uri) for uri in chosen[:share]])
    return found


def literal(uri: str) -> str:
    """A glob that selects just this file."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in uri)
