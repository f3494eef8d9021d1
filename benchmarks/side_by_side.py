"""`ingest()` beside LangChain's indexing API and LlamaIndex's ingestion pipeline: same files, same weights.

Two kinds of work, for no two splitters cut alike: the same texts, cut beforehand, one a document and none cut
again; and the same files, each side with its own splitter at the same largest number of tokens. Ours reads files,
parses them, keeps a ledger and writes BM25 weights besides; the others are handed texts (first kind) or read files
as plain text (second). Starting and loading the model are left out everywhere.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from corpus import CHUNK_TOKENS, Corpus, literal, new_workspace, spec_of
from llmops.clients.protocols import Embedder, Filter, VectorStore
from llmops.errors import StorageError
from llmops.ingestion.documents import DocumentLedger
from llmops.ingestion.run import ingest
from llmops.ingestion.shape import Indexer
from peer import Peer, missing, open_peer
from report import spread, table

SCRIPTS = {"LangChain": "langchain_index.py", "LlamaIndex": "llamaindex_pipeline.py"}
NEEDED = {
    "LangChain": ("langchain_core", "langchain_classic", "langchain_huggingface", "langchain_qdrant"),
    "LlamaIndex": ("llama_index.core", "llama_index.embeddings.huggingface", "llama_index.vector_stores.qdrant"),
}
TO_BEAT = 2.5
N_LOST = 200
_ANYONE = Filter(principals=None)


def measure_side_by_side(
    corpus: Corpus, embedder: Embedder, *, python: str, rounds: int, n_texts: int
) -> dict[str, Any]:
    """Speeds in turns, then what each loses when an upsert fails."""
    able = [name for name, needed in NEEDED.items() if not _missing(name, python, needed)]
    texts = list(dict.fromkeys(corpus.texts))[:n_texts]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        files = _as_files(Path(folder), texts)
        sides = {name: stack.enter_context(open_peer(SCRIPTS[name], python=python, texts=texts)) for name in able}
        peers = {name: side for name, side in sides.items() if side is not None}
        speeds = {
            "same texts": _in_turns(_text_turns(files, embedder, peers), rounds),
            "own splitting": _in_turns(_file_turns(corpus, embedder, peers), rounds),
        }
        losses = {name: peer.ask("failing", texts=peer.questions) for name, peer in _failing(able, python, texts)}
        versions = {name: version for peer in peers.values() for name, version in peer.versions.items()}
    losses = {"llmops": our_losses(texts[:N_LOST], embedder), **losses}
    return {
        "n_texts": len(texts),
        "n_files": len(corpus.files),
        "versions": versions,
        "speeds": speeds,
        "losses": losses,
    }


def _missing(name: str, python: str, needed: Sequence[str]) -> list[str]:
    absent = missing(python, needed)
    if absent:
        print(f"{name} is left out: {python} has no {', '.join(absent)}")
    return absent


def _failing(able: Sequence[str], python: str, texts: Sequence[str]) -> Any:
    """Each side once more, in a process that has not seen these texts."""
    for name in able:
        with open_peer(SCRIPTS[name], python=python, texts=[], questions=texts[:N_LOST]) as peer:
            if peer is not None:
                yield name, peer


def _as_files(folder: Path, texts: Sequence[str]) -> Corpus:
    """One text a file."""
    for number, text in enumerate(texts):
        (folder / f"{number:05}.txt").write_text(text, "utf-8")
    names = [f"{number:05}.txt" for number in range(len(texts))]
    return Corpus(
        spec=spec_of(folder, max_tokens=256), root=folder, files=names, texts=list(texts), max_tokens=256
    )


Turn = Callable[[], dict[str, Any]]


def _text_turns(files: Corpus, embedder: Embedder, peers: dict[str, Peer]) -> dict[str, Turn]:
    turns: dict[str, Turn] = {"llmops": lambda: ours(files, embedder)}
    for name, peer in peers.items():
        for store in ("kind", "durable"):
            turns[f"{name}, {store}"] = lambda peer=peer, store=store: peer.ask("texts", store=store)  # type: ignore[misc]  # bound now
    return turns


def _file_turns(corpus: Corpus, embedder: Embedder, peers: dict[str, Peer]) -> dict[str, Turn]:
    given = {"root": str(corpus.root), "files": corpus.files, "tokens": CHUNK_TOKENS}
    turns: dict[str, Turn] = {"llmops": lambda: ours(corpus, embedder)}
    for name, peer in peers.items():
        for store in ("kind", "durable"):
            turns[f"{name}, {store}"] = lambda peer=peer, store=store: peer.ask("files", store=store, **given)  # type: ignore[misc]  # bound now
    return turns


def ours(corpus: Corpus, embedder: Embedder) -> dict[str, Any]:
    """One ingestion of everything into a new workspace: Qdrant Edge and SQLite on disk."""
    spec = spec_of(corpus.root, include=[literal(uri) for uri in corpus.files], max_tokens=corpus.max_tokens)
    with new_workspace(embedder) as indexer:
        wall, cpu = time.perf_counter(), time.process_time()
        report = ingest(spec, indexer)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        points = list(indexer.store.scroll(report.collection, where=_ANYONE))
    n_tokens = sum(point.chunk.n_tokens for point in points)
    return {"n": report.n_embedded, "n_tokens": n_tokens, "wall_s": wall, "cpu_s": cpu}


def _in_turns(turns: dict[str, Turn], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """A B C, C B A, …; the first round warms and is thrown away where there are several."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in turns}
    for n in range(rounds + (rounds > 1)):
        for name in list(turns) if n % 2 else list(turns)[::-1]:
            done = turns[name]()
            if n or rounds == 1:
                found[name].append(done)
    return found


