"""A document on its way: chunks or a reason, made ahead by threads of their own."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import SourceDeniedError, SourceError
from llmops.ingestion.listing import document_id
from llmops.ingestion.prepare import CountTokens, Prepared, Recipe, fingerprint, listed_mark, prepare, read_ahead
from llmops.ingestion.sources.folder import Folder
from llmops.ingestion.sources.protocol import Fetched, Item
from llmops.ingestion.spec import FolderSource, IngestionSpec


def spec(name: str = "handbook", **source: Any) -> IngestionSpec:
    folder = {"type": "folder", "path": ".", "acl": ["b", "a"], "metadata": {"team": "platform"}} | source
    return IngestionSpec.model_validate({"name": name, "description": "d", "source": folder}, strict=False)


def n_words(texts: Sequence[str]) -> list[int]:
    """Word counts in place of word pieces, with two special tokens."""
    return [2 + len(text.split()) for text in texts]


def write(folder: Path, uri: str, content: bytes) -> Item:
    (folder / uri).write_bytes(content)
    return Item(uri=uri, n_bytes=len(content), acl=("a", "b"), metadata={"team": "platform"})


def recipe(folder: Path, spec: IngestionSpec, count: CountTokens = n_words) -> Recipe:
    assert isinstance(spec.source, FolderSource)
    source = Folder(spec.source, str(folder / "spec.yaml"))
    return Recipe(spec=spec, source=source, count_tokens=count, window=256)


def prepared(folder: Path, item: Item, **source: Any) -> Prepared:
    return prepare(item, recipe(folder, spec(**source)))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_a_file_becomes_chunks_with_its_permissions_and_metadata(tmp_path: Path) -> None:
    raw = b"---\ntitle: Gate\nauthor: A\nteam: other\n---\n\nThe gate is closed.\n"
    listed = write(tmp_path, "gate.md", raw)
    item = prepared(tmp_path, listed)
    assert (item.state, item.reason, item.uri, item.title, item.n_bytes) == (
        "indexed",
        "",
        "gate.md",
        "Gate",
        len(raw),
    )
    assert item.content_hash == hashlib.sha256(raw).hexdigest()
    assert item.document_id == document_id(spec(), "gate.md")
    assert item.fingerprint == fingerprint(spec(), listed, item.content_hash)
    [made] = item.chunks
    assert made.text == "The gate is closed."
    assert made.acl == ("a", "b")
    assert dict(made.metadata) == {"title": "Gate", "author": "A", "team": "platform"}


@pytest.mark.parametrize(
    ("uri", "content", "state", "reason"),
    [
        ("a.md", b"", "empty", "is empty"),
        ("a.html", b"<script>x</script>", "empty", "holds no text"),
        ("a.bin", b"\x89PNG", "skipped", "no parser for .bin files"),
        ("a.txt", b"\x00\x01\x02" * 50, "failed", "is binary data, not text"),
        ("a.docx", b"PK", "failed", "is damaged, or no ZIP archive (File is not a zip file)"),
        ("b.md", b"x" * 2_000, "failed", "has 2,000 bytes; at most 1,000 are read (source.max_file_bytes)"),
    ],
)
def test_a_file_without_chunks_has_a_state_and_a_reason(
    tmp_path: Path, uri: str, content: bytes, state: str, reason: str
) -> None:
    item = prepared(tmp_path, write(tmp_path, uri, content), max_file_bytes=1_000)
    assert (item.state, item.reason, item.chunks) == (state, reason, ())
    assert (item.fingerprint == "") == (uri == "b.md")  # what was not read is looked at again in the next run


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    listed = write(tmp_path, "gate.md", b"text")
    (tmp_path / "gate.md").unlink()
    item = prepared(tmp_path, listed)
    assert (item.is_gone, item.reason) == (True, "was removed while the folder was read")


def test_ids_belong_to_a_pipeline_and_a_path() -> None:
    known = {document_id(spec(name), uri) for name in ("handbook", "manual") for uri in ("a.md", "b/a.md")}
    assert len(known) == 4
    assert document_id(spec(), "a.md") == "a6a7ad2e413e58698b7bc35d38c02835"


@given(st.sampled_from([{"metadata": {"team": "other"}}, {"metadata": {}}, {"title": "T"}, {"url": "u"}]))
def test_a_fingerprint_changes_with_what_is_stored_and_not_with_who_may_read_it(change: dict[str, Any]) -> None:
    item = Item(uri="a.md", acl=("a",), metadata={"team": "platform"})
    mark = fingerprint(spec(), item, "00")
    assert fingerprint(spec(), replace(item, **change), "00") != mark
    assert fingerprint(spec(), item, "01") != mark
    assert fingerprint(spec(), replace(item, acl=("b",)), "00") == mark
    assert fingerprint(spec(include=["**/*.md"], max_file_bytes=5), item, "00") == mark


def test_a_document_without_a_version_has_no_mark_and_one_with_a_version_changes_with_it() -> None:
    item = Item(uri="a.md", acl=None)
    assert listed_mark(spec(), item) == ""
    first = listed_mark(spec(), replace(item, version="1"))
    assert first and first == listed_mark(spec(), item, "1") != listed_mark(spec(), replace(item, version="2"))


class Failing:
    """A source whose every fetch fails in the same way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def pages(self, checkpoint: Any, since: Any) -> Any:  # noqa: ARG002 (the protocol names them)
        return iter(())

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:  # noqa: ARG002 (the protocol names them)
        raise self.error

    def groups(self) -> dict[str, tuple[str, ...]]:
        return {}

    def close(self) -> None:
        pass


