"""Reading ahead: threads turn documents into chunks while the encoder works on the ones before."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from llmops.config import digest
from llmops.errors import (
    DocumentError,
    DocumentExpiredError,
    DocumentGoneError,
    DocumentRefusedError,
    EmptyDocumentError,
    SourceDeniedError,
    SourceError,
)
from llmops.ingestion.boilerplate import without
from llmops.ingestion.chunking import chunk_document
from llmops.ingestion.duplicates import signature
from llmops.ingestion.governance.apply import Governed, found_labels, govern
from llmops.ingestion.listing import document_id, reading
from llmops.ingestion.parsing import media_type_of, parse
from llmops.ingestion.parsing.media_types import KEPT
from llmops.ingestion.sources.protocol import Fetched, Item, Source
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Chunk, Document, DocumentState

_AHEAD = 64
_LOCAL = ("folder", "push", "jsonl", "git", "langchain", "confluence_export", "slack_export")
EXPIRES = "expires"
"""A document's own metadata field: the date (ISO 8601) from which it must not be found."""

ACL_LABEL = "acl"
"""Label of a document whose readers are "unknown" (it is hidden) or were "fetched" with it."""

CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How documents of one run are read and cut.

    Attributes:
        window: word pieces that the encoder reads.
        boilerplate: digests of blocks that are cut out.
    """

    spec: IngestionSpec
    source: Source
    count_tokens: CountTokens
    window: int
    boilerplate: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A document on its way: its chunks, or the state and reason why there are none.

    Attributes:
        item: as it was listed; its `acl` is what fetching told, where that tells more.
        is_gone: the source has it no more.
        source_error: what its source said, when it failed for that reason; "" otherwise.
    """

    document_id: str
    item: Item
    title: str
    n_bytes: int
    content_hash: str
    fingerprint: str
    listed: str
    state: DocumentState
    reason: str
    chunks: tuple[Chunk, ...]
    labels: Mapping[str, Any] = field(default_factory=dict)
    signature: bytes | None = None
    expires_at: datetime | None = None
    is_gone: bool = False
    source_error: str = ""

    @property
    def uri(self) -> str:
        return self.item.uri


def fingerprint(spec: IngestionSpec, item: Item, content_hash: str) -> str:
    """Changes with the bytes, the metadata and the way documents are read, and not with who may read them."""
    return digest([content_hash, reading(spec), dict(item.metadata), item.title, item.url])


def listed_mark(spec: IngestionSpec, item: Item, version: str = "") -> str:
    """Changes with the version that the source gives and the way documents are read; "" without a version."""
    said = version or item.version
    return digest([said, reading(spec), dict(item.metadata), item.title, item.url]) if said else ""


def prepare(item: Item, recipe: Recipe) -> Prepared:
    """Fetch, parse, govern and chunk one document; whatever is wrong with it becomes a state and a reason."""
    spec = recipe.spec
    key = document_id(spec, item.uri)
    base = Prepared(
        document_id=key,
        item=item,
        title=item.title or item.uri,
        n_bytes=item.n_bytes or 0,
        content_hash="",
        fingerprint="",
        listed=listed_mark(spec, item),
        state="failed",
        reason="",
        chunks=(),
    )
    try:
        fetched = recipe.source.fetch(item, max_bytes=spec.source.max_file_bytes)
    except DocumentGoneError as error:
        return replace(base, reason=str(error), is_gone=True)
    except DocumentRefusedError as error:
        return replace(base, state="refused", reason=str(error))
    except DocumentExpiredError as error:
        return replace(base, state="expired", reason=str(error))
    except DocumentError as error:
        return replace(base, reason=str(error))
    except SourceDeniedError:
        raise
    except SourceError as error:
        return replace(base, reason=str(error), source_error=str(error))
    content_hash = hashlib.sha256(fetched.raw).hexdigest()
    known = replace(
        base,
        item=item if fetched.acl is None else replace(item, acl=fetched.acl),
        n_bytes=len(fetched.raw),
        content_hash=content_hash,
        fingerprint=fingerprint(spec, item, content_hash),
        listed=listed_mark(spec, item, fetched.version),
    )
    try:
        return _cut(known, fetched, recipe)
    except EmptyDocumentError as error:
        return replace(known, state="empty", reason=str(error))
    except DocumentRefusedError as error:
        return replace(known, state="refused", reason=str(error))
    except DocumentError as error:
        return replace(known, reason=str(error))


def _cut(known: Prepared, fetched: Fetched, recipe: Recipe) -> Prepared:
    spec, item = recipe.spec, known.item
    media_type = fetched.media_type or item.media_type or media_type_of(item.uri, fetched.raw[:4096])
    if media_type is None:
        return replace(known, state="skipped", reason=f"no parser for {_kind(item.uri)} files")
    governed, problems, n_cut = _document(known, fetched, media_type, recipe)
    document = governed.document
    expires_at = expiry(document, item, spec)
    if expires_at is not None and expires_at <= datetime.now(UTC):
        reason = f"expired on {expires_at:%Y-%m-%d}"
        return replace(known, title=document.title, state="expired", reason=reason, expires_at=expires_at)
    chunks = chunk_document(document, spec.chunk, count_tokens=recipe.count_tokens, window=recipe.window)
    labels = {**governed.labels, **({"boilerplate_blocks": n_cut} if n_cut else {})}
    return replace(
        known,
        title=document.title,
        state="indexed",
        reason="; ".join(problems)[:2000],
        chunks=tuple(chunks),
        labels={**labels, **_told(item, fetched)},
        signature=signature(document.text) if spec.clean.near_duplicates is not None else None,
        expires_at=expires_at,
    )


