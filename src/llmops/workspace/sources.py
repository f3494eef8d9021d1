"""What sources and applications tell a workspace between two syncs: documents, permissions, groups, removals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llmops.errors import NotFoundError, RequestError, SpecError
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.erasure import forgotten_documents
from llmops.ingestion.events import SourceEvent, SourceEvents
from llmops.ingestion.listing import document_id
from llmops.ingestion.parsing.media_types import KEPT
from llmops.ingestion.report import IngestReport
from llmops.ingestion.run import Options
from llmops.ingestion.screening import screened
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.sources.push import Pushed
from llmops.ingestion.sources.spec import PushSource
from llmops.ingestion.spec import IngestionSpec
from llmops.workspace.opened import Workspace

MAX_DOCUMENTS = 1_000
"""Documents that one request may send."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PushedDocument:
    """One document as an application sends it.

    Attributes:
        uri: the application's own name for it; the same name replaces it.
        acl: who may read it; None takes the pipeline's, and without one the document is hidden.
    """

    uri: str
    raw: bytes
    media_type: str = ""
    title: str = ""
    url: str = ""
    version: str = ""
    acl: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One event of a source.

    Attributes:
        kind: "access" (a document's readers), "deleted", "changed" (to be read again), "members" (all members of a
            group).
        name: the document's uri, or the group's principal.
        principals: readers or members.
    """

    kind: Literal["access", "deleted", "changed", "members"]
    name: str = ""
    principals: tuple[str, ...] = ()


def push(workspace: Workspace, pipeline: str, documents: Sequence[PushedDocument]) -> IngestReport:
    """Keep documents and make them searchable; both are done when this returns.

    Raises:
        RequestError: the pipeline reads a source of its own, or there are too many documents.
    """
    spec, kept = _pushed(workspace, pipeline)
    if len(documents) > MAX_DOCUMENTS:
        raise RequestError(f"{len(documents)} documents came at once; at most {MAX_DOCUMENTS} are taken")
    for document in documents:
        if len(document.raw) > spec.source.max_file_bytes:
            limit = f"at most {spec.source.max_file_bytes:,} are taken (source.max_file_bytes)"
            raise RequestError(f"document {document.uri!r} has {len(document.raw):,} bytes; {limit}")
        if document.media_type == KEPT:
            raise RequestError(
                f"document {document.uri!r} has the media type of what llmops keeps; send what it is"
            )
    erased = forgotten_documents(workspace.database, spec.name)
    taken = [document for document in documents if document_id(spec, document.uri) not in erased]
    for document in taken:
        item = Item(
            uri=document.uri,
            acl=document.acl,
            version=document.version,
            title=document.title,
            url=document.url,
            media_type=document.media_type,
            metadata=document.metadata,
        )
        passed = screened(spec, item, document.raw)
        why = (passed.withheld.state, passed.withheld.reason) if passed.withheld is not None else None
        kept.put(document_id(spec, document.uri), passed.item, passed.raw, withheld=why)
    _tell_readers(workspace, spec, kept, taken)
    keys = [document_id(spec, document.uri) for document in taken]
    report = workspace.ingest(spec, options=Options(), only=lambda: kept.items(keys))
    report.n_forgotten = len(documents) - len(taken)
    return report


def _tell_readers(
    workspace: Workspace, spec: IngestionSpec, kept: Pushed, documents: Sequence[PushedDocument]
) -> None:
    """Who may read documents that are here already changes now, whatever sync of them is under way."""
    book = SourceEvents(workspace.database, workspace.store, workspace.collections, pipeline=spec.name)
    shape = workspace.collections.serving(spec.name)
    keys = [document_id(spec, document.uri) for document in documents]
    rows = DocumentLedger(workspace.database, shape.collection).some(keys) if shape is not None else {}
    for item in kept.items([key for key in keys if key in rows]):
        key, acl = document_id(spec, item.uri), tuple(sorted(item.acl or ()))
        if rows[key].acl != acl:
            book.take(SourceEvent(kind="access", document_id=key, acl=acl))


def take_events(
    workspace: Workspace, pipeline: str, events: Sequence[Told], *, on_change: Callable[[str], None]
) -> int:
    """Obey what a source says; a change of readers, of a group, or a removal is effective when this returns.

    Args:
        on_change: called once when a document has to be read again; what it starts may take its time.

    Returns:
        How many events concerned a document or group that was known.
    """
    spec = _as_known(workspace, pipeline)
    book = SourceEvents(workspace.database, workspace.store, workspace.collections, pipeline=spec.name)
    kept = Pushed(spec.source, spec.name, workspace.database) if isinstance(spec.source, PushSource) else None
    n_known = 0
    for event in events:
        if event.kind == "members":
            workspace.groups.set_members(spec.name, event.name, event.principals)
            n_known += 1
        elif event.kind in ("access", "deleted"):
            key = document_id(spec, event.name)
            if kept is not None and event.kind == "deleted":
                kept.remove(key)
            elif kept is not None:
                kept.set_acl(key, event.principals)
            kind: Literal["access", "deleted"] = "deleted" if event.kind == "deleted" else "access"
            n_known += book.take(SourceEvent(kind=kind, document_id=key, acl=tuple(sorted(event.principals))))
    if any(event.kind == "changed" for event in events):
        on_change(spec.name)
    return n_known


def _as_known(workspace: Workspace, pipeline: str) -> IngestionSpec:
    """The pipeline; as it was read last where a file is wrong now: a revocation must not wait for its mending."""
    try:
        return workspace.pipeline(pipeline)
    except SpecError:
        return workspace.files.pipeline(pipeline)


def retry(workspace: Workspace, pipeline: str, uri: str | None) -> int:
    """Let failed and parked documents (or one of them) be tried at the next sync; returns how many.

    Raises:
        NotFoundError: there is no such document, or none that failed.
    """
    spec = workspace.pipeline(pipeline)
    shape = workspace.collections.serving(spec.name)
    if shape is None:
        raise NotFoundError(f"nothing has been ingested as {spec.name!r}; run `llmops ingest run {spec.name}`")
    ledger = DocumentLedger(workspace.database, shape.collection)
    rows = ledger.rows()
    if uri is not None and document_id(spec, uri) not in rows:
        raise NotFoundError(f"no document {uri!r} in {spec.name!r}; `llmops ingest status {spec.name}` lists them")
    wanted = [
        row for row in rows.values() if row.state in ("failed", "parked") and (uri is None or row.uri == uri)
    ]
    if uri is not None and not wanted:
        state = rows[document_id(spec, uri)].state
        raise NotFoundError(f"document {uri!r} is {state}, and only failed or parked ones are tried again")
    ledger.make_due([row.document_id for row in wanted])
    return len(wanted)


def explain(workspace: Workspace, pipeline: str, uri: str) -> dict[str, Any]:
    """Everything that is known of one document: its row, its chunks, who reads it and what its source said of it.

    Raises:
        NotFoundError: there is no such document.
    """
    from llmops.clients.protocols import Filter

    spec = workspace.pipeline(pipeline)
    shape = workspace.collections.serving(spec.name)
    key = document_id(spec, uri)
    row: DocumentRow | None = None
    if shape is not None:
        row = DocumentLedger(workspace.database, shape.collection).get(key)
    if shape is None or row is None:
        raise NotFoundError(f"no document {uri!r} in {spec.name!r}; `llmops ingest status {spec.name}` lists them")
    here = Filter(principals=None, metadata={"document_id": key})
    points = sorted(workspace.store.scroll(shape.collection, where=here), key=lambda point: point.chunk.ordinal)
    return {
        "document": row,
        "collection": shape.collection,
        "tenant": spec.tenant,
        "chunks": [
            {
                "chunk_id": point.chunk.chunk_id,
                "heading_path": list(point.chunk.heading_path),
                "locator": point.chunk.locator,
                "n_tokens": point.chunk.n_tokens,
                "acl": list(point.chunk.acl),
                "text": point.chunk.text,
            }
            for point in points
        ],
    }


def _pushed(workspace: Workspace, pipeline: str) -> tuple[IngestionSpec, Pushed]:
    spec = workspace.pipeline(pipeline)
    if not isinstance(spec.source, PushSource):
        problem = f"pipeline {spec.name!r} reads its own source ({spec.source.type})"
        raise RequestError(f"{problem}; documents are sent to one with `source: {{type: push}}`")
    return spec, Pushed(spec.source, spec.name, workspace.database)