class FailsHalfWay:
    """A vector store that takes `left` more points and is then away, in the middle of an upsert."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self.left = float("inf")

    def upsert(self, collection: str, points: Sequence[Any]) -> None:
        n = int(min(self.left, len(points)))
        self._store.upsert(collection, points[:n])
        self.left -= n
        if n < len(points):
            raise StorageError("the vector store is away")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def our_losses(texts: Sequence[str], embedder: Embedder) -> dict[str, Any]:
    """The same two failures as the others have: in a first run, and in an update of all documents."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = _as_files(Path(folder), texts)
        return {
            "n": len(texts),
            "first run": _lost(corpus, embedder, is_update=False),
            "update": _lost(corpus, embedder, is_update=True),
        }


def _lost(corpus: Corpus, embedder: Embedder, *, is_update: bool) -> dict[str, int]:
    half, n = len(corpus.files) * 5 // 8, len(corpus.files)
    with new_workspace(embedder, wrap=FailsHalfWay) as indexer:
        if is_update:
            ingest(corpus.spec, indexer)
            for name in corpus.files:
                path = corpus.root / name
                path.write_text(f"{path.read_text('utf-8')} Changed.", "utf-8")
        failing: Any = indexer.store
        failing.left = half
        with contextlib.suppress(StorageError):
            ingest(corpus.spec, indexer)
        recorded, searchable = _recorded(indexer), _searchable(indexer)
        failing.left = float("inf")
        ingest(corpus.spec, indexer)
        healed = _searchable(indexer)
        n_points = sum(indexer.store.count(shape.collection, where=_ANYONE) for shape in indexer.collections.all())
    return {
        "recorded_not_searchable": len(recorded - searchable.keys()),
        "absent": n - len(searchable) if is_update else 0,
        "missing_after_second_run": sum(
            not any("Changed." in text for text in healed.get(name, [])) if is_update else name not in healed
            for name in corpus.files
        ),
        "points_too_many_after_second_run": n_points - sum(map(len, healed.values())),
    }


def _recorded(indexer: Indexer) -> set[str]:
    rows = [
        row
        for shape in indexer.collections.all()
        for row in DocumentLedger(indexer.database, shape.collection).rows().values()
    ]
    return {row.uri for row in rows if row.state == "indexed"}


def _searchable(indexer: Indexer) -> dict[str, list[str]]:
    """Uri to the texts that are in the store now."""
    found: dict[str, list[str]] = {}
    for shape in indexer.collections.all():
        for point in indexer.store.scroll(shape.collection, where=_ANYONE):
            found.setdefault(point.chunk.uri, []).append(point.chunk.text)
    return found


def print_side_by_side(measured: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    print(f"\nside by side, in turns ({versions}); to beat: {TO_BEAT} times their chunks a second")
    for work, turns in measured["speeds"].items():
        amount = f"{measured['n_texts']} texts" if work == "same texts" else f"{measured['n_files']} files"
        print(f"\n{work}: {amount}")
        base, rows = turns["llmops"], []
        for name, found in turns.items():
            wall, cpu, tokens = (_ratios(base, found, what) for what in ("wall_s", "cpu_s", "tokens"))
            speeds = spread([one["n"] / one["wall_s"] for one in found])
            peak = f"{max(one['peak_mb'] for one in found):.0f}" if "peak_mb" in found[0] else ""
            n = f"{statistics.median(one['n'] for one in found):.0f}"
            rows.append((name, n, str(speeds), *(("", "", "") if name == "llmops" else (wall, cpu, tokens)), peak))
        header = ("side", "chunks", "chunks/s", "llmops is faster", "in CPU time", "in tokens/s", "peak MB")
        print(table(header, rows))
    print("\nwhat is lost when an upsert fails half-way (documents):")
    rows = []
    for name, found in measured["losses"].items():
        for case in ("first run", "update", "first run, told"):
            if (lost := found.get(case)) is not None:
                rows.append((name, case, str(found["n"]), *(str(lost[what]) for what in _LOST)))
    print(table(("side", "failure", "documents", *_LOST.values()), rows))


_LOST = {
    "recorded_not_searchable": "recorded, not searchable",
    "absent": "in no version searchable",
    "missing_after_second_run": "missing after a second run",
    "points_too_many_after_second_run": "points too many after it",
}


def _ratios(base: list[dict[str, Any]], found: list[dict[str, Any]], what: str) -> str:
    """How many times faster ours is, round by round."""

    def speed(one: dict[str, Any]) -> float:
        if what == "tokens":
            return float(one.get("n_tokens", 0) / one["wall_s"])
        return float(one["n"] / one[what])

    pairs = [(speed(a), speed(b)) for a, b in zip(base, found, strict=True)]
    return str(spread([a / b for a, b in pairs])) if all(b for _, b in pairs) else ""
