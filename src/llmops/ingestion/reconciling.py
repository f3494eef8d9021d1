"""What a sync learned about readers and removals, carried over to the other collections of the same name.

A collection that was left, or that waits, may answer at any moment, by a rollback or a release. It must not know
fewer restrictions, or more documents, than the one that was brought up to date.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.shape import Indexer

_HIDDEN = ("expired", "refused")


def carry_over(
    indexer: Indexer, name: str, collection: str, rows: Mapping[str, DocumentRow], *, removed: Collection[str]
) -> None:
    """Let every other stored collection of a name follow.

    Args:
        collection: the one that was brought up to date.
        rows: its rows now.
        removed: documents that left it in this sync.
    """
    stored = set(indexer.store.collections())
    for shape in indexer.collections.all():
        if shape.name != name or shape.collection == collection or shape.collection not in stored:
            continue
        ledger = DocumentLedger(indexer.database, shape.collection)
        theirs = ledger.rows()
        doomed = [key for key in theirs if key in removed or (key in rows and rows[key].state in _HIDDEN)]
        if doomed:
            indexer.store.delete_documents(shape.collection, doomed)
            ledger.remove(*doomed)
        for key, row in theirs.items():
            now = rows.get(key)
            if key not in doomed and now is not None and now.acl is not None and now.acl != row.acl:
                indexer.store.set_access(shape.collection, key, acl=now.acl)
                ledger.set_acl(key, now.acl)
