"""One row says what became of each document."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from llmops.clients.database import Database, open_database
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.records import DocumentState

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def row(
    document_id: str, *, state: DocumentState = "indexed", uri: str = "", collection: str = "c-1"
) -> DocumentRow:
    return DocumentRow(
        collection=collection,
        document_id=document_id,
        uri=uri or f"{document_id}.md",
        title="T",
        state=state,
        reason="",
        n_chunks=1,
        n_bytes=2,
        content_hash="h",
        fingerprint="f",
        updated_at=NOW,
    )


def test_rows_come_back_in_the_order_of_their_path(database: Database) -> None:
    ledger = DocumentLedger(database, "c-1")
    rows = [row("a", uri="z.md"), row("b", uri="a.md")]
    ledger.put(rows)
    assert list(ledger.rows().values()) == [rows[1], rows[0]]
    assert list(ledger.rows()) == ["b", "a"]


def test_a_row_put_again_replaces_the_old_one(database: Database) -> None:
    ledger = DocumentLedger(database, "c-1")
    ledger.put([row("a"), row("b")])
    changed = replace(row("a"), state="failed", reason="no text", n_chunks=0, fingerprint="g")
    ledger.put([changed, row("c")])
    assert ledger.rows() == {"a": changed, "b": row("b"), "c": row("c")}


def test_nothing_may_be_put(database: Database) -> None:
    DocumentLedger(database, "c-1").put([])
    assert DocumentLedger(database, "c-1").rows() == {}


def test_many_rows_go_in_at_once(database: Database) -> None:
    ledger = DocumentLedger(database, "c-1")
    ledger.put([row(str(number)) for number in range(3000)])
    assert len(ledger.rows()) == 3000


def test_collections_do_not_see_each_other(database: Database) -> None:
    one, two = DocumentLedger(database, "c-1"), DocumentLedger(database, "c-2")
    one.put([row("a"), row("b")])
    two.put([row("a", collection="c-2", state="empty")])
    one.remove("b")
    one.remove("never there")
    assert one.rows() == {"a": row("a")}
    one.clear()
    assert one.rows() == {}
    assert two.counts() == {"empty": 1}


def test_states_are_counted(database: Database) -> None:
    ledger = DocumentLedger(database, "c-1")
    ledger.put([row("a"), row("b", state="failed"), row("c", state="failed"), row("d", state="pending")])
    assert ledger.counts() == {"indexed": 1, "failed": 2, "pending": 1}


def test_rows_outlive_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        database = open_database("", tmp_path / "ledger.sqlite3")
        ledger = DocumentLedger(database, "c-1")
        ledger.put([row("a")])
        assert ledger.rows() == {"a": row("a")}
        database.close()
