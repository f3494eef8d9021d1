"""What a sync may remove: never on a doubtful listing, and never much without being told."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llmops.ingestion.documents import DocumentRow
from llmops.ingestion.listing import Listing


def missing(listing: Listing, rows: Mapping[str, DocumentRow], gone: Collection[str]) -> set[str]:
    """Documents that are not in the source any more, as far as this listing can prove it."""
    named = (
        listing.removed | set(gone)
    ) & rows.keys()  # what a source says is gone is, whatever else it cannot say
    return named | (listing.absent & rows.keys()) if listing.is_complete else named


def held(doomed: Collection[str], rows: Mapping[str, DocumentRow], *, n_searchable: int, share: float) -> str:
    """Why these documents must not go without a person's word, or "".

    Args:
        rows: as they are now; a document that only moved, and is there under another name, is not lost.
        n_searchable: documents that could be found before the sync.
        share: at most so many of them may go, in [0, 1].
    """
    contents = {row.content_hash for key, row in rows.items() if key not in doomed and row.n_chunks} - {""}
    lost = [key for key in doomed if rows[key].n_chunks and rows[key].content_hash not in contents]
    if not lost or len(lost) <= share * n_searchable:
        return ""
    percent = 100 * len(lost) / n_searchable
    return (
        f"the source lacks {len(lost)} of {n_searchable} documents ({percent:.0f} %; sync.max_removed_share "
        f"lets {100 * share:.0f} % go), so none was removed; check the source, then pass --accept-removals"
    )
