"""LangChain's indexing API: `index()` with a record manager, sentence-transformers, and a vector store.

"kind" is the store that costs it least (vectors and records in memory); "durable" is an embedded Qdrant on disk
with records in SQLite, which is what `llmops ingest` keeps too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.indexing.in_memory import InMemoryDocumentIndex
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter
from turns import read_texts, serve, timed

PACKAGES = ["langchain-core", "langchain-huggingface", "langchain-qdrant", "langchain-text-splitters"]


def manager(kind: str, folder: str) -> Any:
    if kind == "kind":
        found: Any = InMemoryRecordManager(namespace="benchmark")
    else:
        from langchain_classic.indexes import SQLRecordManager

        found = SQLRecordManager("benchmark", db_url=f"sqlite:///{folder}/records.sqlite3")
    found.create_schema()
    return found


def vector_store(kind: str, folder: str, embeddings: HuggingFaceEmbeddings) -> Any:
    if kind == "kind":
        return InMemoryVectorStore(embeddings)
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(path=f"{folder}/qdrant")
    client.create_collection("benchmark", vectors_config=VectorParams(size=384, distance=Distance.COSINE))
    return QdrantVectorStore(client=client, collection_name="benchmark", embedding=embeddings)


def documents(items: list[dict[str, str]]) -> list[Document]:
    return [Document(page_content=item["text"], metadata={"source": item["uri"]}) for item in items]


def run_index(found: list[Document], records: Any, store: Any) -> dict[str, int]:
    done = index(
        found, records, store, cleanup="incremental", source_id_key="source", key_encoder="sha1", batch_size=100
    )
    return {name: int(value) for name, value in done.items()}  # type: ignore[call-overload]  # a TypedDict of ints


def filled(items: list[Document], kind: str, embeddings: HuggingFaceEmbeddings) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        records, store = manager(kind, folder), vector_store(kind, folder, embeddings)
        done: dict[str, int] = {}
        seconds = timed(lambda: done.update(run_index(items, records, store)))
        if kind != "kind":
            store.client.close()
        return {"n": done["num_added"], **seconds}


class _RaisesHalfWay(InMemoryVectorStore):
    """Stores the first documents it is given, up to `left`, then is away."""

    left: float = float("inf")

    def add_documents(self, documents: list[Document], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        n = int(min(self.left, len(documents)))
        kept = super().add_documents(documents[:n], ids=ids[:n] if ids else None, **kwargs)
        self.left -= n
        if n < len(documents):
            raise ConnectionError("the vector store is away")
        return kept


class _TellsWhatFailed(InMemoryDocumentIndex):
    """Stores the first documents it is given, up to `left`, and answers which failed, as its interface asks."""

    left: float = float("inf")

    def upsert(self, items: Any, /, **kwargs: Any) -> Any:
        n = int(min(self.left, len(items)))
        done = super().upsert(items[:n], **kwargs)
        self.left -= n
        return {"succeeded": done["succeeded"], "failed": [item.id for item in items[n:]]}


def failing(command: dict[str, Any], embeddings: HuggingFaceEmbeddings) -> dict[str, Any]:
    """A first run whose upsert raises half-way, an update whose upsert does, and one that says what failed."""
    items = read_texts(command["texts"])
    docs, changed = documents(items), documents([{**item, "text": f"{item['text']} Changed."} for item in items])
    half = len(docs) * 5 // 8
    return {
        "n": len(docs),
        "first run": _raised(docs, None, half, embeddings),
        "update": _raised(docs, changed, half, embeddings),
        "first run, told": _told(docs, half),
    }


def _sources(found: Any) -> set[str]:
    return {value["metadata"]["source"] for value in found}


def _raised(docs: list[Document], changed: list[Document] | None, half: int, embeddings: Any) -> dict[str, int]:
    records, store = InMemoryRecordManager(namespace="benchmark"), _RaisesHalfWay(embeddings)
    records.create_schema()
    if changed is not None:
        run_index(docs, records, store)
    wanted = changed or docs
    store.left = half
    try:
        run_index(wanted, records, store)
    except ConnectionError:
        pass
    else:
        raise SystemExit("the store was away and LangChain did not say so")
    recorded, searchable = set(records.records), set(store.store)
    sources = _sources(store.store.values())
    store.left = float("inf")
    run_index(wanted, records, store)
    texts = {document.page_content for document in wanted}
    healed = [value for value in store.store.values() if value["text"] in texts]
    return {
        "recorded_not_searchable": len(recorded - searchable),
        "absent": len(docs) - len(sources) if changed is not None else 0,
        "missing_after_second_run": len(docs) - len(_sources(healed)),
        "points_too_many_after_second_run": len(store.store) - len(docs),
    }


def _told(docs: list[Document], half: int) -> dict[str, int]:
    records, store = InMemoryRecordManager(namespace="benchmark"), _TellsWhatFailed()
    records.create_schema()
    store.left = half
    run_index(docs, records, store)
    lost = len(set(records.records) - set(store.store))
    store.left = float("inf")
    run_index(docs, records, store)
    return {
        "recorded_not_searchable": lost,
        "absent": 0,
        "missing_after_second_run": len(docs) - len(store.store),
        "points_too_many_after_second_run": 0,
    }


def main() -> None:
    embeddings = HuggingFaceEmbeddings(
        model_name=sys.argv[1], model_kwargs={"device": "cpu"}, encode_kwargs={"normalize_embeddings": True}
    )

    def texts(command: dict[str, Any]) -> dict[str, Any]:
        return filled(documents(read_texts(command["texts"])), command["store"], embeddings)

    def files(command: dict[str, Any]) -> dict[str, Any]:
        tokenizer = embeddings._client.tokenizer
        splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
            tokenizer, chunk_size=command["tokens"], chunk_overlap=0
        )
        cut: list[Document] = []

        def all_of_it() -> None:
            read = [{"uri": u, "text": (Path(command["root"]) / u).read_text("utf-8")} for u in command["files"]]
            cut.extend(splitter.split_documents(documents(read)))

        splitting = timed(all_of_it)
        done = filled(cut, command["store"], embeddings)
        counts = [len(ids) for ids in tokenizer([d.page_content for d in cut], verbose=False)["input_ids"]]
        return {**done, **{name: done[name] + splitting[name] for name in splitting}, "n_tokens": sum(counts)}

    actions = {"texts": texts, "files": files, "failing": lambda command: failing(command, embeddings)}
    serve(actions, packages=PACKAGES)


if __name__ == "__main__":
    main()
