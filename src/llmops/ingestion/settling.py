"""Near-duplicates settled over the whole collection, so that the outcome does not depend on what came first.

In the order of their uri, a document is left out when it says the same as one that stays and has the same readers:
a person who may read only one of two alike documents must find that one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llmops.ingestion.documents import DocumentRow
from llmops.ingestion.duplicates import Candidate, assign
from llmops.ingestion.indexing import Indexing
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.syncs import item_of


def settle_duplicates(
    indexing: Indexing, threshold: float, listed: Mapping[str, Item], doomed: Collection[str]
) -> list[Item]:
    """Leave out what is alike, in points and rows; returns documents that have to be read to be back.

    Args:
        threshold: Jaccard similarity of 5-word runs, in (0, 1], from which two documents are alike.
        listed: what the source named in this sync.
        doomed: documents that are about to be removed; what they alone kept out comes back before they go.
    """
    settled = {
        key: row
        for key, row in indexing.rows.items()
        if row.signature is not None and row.state in ("indexed", "duplicate") and key not in doomed
    }
    candidates = [
        Candidate(key=key, uri=row.uri, group="\n".join(row.acl or ()), signature=row.signature or b"")
        for key, row in settled.items()
    ]
    alike = assign(candidates, threshold)
    left_out: list[tuple[DocumentRow, str]] = []
    revived: list[Item] = []
    for key, row in settled.items():
        if key in alike:
            of, share = settled[alike[key].of].uri, alike[key].similarity
            left_out.append((row, f"says the same as {of!r} ({share:.2f})"))
        elif row.state == "duplicate":
            item = listed.get(key) or item_of(row.item)
            if item is not None:
                revived.append(item)
    indexing.leave_out(left_out, listed)
    return revived
