"""Rows are found under the header of their table."""

from __future__ import annotations

from llmops.clients.protocols import Embedder
from llmops.ingestion.chunking import chunk_document
from llmops.ingestion.chunking.spec import TableRowsSpec
from llmops.ingestion.parsing import parse
from llmops.records import Document
from tests.ingestion.test_chunking import document, markdown

ROWS = [f"| Country {n} | Capital {n} |" for n in range(12)]
HEADER = ["| Country | Capital |", "| --- | --- |"]
SOURCE = "\n".join(["# Capitals", "", "All of them.", "", *HEADER, *ROWS, "", "End."])


def test_every_chunk_of_rows_is_embedded_with_the_header(embedder: Embedder) -> None:
    spec = TableRowsSpec(strategy="table_rows", max_rows=5)
    chunks = chunk_document(markdown(SOURCE), spec, count_tokens=embedder.count_tokens, window=256)
    prose, first, second, third, end = chunks
    assert (prose.text, end.text) == ("All of them.", "End.")
    assert first.text.splitlines()[0] == "Country | Capital"
    assert first.heading_path == ("Capitals",)
    assert [len(c.text.splitlines()) for c in (first, second, third)] == [6, 5, 2]
    assert second.heading_path == third.heading_path == ("Capitals", "Country | Capital")
    assert second.embedded_text.startswith("Capitals > Country | Capital\nCountry 5 | Capital 5\n")


def test_rows_have_the_lines_of_their_source(embedder: Embedder) -> None:
    spec = TableRowsSpec(strategy="table_rows", max_rows=5)
    chunks = chunk_document(markdown(SOURCE), spec, count_tokens=embedder.count_tokens, window=256)
    lines = SOURCE.splitlines()
    assert [c.locator for c in chunks] == ["line 3", "lines 5-11", "lines 12-16", "lines 17-18", "line 20"]
    assert lines[11] == ROWS[5]


def test_as_many_rows_as_fit(embedder: Embedder) -> None:
    spec = TableRowsSpec(strategy="table_rows", max_tokens=32, min_tokens=0)
    chunks = chunk_document(markdown(SOURCE), spec, count_tokens=embedder.count_tokens, window=256)
    tables = [c for c in chunks if "|" in c.text]
    assert len(tables) > 2
    assert all(c.n_tokens <= 32 and "Country | Capital" in c.embedded_text for c in tables)
    assert [row for c in tables for row in c.text.splitlines()][1:] == [row.strip("| ") for row in ROWS]


def test_a_caption_is_part_of_the_header(embedder: Embedder) -> None:
    table = "Capitals of the world\nCountry | Capital\nFrance | Paris\nPeru | Lima"
    spec = TableRowsSpec(strategy="table_rows", max_rows=1)
    made = document([("table", 0, table)])
    first, second = chunk_document(made, spec, count_tokens=embedder.count_tokens, window=256)
    assert first.text == "Capitals of the world\nCountry | Capital\nFrance | Paris"
    assert second.heading_path == ("Handbook", "Capitals of the world", "Country | Capital")


def test_a_header_wider_than_a_chunk_leaves_room_for_its_rows(embedder: Embedder) -> None:
    header, row = " | ".join(f"column number {n}" for n in range(80)), " | ".join(f"cell {n}" for n in range(80))
    spec = TableRowsSpec(strategy="table_rows", max_tokens=64, min_tokens=0)
    made = document([("table", 0, f"{header}\n{row}")])
    chunks = chunk_document(made, spec, count_tokens=embedder.count_tokens, window=256)
    assert all(c.n_tokens <= 64 for c in chunks)
    cells = [c for c in chunks if c.text.startswith("cell 0")]
    assert cells[0].heading_path[-1].startswith("column number 0 | column number 1")


def test_a_large_file_of_rows_is_cut_in_one_pass(embedder: Embedder) -> None:
    raw = "\n".join(["id,name", *(f"{n},name {n}" for n in range(4000))]).encode()
    parsed = parse(raw, uri="names.csv")
    base = document([])
    made = Document(
        document_id="d",
        uri="names.csv",
        title=parsed.title,
        text=parsed.text,
        blocks=parsed.blocks,
        media_type=parsed.media_type,
        content_hash="",
        acl=base.acl,
    )
    spec = TableRowsSpec(strategy="table_rows", max_rows=10)
    chunks = chunk_document(made, spec, count_tokens=embedder.count_tokens, window=256)
    assert len(chunks) == 400
    assert chunks[-1].heading_path[-1] == "id | name"
    assert chunks[-1].locator == "lines 3992-4001"