def _document(
    known: Prepared, fetched: Fetched, media_type: str, recipe: Recipe
) -> tuple[Governed, tuple[str, ...], int]:
    """The document as it may be stored, what of it could not be read, and how many blocks were cut out."""
    spec, item = recipe.spec, known.item
    parsed = parse(fetched.raw, uri=item.uri, media_type=media_type, max_bytes=spec.source.max_file_bytes)
    document = Document(
        document_id=known.document_id,
        uri=item.uri,
        title=fetched.title or item.title or parsed.title,
        text=parsed.text,
        blocks=parsed.blocks,
        media_type=parsed.media_type,
        content_hash=known.content_hash,
        acl=tuple(sorted(item.acl or ())),
        metadata={**parsed.metadata, **fetched.metadata, **item.metadata, **spec.source.metadata},
        tenant=spec.tenant,
        url=fetched.url or item.url,
    )
    document, n_cut = without(document, recipe.boilerplate) if recipe.boilerplate else (document, 0)
    governed = govern(document, spec.governance)
    if media_type == KEPT:
        governed = replace(governed, labels={**found_labels(parsed.metadata), **governed.labels})
    return governed, parsed.problems, n_cut


def read_documents(items: Sequence[Item], recipe: Recipe) -> Iterator[Document]:
    """Documents as they are parsed, for measuring what repeats; those that cannot be read are left out."""
    for item in items:
        base = document_id(recipe.spec, item.uri)
        try:
            fetched = recipe.source.fetch(item, max_bytes=recipe.spec.source.max_file_bytes)
            media_type = fetched.media_type or item.media_type or media_type_of(item.uri, fetched.raw[:4096])
            parsed = parse(fetched.raw, uri=item.uri, media_type=media_type)
        except (DocumentError, SourceError):
            continue
        yield Document(
            document_id=base,
            uri=item.uri,
            title=parsed.title,
            text=parsed.text,
            blocks=parsed.blocks,
            media_type=parsed.media_type,
            content_hash="",
            acl=(),
        )


def expiry(document: Document, item: Item, spec: IngestionSpec) -> datetime | None:
    """When a document must be gone: by its own date, else by its age and the policy; None: never.

    Raises:
        DocumentError: its own date is none.
    """
    own = document.metadata.get(EXPIRES)
    if isinstance(own, str):
        try:
            moment = datetime.fromisoformat(own)
        except ValueError:
            raise DocumentError(
                f"its field {EXPIRES!r} is {own!r}, which is no date; write it like 2027-01-31"
            ) from None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if spec.governance.retention_days is None:
        return None
    return (item.modified_at or datetime.now(UTC)) + timedelta(days=spec.governance.retention_days)


def _told(item: Item, fetched: Fetched) -> dict[str, str]:
    """Where the readers come from, when it was not the listing."""
    if fetched.acl is not None:
        return {ACL_LABEL: "fetched"}
    return {ACL_LABEL: "unknown"} if item.acl is None else {}


def _kind(uri: str) -> str:
    return PurePosixPath(uri).suffix or "this kind of"


@contextmanager
def read_ahead(items: Sequence[Item], recipe: Recipe) -> Iterator[Iterator[Prepared]]:
    """Prepared documents in order, made by threads of their own at most 64 documents ahead."""
    stop = threading.Event()
    slots: queue.Queue[queue.Queue[Prepared | BaseException] | None] = queue.Queue(maxsize=_AHEAD)
    waiting: queue.Queue[tuple[Item, queue.Queue[Prepared | BaseException]] | None] = queue.Queue()
    n_threads = max(1, min(_fetchers(recipe.spec), len(items)))

    def hand_out() -> None:
        for item in items:
            slot: queue.Queue[Prepared | BaseException] = queue.Queue(maxsize=1)
            if not _put(slots, slot, stop):
                break
            waiting.put((item, slot))
        _put(slots, None, stop)
        for _ in range(n_threads):
            waiting.put(None)

    def work() -> None:
        while (given := waiting.get()) is not None and not stop.is_set():
            item, slot = given
            try:
                slot.put(prepare(item, recipe))
            except BaseException as error:  # noqa: BLE001 (it is raised again where the documents are consumed)
                slot.put(error)

    threads = [threading.Thread(target=work, name=f"read-ahead-{n}", daemon=True) for n in range(n_threads)]
    threads.append(threading.Thread(target=hand_out, name="read-ahead", daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield _take(slots)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _fetchers(spec: IngestionSpec) -> int:
    """More than one pays where reading is waiting; parsing takes turns at the interpreter anyway."""
    return spec.sync.fetchers or (1 if spec.source.type in _LOCAL else 4)


def _take(slots: queue.Queue[queue.Queue[Prepared | BaseException] | None]) -> Iterator[Prepared]:
    while (slot := slots.get()) is not None:
        made = slot.get()
        if isinstance(made, BaseException):
            raise made
        yield made


def _put(slots: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            slots.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
