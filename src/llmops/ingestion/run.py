"""An ingestion run: source → documents → chunks → points, and a ledger row for each document.

List what exists → compare with the ledger → write what changed → remove what is gone → let the name answer. Each
step can be killed and begun again; `indexing.py` says why nothing is lost, `removal.py` why nothing goes by
mistake.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace

from llmops.ingestion.indexing import OnProgress
from llmops.ingestion.listing import Listing, document_id, source_hash, take_listing
from llmops.ingestion.report import IngestReport, Progress
from llmops.ingestion.shape import Indexer
from llmops.ingestion.sources.opening import open_source
from llmops.ingestion.sources.protocol import Item, Source
from llmops.ingestion.spec import IngestionSpec
from llmops.ingestion.steps import Options, Sync, collection_to_fill, load_encoder
from llmops.ingestion.syncs import SyncBook, SyncState

__all__ = ["OnProgress", "Options", "ingest"]

_log = logging.getLogger("llmops.ingestion")


def ingest(
    spec: IngestionSpec,
    indexer: Indexer,
    *,
    options: Options | None = None,
    on_progress: OnProgress = lambda _: None,
    only: Callable[[], Sequence[Item]] | None = None,
) -> IngestReport:
    """Bring the collection in line with its source; a second run right after it embeds nothing.

    Args:
        only: looks up documents when it is their turn; all others are left as they are. By default everything
            that the source has.

    Raises:
        SpecError: the source is not where the spec says.
        CollectionShapeError: embedder or chunking changed; rebuild.
        StorageError: the ledger or the vectors cannot be written; what is stored stays.
    """
    options = options or Options()
    started = time.perf_counter()
    book = SyncBook(indexer.database)
    if only is None:
        book.check_free(spec.name)
    with closing(open_source(spec, indexer.database, indexer.state)) as source:
        embedder = load_encoder(spec, indexer)
        shape, rows = collection_to_fill(spec, indexer, embedder, options)
        collection = shape.collection if shape is not None else ""
        listing = list_source(spec, source, book, only, collection=collection, tell=on_progress)
        sync = Sync(
            spec=spec,
            indexer=indexer,
            options=options,
            on_progress=on_progress,
            source=source,
            embedder=embedder,
            listing=listing,
            report=new_report(listing, collection),
        )
        try:
            n_searchable = sync.n_searchable(rows)
            to_do = sync.plan(rows)
            indexing = sync.write(shape, rows, list(to_do.changed.values()))
            report = sync.conclude(indexing, to_do, n_searchable=n_searchable)
        except BaseException as error:
            book.end(listing.sync, "failed", reason=str(error) or type(error).__name__)
            raise
    report.duration_s = time.perf_counter() - started
    end_sync(book, listing, report, is_part=only is not None)
    return report


def list_source(
    spec: IngestionSpec,
    source: Source,
    book: SyncBook,
    only: Callable[[], Sequence[Item]] | None,
    *,
    collection: str,
    tell: OnProgress,
) -> Listing:
    """What the source has, or just the documents that `only` looks up."""
    if only is not None:
        sync = book.begin(spec.name, source_hash(spec), collection=collection)  # an event after this is newer
        items = {document_id(spec, item.uri): item for item in only()}
        return Listing(sync=sync, items=items, is_everything=False)

    def listed(n: int) -> None:
        tell(Progress(stage="list", n_documents=0, n_done=n, n_embedded=0))

    return take_listing(source, spec, book, collection=collection, on_listed=listed)


def new_report(listing: Listing, collection: str) -> IngestReport:
    """The account of a sync, before anything was done."""
    sync = listing.sync
    return IngestReport(
        name=sync.pipeline, collection=collection, sync_id=sync.sync_id, n_found=len(listing.items)
    )


def end_sync(book: SyncBook, listing: Listing, report: IngestReport, *, is_part: bool) -> None:
    """What the sync did, on the ledger; and loudly where somebody has to look."""
    state: SyncState = "part" if is_part else "done"
    if report.held:
        state = "held"
    elif report.listing_problems:
        state = "incomplete"
    reason = report.held or "; ".join(report.listing_problems)[:2000]
    if reason:
        _log.warning("ingestion of %r is %s: %s", report.name, state, reason)
    book.end(
        listing.sync,
        state,
        collection=report.collection,
        reason=reason,
        report=asdict(replace(report, problems=report.problems[:100])),
        checkpoint=listing.checkpoint,
        keeps_listing=listing.is_broken and listing.has_advanced,
    )
