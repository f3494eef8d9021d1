"""What a source lists against what the ledger knows: which documents have to be read again, and which have not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from llmops.errors import DocumentError, DocumentGoneError, SourceError
from llmops.ingestion.documents import DocumentRow
from llmops.ingestion.events import readers
from llmops.ingestion.indexing import OnProgress
from llmops.ingestion.listing import Listing
from llmops.ingestion.prepare import ACL_LABEL, fingerprint, listed_mark
from llmops.ingestion.report import DocumentProblem, IngestReport, Progress
from llmops.ingestion.sources.protocol import Item, Source
from llmops.ingestion.spec import IngestionSpec
from llmops.ingestion.syncs import item_of


@dataclass(kw_only=True, slots=True)
class Comparison:
    """What there is to do.

    Attributes:
        changed: to be read, by document id.
        access: other readers for documents whose content stays, by document id.
        expired: documents whose date has come.
    """

    changed: dict[str, Item] = field(default_factory=dict)
    access: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expired: list[DocumentRow] = field(default_factory=list)


def compare(
    listing: Listing,
    spec: IngestionSpec,
    source: Source,
    rows: Mapping[str, DocumentRow],
    *,
    forgotten: Collection[str],
    report: IngestReport,
    on_progress: OnProgress,
) -> Comparison:
    """Documents whose content is not the ledger's; the others are counted, with what was wrong with them."""
    now = datetime.now(UTC)
    found = Comparison()
    for n_done, (key, item) in enumerate(listing.items.items(), start=1):
        row = rows.get(key)
        if key in forgotten:
            report.n_forgotten += 1
            report.n_found -= 1
        elif row is None or row.state == "pending" or _is_due(row, now) or not _is_same(item, spec, source, row):
            found.changed[key] = item
        elif _is_over(row, now):
            found.expired.append(row)
        else:
            _settled(key, item, row, found, report)
        on_progress(
            Progress(stage="scan", n_documents=len(listing.items), n_done=n_done, n_embedded=0, uri=item.uri)
        )
    if not listing.is_everything:
        _unlisted(listing, rows, now, forgotten, found, report)
    return found


def _settled(key: str, item: Item, row: DocumentRow, found: Comparison, report: IngestReport) -> None:
    if row.state == "indexed":
        report.n_unchanged += 1
    else:
        report.count(row.state)
    if row.reason:
        report.problems.append(DocumentProblem(uri=row.uri, state=row.state, reason=row.reason))
    is_told_elsewhere = item.acl is None and row.labels.get(ACL_LABEL) == "fetched"
    if not is_told_elsewhere and row.acl != readers(item.acl, None):
        found.access[key] = readers(item.acl, None)


def _unlisted(
    listing: Listing,
    rows: Mapping[str, DocumentRow],
    now: datetime,
    forgotten: Collection[str],
    found: Comparison,
    report: IngestReport,
) -> None:
    """Documents that a source of changes does not name, and that still are owed something."""
    for key, row in rows.items():
        if key in listing.items or key in listing.removed or key in forgotten:
            continue
        item = item_of(row.item)
        if item is not None and (row.state == "pending" or _is_due(row, now)):
            found.changed[key] = item
            report.n_found += 1
        elif _is_over(row, now):
            found.expired.append(row)
            report.n_found += 1


def _is_over(row: DocumentRow, now: datetime) -> bool:
    """Whether its date has come: also of an earlier version that stayed because newer ones cannot be read."""
    return row.expires_at is not None and row.expires_at <= now and row.state != "expired"


def _is_due(row: DocumentRow, now: datetime) -> bool:
    return row.state == "failed" and row.retry_at is not None and row.retry_at <= now


def _is_same(item: Item, spec: IngestionSpec, source: Source, row: DocumentRow) -> bool:
    """By the source's version where it gives one, else by the bytes."""
    if mark := listed_mark(spec, item):
        return row.listed == mark
    try:
        raw = source.fetch(item, max_bytes=spec.source.max_file_bytes).raw
    except DocumentGoneError:
        return False
    except (DocumentError, SourceError):
        return row.state in ("failed", "parked")  # its next try has its own time
    return row.fingerprint == fingerprint(spec, item, hashlib.sha256(raw).hexdigest())
