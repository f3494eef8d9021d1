"""A file on its way: chunks or a reason, made ahead by a thread of its own."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.ingestion.folder import SourceFile
from llmops.ingestion.prepare import document_id, fingerprint, prepare, read_ahead
from llmops.ingestion.spec import IngestionSpec


def spec(name: str = "handbook", **source: Any) -> IngestionSpec:
    folder = {"type": "folder", "path": ".", "acl": ["b", "a"], "metadata": {"team": "platform"}} | source
    return IngestionSpec.model_validate({"name": name, "description": "d", "source": folder}, strict=False)


def n_words(texts: Sequence[str]) -> list[int]:
    """Word counts in place of word pieces, with two special tokens."""
    return [2 + len(text.split()) for text in texts]


def write(folder: Path, uri: str, content: bytes) -> SourceFile:
    path = folder / uri
    path.write_bytes(content)
    return SourceFile(uri=uri, path=path, n_bytes=len(content))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_a_file_becomes_chunks_with_its_permissions_and_metadata(tmp_path: Path) -> None:
    raw = b"---\ntitle: Gate\nauthor: A\nteam: other\n---\n\nThe gate is closed.\n"
    item = prepare(write(tmp_path, "gate.md", raw), spec(), n_words)
    assert (item.state, item.reason, item.uri, item.title, item.n_bytes) == (
        "indexed",
        "",
        "gate.md",
        "Gate",
        len(raw),
    )
    assert item.content_hash == hashlib.sha256(raw).hexdigest()
    assert item.document_id == document_id(spec(), "gate.md")
    assert item.fingerprint == fingerprint(spec(), item.content_hash)
    [made] = item.chunks
    assert made.text == "The gate is closed."
    assert made.acl == ("a", "b")
    assert dict(made.metadata) == {"title": "Gate", "author": "A", "team": "platform"}


@pytest.mark.parametrize(
    ("uri", "content", "state", "reason"),
    [
        ("a.md", b"", "empty", "is empty"),
        ("a.html", b"<script>x</script>", "empty", "holds no text"),
        ("a.png", b"\x89PNG", "skipped", "no parser for .png files"),
        ("a.txt", b"\x00\x01\x02" * 50, "failed", "is binary data, not text"),
        ("a.docx", b"PK", "failed", "is not a DOCX: it is no ZIP archive"),
        ("b.md", b"x" * 2_000, "failed", "has 2,000 bytes; at most 1,000 are read (source.max_file_bytes)"),
    ],
)
def test_a_file_without_chunks_has_a_state_and_a_reason(
    tmp_path: Path, uri: str, content: bytes, state: str, reason: str
) -> None:
    item = prepare(write(tmp_path, uri, content), spec(max_file_bytes=1_000), n_words)
    assert (item.state, item.reason, item.chunks) == (state, reason, ())
    assert (item.fingerprint == "") == (uri == "b.md")  # what was not read is looked at again in the next run


def test_a_file_that_is_gone_fails_with_a_reason(tmp_path: Path) -> None:
    file = write(tmp_path, "gate.md", b"text")
    file.path.unlink()
    item = prepare(file, spec(), n_words)
    assert (item.state, item.reason) == ("failed", "cannot be read: No such file or directory")


def test_ids_belong_to_a_pipeline_and_a_path() -> None:
    known = {document_id(spec(name), uri) for name in ("handbook", "manual") for uri in ("a.md", "b/a.md")}
    assert len(known) == 4
    assert document_id(spec(), "a.md") == "a6a7ad2e413e58698b7bc35d38c02835"


@given(st.sampled_from([{"acl": ["a"]}, {"metadata": {"team": "other"}}, {"metadata": {}}]))
def test_a_fingerprint_changes_with_what_is_stored_and_with_nothing_else(change: dict[str, Any]) -> None:
    assert fingerprint(spec(**change), "00") != fingerprint(spec(), "00")
    assert fingerprint(spec(), "01") != fingerprint(spec(), "00")
    assert fingerprint(spec(acl=["a", "b"], include=["**/*.md"], max_file_bytes=5), "00") == fingerprint(
        spec(), "00"
    )


def test_files_come_in_their_order_and_the_reader_ends(tmp_path: Path) -> None:
    files = [write(tmp_path, f"{n:03}.txt", b"The gate is closed.") for n in range(150)]
    with read_ahead(files, spec(), n_words) as ready:
        assert [item.uri for item in ready] == [file.uri for file in files]
    assert readers() == []


def test_the_reader_does_not_run_far_ahead_and_stops_with_its_consumer(tmp_path: Path) -> None:
    counted: list[int] = []

    def count(texts: Sequence[str]) -> list[int]:
        counted.append(1)
        return n_words(texts)

    one = write(tmp_path, "one.txt", b"The gate is closed.")
    with read_ahead([one], spec(), count) as ready:
        list(ready)
    n_calls = len(counted)
    counted.clear()
    files = [write(tmp_path, f"{n:03}.txt", b"The gate is closed.") for n in range(300)]
    with pytest.raises(KeyError, match="stop"), read_ahead(files, spec(), count) as ready:
        assert len(list(islice(ready, 3))) == 3
        time.sleep(0.3)
        raise KeyError("stop")
    assert len(counted) <= (3 + 64 + 2) * n_calls
    assert readers() == []


def test_an_error_of_the_reader_is_raised_where_its_files_are_consumed(tmp_path: Path) -> None:
    files = [write(tmp_path, f"{n}.txt", b"The gate is closed.") for n in range(5)]

    def count(texts: Sequence[str]) -> list[int]:
        raise ValueError("the tokenizer is broken")

    with pytest.raises(ValueError, match="the tokenizer is broken"), read_ahead(files, spec(), count) as ready:
        list(ready)
    assert readers() == []
