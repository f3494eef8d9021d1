"""Reading ahead: one thread turns files into chunks while the encoder works on the ones before."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from llmops.config import digest
from llmops.errors import DocumentError, EmptyDocumentError
from llmops.ingestion.chunking import chunk
from llmops.ingestion.folder import SourceFile, fetch
from llmops.ingestion.parsing import PARSER_VERSION, media_type_of, parse
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Chunk, Document, DocumentState

_AHEAD = 64
_NAMESPACE = uuid.UUID("8d0f3c1e-6c0b-5c41-9d52-6f1f2f0e9a10")

CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A file on its way: its chunks, or the state and reason why there are none."""

    document_id: str
    uri: str
    title: str
    n_bytes: int
    content_hash: str
    fingerprint: str
    state: DocumentState
    reason: str
    chunks: tuple[Chunk, ...]


def document_id(spec: IngestionSpec, uri: str) -> str:
    """Stable for a spec and a path: a new version of a file replaces the old one."""
    return uuid.uuid5(_NAMESPACE, f"{spec.name}\n{uri}").hex


def fingerprint(spec: IngestionSpec, content_hash: str) -> str:
    """Changes with the bytes, the permissions, the metadata and the way files are read."""
    source = spec.source
    return digest([content_hash, sorted(source.acl), source.metadata, PARSER_VERSION])


def prepare(file: SourceFile, spec: IngestionSpec, count_tokens: CountTokens) -> Prepared:
    """Fetch, parse and chunk one file; whatever is wrong with it becomes a state and a reason."""
    content_hash, mark, title = "", "", file.uri
    state: DocumentState = "failed"
    reason = ""
    chunks: list[Chunk] = []
    try:
        raw, content_hash = fetch(file, max_bytes=spec.source.max_file_bytes)
        mark = fingerprint(spec, content_hash)
        media_type = media_type_of(file.uri, raw[:4096])
        if media_type is None:
            state, reason = "skipped", f"no parser for {PurePosixPath(file.uri).suffix or 'this kind of'} files"
        else:
            document = _document(file, raw, content_hash, media_type, spec)
            title = document.title
            chunks = chunk(
                document,
                count_tokens=count_tokens,
                max_tokens=spec.chunk.max_tokens,
                min_tokens=spec.chunk.min_tokens,
            )
            state = "indexed"
    except EmptyDocumentError as error:
        state, reason = "empty", str(error)
    except DocumentError as error:
        reason = str(error)
    return Prepared(
        document_id=document_id(spec, file.uri),
        uri=file.uri,
        title=title,
        n_bytes=file.n_bytes,
        content_hash=content_hash,
        fingerprint=mark,
        state=state,
        reason=reason,
        chunks=tuple(chunks),
    )


def _document(file: SourceFile, raw: bytes, content_hash: str, media_type: str, spec: IngestionSpec) -> Document:
    parsed = parse(raw, uri=file.uri, media_type=media_type, max_bytes=spec.source.max_file_bytes)
    return Document(
        document_id=document_id(spec, file.uri),
        uri=file.uri,
        title=parsed.title,
        text=parsed.text,
        blocks=parsed.blocks,
        media_type=parsed.media_type,
        content_hash=content_hash,
        acl=tuple(sorted(spec.source.acl)),
        metadata={**parsed.metadata, **spec.source.metadata},
    )


@contextmanager
def read_ahead(
    files: Sequence[SourceFile], spec: IngestionSpec, count_tokens: CountTokens
) -> Iterator[Iterator[Prepared]]:
    """Prepared files in order, made by a thread of their own at most 64 files ahead."""
    ready: queue.Queue[Prepared | BaseException | None] = queue.Queue(maxsize=_AHEAD)
    stop = threading.Event()

    def work() -> None:
        try:
            for file in files:
                if not _put(ready, prepare(file, spec, count_tokens), stop):
                    return
            _put(ready, None, stop)
        except BaseException as error:  # noqa: BLE001 (it is raised again where the files are consumed)
            _put(ready, error, stop)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield _take(ready)
    finally:
        stop.set()
        thread.join()


def _take(ready: queue.Queue[Prepared | BaseException | None]) -> Iterator[Prepared]:
    while (item := ready.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


def _put(
    ready: queue.Queue[Prepared | BaseException | None],
    item: Prepared | BaseException | None,
    stop: threading.Event,
) -> bool:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
