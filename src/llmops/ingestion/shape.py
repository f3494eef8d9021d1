"""Which collection a run fills, and whether the spec still fits what it was built with."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops.access import GroupBook
from llmops.clients.database import Database
from llmops.clients.protocols import Embedder, VectorStore
from llmops.errors import CollectionShapeError
from llmops.ingestion.chunking import recipe
from llmops.ingestion.documents import DocumentLedger
from llmops.ingestion.spec import IngestionSpec
from llmops.releases import Artifact, ArtifactBook, CollectionBook, CollectionShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexer:
    """The parts a run works with; without a book of groups it reads its own.

    Attributes:
        state: where sources keep what they know between syncs.
    """

    database: Database
    store: VectorStore
    collections: CollectionBook
    load_embedder: Callable[[IngestionSpec], Embedder]
    groups: GroupBook | None = None
    state: Path = Path(".llmops/sources")


def shape_to_fill(
    spec: IngestionSpec, indexer: Indexer, embedder: Embedder, *, rebuild: bool, beside: bool = False
) -> CollectionShape | None:
    """The collection this run brings up to date; None when a new one has to be made.

    Raises:
        CollectionShapeError: the spec no longer fits the collection, and no rebuild was asked for.
    """
    stored = indexer.store.collections()
    for shape in indexer.collections.all():
        if shape.name == spec.name and shape.collection not in stored:
            discard(shape, indexer)  # its vectors are lost: all there is to do is to build it again
    serving, building = indexer.collections.serving(spec.name), indexer.collections.building(spec.name)
    if building is not None and _mismatch(building, spec, embedder):
        discard(building, indexer)
        building = None
    if beside:
        candidate = indexer.collections.candidate(spec.name)
        if candidate is not None and (rebuild or _mismatch(candidate, spec, embedder)):
            discard(candidate, indexer)
            candidate = None
        return building or candidate
    if rebuild or serving is None:
        return building
    if problem := _mismatch(serving, spec, embedder):
        raise CollectionShapeError(
            f"collection {serving.collection!r} was built with {problem}; run `llmops ingest run {spec.name} "
            "--rebuild` to build a new one beside it, or restore the spec"
        )
    return serving


def _mismatch(shape: CollectionShape, spec: IngestionSpec, embedder: Embedder) -> str:
    if shape.embedder_digest != embedder.digest:
        return f"embedder {shape.embedder!r}, which differs from {embedder.name!r} as it is now"
    now = making(spec)
    if dict(shape.chunker) != now:
        return f"chunking {dict(shape.chunker)}, and the spec now says {now}"
    return ""


def making(spec: IngestionSpec) -> dict[str, Any]:
    """How a collection's chunks are made and held, as its row on the ledger says it."""
    made = dict(recipe(spec.chunk))
    if spec.clean.boilerplate is not None:
        made["boilerplate"] = spec.clean.boilerplate
    if store := spec.store.model_dump(mode="json", exclude_defaults=True):
        made["store"] = store
    return made


def create(
    spec: IngestionSpec,
    indexer: Indexer,
    embedder: Embedder,
    average_terms: float,
    boilerplate: Collection[str] = (),
) -> CollectionShape:
    """A new, empty collection that no name points to yet."""
    shape = CollectionShape(
        collection=indexer.collections.next_name(spec.name),
        name=spec.name,
        state="building",
        embedder=embedder.name,
        embedder_digest=embedder.digest,
        dimension=embedder.dimension,
        chunker=making(spec),
        average_terms=average_terms,
        spec_hash=spec.spec_hash,
        created_at=datetime.now(UTC),
        boilerplate=sorted(boilerplate) or None,
    )
    if shape.collection in indexer.store.collections():
        indexer.store.drop(shape.collection)  # made by a run that was killed before its ledger row
    described = {"embedder": shape.embedder_digest, "chunker": dict(shape.chunker), "average_terms": average_terms}
    settings = spec.store.settings
    indexer.store.create(shape.collection, dimension=shape.dimension, metadata=described, settings=settings)
    _keep(spec, indexer)
    indexer.collections.register(shape)
    return shape


def _keep(spec: IngestionSpec, indexer: Indexer) -> None:
    """What the collection is made by, on the ledger: its encoder is needed for as long as it answers."""
    content = json.dumps(spec.model_dump(mode="json"), indent=2, ensure_ascii=False)
    made = Artifact(kind="ingestion", name=spec.name, digest=spec.spec_hash, content=content)
    ArtifactBook(indexer.database).keep([made])


def discard(shape: CollectionShape, indexer: Indexer) -> None:
    """Remove a collection with its document rows."""
    DocumentLedger(indexer.database, shape.collection).clear()
    if shape.collection in indexer.store.collections():
        indexer.store.drop(shape.collection)
    indexer.collections.forget(shape.collection)