def test_a_source_that_fails_is_the_document_s_reason_and_one_that_refuses_us_ends_the_run() -> None:
    item = Item(uri="a.md", acl=("a",))
    away = Recipe(spec=spec(), source=Failing(SourceError("is away")), count_tokens=n_words, window=256)
    made = prepare(item, away)
    assert (made.state, made.reason, made.source_error) == ("failed", "is away", "is away")
    denied = Recipe(spec=spec(), source=Failing(SourceDeniedError("no")), count_tokens=n_words, window=256)
    with pytest.raises(SourceDeniedError, match="no"):
        prepare(item, denied)


def test_files_come_in_their_order_and_the_reader_ends(tmp_path: Path) -> None:
    files = [write(tmp_path, f"{n:03}.txt", b"The gate is closed.") for n in range(150)]
    with read_ahead(files, recipe(tmp_path, spec())) as ready:
        assert [item.uri for item in ready] == [file.uri for file in files]
    assert readers() == []


def test_the_reader_does_not_run_far_ahead_and_stops_with_its_consumer(tmp_path: Path) -> None:
    counted: list[int] = []

    def count(texts: Sequence[str]) -> list[int]:
        counted.append(1)
        return n_words(texts)

    one = write(tmp_path, "one.txt", b"The gate is closed.")
    with read_ahead([one], recipe(tmp_path, spec(), count)) as ready:
        list(ready)
    n_calls = len(counted)
    counted.clear()
    files = [write(tmp_path, f"{n:03}.txt", b"The gate is closed.") for n in range(300)]
    with pytest.raises(KeyError, match="stop"), read_ahead(files, recipe(tmp_path, spec(), count)) as ready:
        assert len(list(islice(ready, 3))) == 3
        time.sleep(0.3)
        raise KeyError("stop")
    assert len(counted) <= (3 + 64 + 2) * n_calls
    assert readers() == []


def test_an_error_of_the_reader_is_raised_where_its_files_are_consumed(tmp_path: Path) -> None:
    files = [write(tmp_path, f"{n}.txt", b"The gate is closed.") for n in range(5)]

    def count(texts: Sequence[str]) -> list[int]:
        raise ValueError("the tokenizer is broken")

    with (
        pytest.raises(ValueError, match="the tokenizer is broken"),
        read_ahead(files, recipe(tmp_path, spec(), count)) as ready,
    ):
        list(ready)
    assert readers() == []
