"""A sync as steps for a queue: any worker may do a batch, and a step that was killed is done again by another.

What the steps hand each other lies on the ledger; only the sync's id travels, and no document's name.
Every step may run more than once: planning begins anew, a batch finds what it wrote, concluding compares again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from llmops.errors import StorageError
from llmops.ingestion.comparison import Comparison
from llmops.ingestion.documents import DocumentLedger
from llmops.ingestion.indexing import OnProgress
from llmops.ingestion.listing import Listing
from llmops.ingestion.outcomes import Emptied
from llmops.ingestion.report import DocumentProblem, IngestReport, report_of
from llmops.ingestion.run import end_sync, list_source, new_report
from llmops.ingestion.shape import Indexer
from llmops.ingestion.sources.opening import open_source
from llmops.ingestion.sources.protocol import Source
from llmops.ingestion.spec import IngestionSpec
from llmops.ingestion.step_book import StepBook
from llmops.ingestion.steps import Options, Sync, collection_to_fill, load_encoder
from llmops.ingestion.syncs import SyncBook, items_of

BATCH = 200
"""Documents of one step: a minute or so of work."""

_ADDED = ("n_indexed", "n_empty", "n_skipped", "n_failed", "n_parked", "n_duplicate", "n_refused", "n_expired")
_COUNTS = (*_ADDED, "n_embedded", "n_reused", "n_found")


def _quiet(_: object) -> None:
    """Nobody looks at a queue."""


def plan(spec: IngestionSpec, indexer: Indexer, options: Mapping[str, bool]) -> dict[str, Any]:
    """List the source, compare it with the ledger, and cut what changed into batches; raises as `ingest`.

    Returns:
        `sync_id` and `n_batches`.
    """
    chosen = Options(**options)
    book = SyncBook(indexer.database)
    book.check_free(spec.name, for_job=True)
    with closing(open_source(spec, indexer.database, indexer.state)) as source:
        embedder = load_encoder(spec, indexer)
        shape, rows = collection_to_fill(spec, indexer, embedder, chosen)
        filled = shape.collection if shape is not None else ""
        listing = list_source(spec, source, book, None, collection=filled, tell=_quiet)
        book.belongs_to_job(listing.sync)
        report = new_report(listing, filled)
        sync = Sync(
            spec=spec,
            indexer=indexer,
            options=chosen,
            on_progress=_quiet,
            source=source,
            embedder=embedder,
            listing=listing,
            report=report,
        )
        try:
            n_searchable = sync.n_searchable(rows)
            to_do = sync.plan(rows)
            shape = shape or sync.make(list(to_do.changed.values()))
            batches = _batches(sorted(to_do.changed))
            book.plan(
                listing.sync.sync_id,
                {**listing.items, **to_do.changed},
                removed=listing.removed,
                absent=listing.absent,
                batches=batches,
            )
        except BaseException as error:
            book.end(listing.sync, "failed", reason=str(error) or type(error).__name__)
            raise
    report.collection = shape.collection
    planned = {
        "collection": shape.collection,
        "n_batches": len(batches),
        "n_searchable": n_searchable,
        "options": dict(options),
        "report": asdict(report),
        "access": {key: list(acl) for key, acl in to_do.access.items()},
        "expired": [row.document_id for row in to_do.expired],
        "problems": listing.problems,
        "group_problems": sync.group_problems,
        "is_everything": listing.is_everything,
        "is_broken": listing.is_broken,
        "has_advanced": listing.has_advanced,
        "checkpoint": dict(listing.checkpoint),
        "began": time.time(),
    }
    StepBook(indexer.database, listing.sync.sync_id).plan(planned)
    return {"sync_id": listing.sync.sync_id, "n_batches": len(batches)}


def write_batch(
    spec: IngestionSpec,
    indexer: Indexer,
    sync_id: str,
    number: int,
    *,
    on_progress: OnProgress = _quiet,
) -> None:
    """Read, embed and write one batch, unless it was done before; what it did is kept.

    Raises:
        StorageError: the sync is not under way any more.
    """
    steps = StepBook(indexer.database, sync_id)
    if steps.is_kept(number):
        return
    with closing(open_source(spec, indexer.database, indexer.state)) as source:
        planned, sync = _again(spec, indexer, sync_id, source, on_progress)
        items = SyncBook(indexer.database).batch(sync_id, number)
        shape = indexer.collections.get(planned["collection"])
        known = DocumentLedger(indexer.database, shape.collection).some(list(items))
        indexing = sync.write(shape, known, list(items.values()))
    counts = {name: getattr(sync.report, name) for name in _COUNTS}
    outcome = {
        **counts,
        "problems": [asdict(problem) for problem in sync.report.problems],
        "gone": sorted(indexing.gone),
        "emptied": {key: asdict(now) for key, now in indexing.emptied.items()},
        "n_deleted": indexing.n_deleted,
        "source_problems": sync.listing.problems,
    }
    steps.keep(number, outcome)


def conclude(spec: IngestionSpec, indexer: Indexer, sync_id: str) -> IngestReport:
    """Everything after the writing: readers, removals, and who answers from now on.

    A sync that has been concluded is left as it is: what it listed is not on the ledger any more.

    Raises:
        StorageError: the sync is not under way any more, or not all of its batches were written.
    """
    book = SyncBook(indexer.database)
    begun = book.get(sync_id)
    if begun is not None and begun.ended_at is not None and begun.report is not None:
        return report_of(begun.report)
    with closing(open_source(spec, indexer.database, indexer.state)) as source:
        planned, sync = _again(spec, indexer, sync_id, source, _quiet)
        batches = StepBook(indexer.database, sync_id).outcomes(planned["n_batches"])
        taken = book.taken(sync_id)
        sync.listing.items = dict(items_of(taken))
        sync.listing.removed = {key for key, item in taken.items() if item is None}
        sync.listing.absent = book.absent(sync_id)
        sync.listing.problems = [*planned["problems"], *(p for b in batches for p in b["source_problems"])]
        sync.group_problems = list(planned["group_problems"])
        sync.report = report_of(planned["report"])
        for batch in batches:
            for name in _COUNTS:
                setattr(sync.report, name, getattr(sync.report, name) + batch[name])
            sync.report.problems += [DocumentProblem(**problem) for problem in batch["problems"]]
        indexer.collections.refresh()
        shape = indexer.collections.get(planned["collection"])
        rows = DocumentLedger(indexer.database, shape.collection).rows()
        indexing = sync.indexing(shape, rows, 0)
        indexing.gone = {key for batch in batches for key in batch["gone"]}
        indexing.emptied = {key: Emptied(**now) for batch in batches for key, now in batch["emptied"].items()}
        indexing.n_deleted = sum(batch["n_deleted"] for batch in batches)
        indexing.written = book.batched(sync_id)
        to_do = Comparison(
            access={key: tuple(acl) for key, acl in planned["access"].items()},
            expired=[rows[key] for key in planned["expired"] if key in rows],
        )
        report = sync.conclude(indexing, to_do, n_searchable=planned["n_searchable"])
    report.duration_s = time.time() - planned["began"]
    end_sync(book, sync.listing, report, is_part=False)
    return report


def fail(indexer: Indexer, sync_id: str, reason: str) -> None:
    """A sync whose steps failed for good; the next one begins anew."""
    book = SyncBook(indexer.database)
    begun = book.get(sync_id)
    if begun is not None and begun.ended_at is None:
        book.end(begun, "failed", reason=reason)


def _again(
    spec: IngestionSpec, indexer: Indexer, sync_id: str, source: Source, on_progress: OnProgress
) -> tuple[dict[str, Any], Sync]:
    """The plan, and the sync as it left it, without its items."""
    planned = StepBook(indexer.database, sync_id).planned()
    begun = SyncBook(indexer.database).get(sync_id)
    if begun is None or begun.state != "running":
        raise StorageError(f"the sync {sync_id!r} is not under way any more; run the pipeline again")
    indexer.collections.refresh()
    listing = Listing(
        sync=begun,
        is_everything=planned["is_everything"],
        is_broken=planned["is_broken"],
        has_advanced=planned["has_advanced"],
        checkpoint=planned["checkpoint"],
    )
    return planned, Sync(
        spec=spec,
        indexer=indexer,
        options=Options(**planned["options"]),
        on_progress=on_progress,
        source=source,
        embedder=load_encoder(spec, indexer),
        listing=listing,
        report=IngestReport(name=spec.name, collection=planned["collection"], sync_id=sync_id),
        planned_at=datetime.fromtimestamp(planned["began"], UTC),
    )


def _batches(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
