"""LlamaIndex's `IngestionPipeline`: splitter, sentence-transformers, vector store, and a docstore with upserts.

"kind" is the store that costs it least (vectors in memory); "durable" is an embedded Qdrant on disk. The docstore
is in memory in both. Its batches of 10 texts are raised to 32, as LangChain and sentence-transformers have.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from turns import read_texts, serve, timed

PACKAGES = ["llama-index-core", "llama-index-embeddings-huggingface", "llama-index-vector-stores-qdrant"]


def vector_store(kind: str, folder: str) -> Any:
    if kind == "kind":
        return SimpleVectorStore()
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    return QdrantVectorStore(client=QdrantClient(path=f"{folder}/qdrant"), collection_name="benchmark")


def pipeline(transformations: list[Any], store: Any) -> Any:
    return IngestionPipeline(
        transformations=transformations,
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
        disable_cache=True,
    )


def documents(items: list[dict[str, str]]) -> list[Any]:
    """Without a splitter a document's id is that of its point, and Qdrant takes UUIDs only."""
    return [Document(text=item["text"], id_=str(uuid.uuid5(uuid.NAMESPACE_URL, item["uri"]))) for item in items]


def filled(found: list[Any], kind: str, transformations: list[Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        store = vector_store(kind, folder)
        whole = pipeline(transformations, store)
        nodes: list[Any] = []
        seconds = timed(lambda: nodes.extend(whole.run(documents=found)))
        if kind != "kind":
            store.client.close()
        return {"n": len(nodes), "texts": [node.text for node in nodes], **seconds}


class _RaisesHalfWay(SimpleVectorStore):  # type: ignore[misc]  # untyped where LlamaIndex is not installed
    """Stores the first nodes it is given, up to `left`, then is away."""

    left: float = float("inf")

    def add(self, nodes: list[Any], **kwargs: Any) -> list[str]:
        n = int(min(self.left, len(nodes)))
        kept: list[str] = super().add(nodes[:n], **kwargs)
        self.left -= n
        if n < len(nodes):
            raise ConnectionError("the vector store is away")
        return kept


def failing(command: dict[str, Any], embed: Any) -> dict[str, Any]:
    """A first run whose upsert raises half-way, and an update whose upsert does.

    A splitter that leaves each text whole stands before the encoder: it makes the nodes that an update replaces.
    """
    items = read_texts(command["texts"])
    half = len(items) * 5 // 8
    return {
        "n": len(items),
        "first run": _raised(items, half, embed, is_update=False),
        "update": _raised(items, half, embed, is_update=True),
    }


def _raised(items: list[dict[str, str]], half: int, embed: Any, *, is_update: bool) -> dict[str, int]:
    store = _RaisesHalfWay()
    whole = pipeline([SentenceSplitter(chunk_size=2_048, chunk_overlap=0), embed], store)
    wanted = items
    if is_update:
        whole.run(documents=documents(items))
        wanted = [{**item, "text": f"{item['text']} Changed."} for item in items]
    store.left = half
    try:
        whole.run(documents=documents(wanted))
    except ConnectionError:
        pass
    else:
        raise SystemExit("the store was away and LlamaIndex did not say so")
    searchable = set(store.data.text_id_to_ref_doc_id.values())
    current = {document.id_: document.hash for document in documents(wanted)}
    recorded = {uri for uri, digest in current.items() if whole.docstore.get_document_hash(uri) == digest}
    store.left = float("inf")
    whole.run(documents=documents(wanted))
    found = store.data.text_id_to_ref_doc_id
    return {
        "recorded_not_searchable": len(recorded - searchable),
        "absent": len(items) - len(searchable) if is_update else 0,
        "missing_after_second_run": len(items) - len(set(found.values())),
        "points_too_many_after_second_run": len(found) - len(items),
    }


def main() -> None:
    embed = HuggingFaceEmbedding(model_name=sys.argv[1], device="cpu", embed_batch_size=32)
    tokenizer = embed._model.tokenizer

    def count(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def texts(command: dict[str, Any]) -> dict[str, Any]:
        done = filled(documents(read_texts(command["texts"])), command["store"], [embed])
        return {name: value for name, value in done.items() if name != "texts"}

    def files(command: dict[str, Any]) -> dict[str, Any]:
        splitter = SentenceSplitter(chunk_size=command["tokens"], chunk_overlap=0, tokenizer=count)
        read: list[Any] = []

        def all_of_it() -> None:
            root = Path(command["root"])
            read.extend(Document(text=(root / uri).read_text("utf-8"), id_=uri) for uri in command["files"])

        reading = timed(all_of_it)
        done = filled(read, command["store"], [splitter, embed])
        n_tokens = sum(len(count(text)) + 2 for text in done.pop("texts"))
        return {**done, **{name: done[name] + reading[name] for name in reading}, "n_tokens": n_tokens}

    serve({"texts": texts, "files": files, "failing": lambda command: failing(command, embed)}, packages=PACKAGES)


if __name__ == "__main__":
    main()
