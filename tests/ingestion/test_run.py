"""Ingestion runs over a real folder, ledger, store and encoder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmops.clients.database import open_database
from llmops.clients.protocols import Embedder, Filter
from llmops.clients.vectors.edge import EdgeStore
from llmops.errors import CollectionShapeError, ConfigurationError, SpecError
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.report import IngestReport, Progress
from llmops.ingestion.run import Options, ingest
from llmops.ingestion.shape import Indexer
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Point
from llmops.releases import CollectionBook
from llmops.tokens import Bm25, terms

ANYONE = Filter(principals=None)
PROSE = "The {name} is opened at nine and closed at five; whoever comes later rings the bell of the {name}. "


@dataclass
class Line:
    """A pipeline over `docs`, with everything it writes to."""

    root: Path
    indexer: Indexer

    def spec(self, name: str = "handbook", **changes: Any) -> IngestionSpec:
        source = {"type": "folder", "path": "docs", "acl": ["everyone"]} | changes.pop("source", {})
        fields = {"name": name, "description": "Pages of a test.", "source": source} | changes
        return IngestionSpec.model_validate(fields, strict=False).located(str(self.root / f"{name}.yaml"))

    def write(self, uri: str, text: str | bytes) -> Path:
        path = self.root / "docs" / uri
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def run(self, spec: IngestionSpec | None = None, **options: bool) -> IngestReport:
        given = Options(**({"accept_removals": True} | options))
        report = ingest(spec or self.spec(), self.indexer, options=given)
        n_problems = report.n_empty + report.n_skipped + report.n_failed + report.n_parked
        assert report.n_found == report.n_indexed + report.n_unchanged + n_problems
        assert len(report.problems) == n_problems
        assert all(problem.reason for problem in report.problems)
        return report

    def collection(self, name: str = "handbook") -> str:
        shape = self.indexer.collections.serving(name)
        assert shape is not None
        return shape.collection

    def points(self, name: str = "handbook") -> dict[str, Point]:
        return {p.chunk.chunk_id: p for p in self.indexer.store.scroll(self.collection(name), where=ANYONE)}

    def uris(self, name: str = "handbook") -> set[str]:
        return {point.chunk.uri for point in self.points(name).values()}

    def rows(self, name: str = "handbook") -> dict[str, DocumentRow]:
        rows = DocumentLedger(self.indexer.database, self.collection(name)).rows()
        return {row.uri: row for row in rows.values()}


@pytest.fixture
def line(tmp_path: Path, embedder: Embedder) -> Iterator[Line]:
    database = open_database("", tmp_path / "state" / "ledger.sqlite3")
    store = EdgeStore(tmp_path / "state" / "vectors")
    book = CollectionBook(database)
    (tmp_path / "docs").mkdir()
    yield Line(
        tmp_path, Indexer(database=database, store=store, collections=book, load_embedder=lambda _: embedder)
    )
    store.close()
    database.close()


def close(path: Path) -> None:
    """Take all permissions away."""
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.chmod(0o700)
        pytest.skip("this user may read what nobody may read")


def page(name: str, n_sections: int = 3, *, changed: int | None = None) -> str:
    """A page whose sections are a chunk each; section `changed` says something else."""
    sections = [f"## Part {n} of {name}\n\n" + PROSE.format(name=f"{name} {n}") * 3 for n in range(n_sections)]
    if changed is not None:
        sections[changed] += "It has changed."
    return f"# {name.title()}\n\n" + "\n\n".join(sections)


def test_the_first_run_indexes_and_the_second_embeds_nothing(line: Line) -> None:
    for name in ("gate", "door", "window"):
        line.write(f"house/{name}.md", page(name))
    first = line.run()
    assert (first.collection, first.n_indexed, first.n_embedded, first.n_chunks) == ("handbook-1", 3, 9, 9)
    assert first.is_complete
    before = line.points()
    for point in before.values():
        assert np.linalg.norm(point.dense) == pytest.approx(1, abs=1e-5)
        assert point.chunk.acl == ("everyone",)
    assert {row.state for row in line.rows().values()} == {"indexed"}
    assert sum(row.n_chunks for row in line.rows().values()) == 9
    second = line.run()
    assert (second.n_unchanged, second.n_indexed, second.n_embedded, second.n_chunks) == (3, 0, 0, 9)
    assert line.points().keys() == before.keys()


def test_points_hold_what_the_encoder_and_bm25_say(line: Line, embedder: Embedder) -> None:
    line.write("gate.md", page("gate", 4))
    line.run()
    shape = line.indexer.collections.serving("handbook")
    assert shape is not None
    points = line.points().values()
    assert shape.average_terms == pytest.approx(np.mean([len(terms(p.chunk.embedded_text)) for p in points]))
    assert (shape.embedder, shape.embedder_digest, shape.dimension) == (embedder.name, embedder.digest, 384)
    for point in points:
        np.testing.assert_allclose(point.dense, embedder.embed([point.chunk.embedded_text])[0], atol=1e-6)
        expected = Bm25(average_terms=shape.average_terms).document(point.chunk.embedded_text)
        assert point.sparse.indices == expected.indices
        np.testing.assert_allclose(point.sparse.values, expected.values, rtol=1e-6)


def test_the_average_is_of_all_chunks_of_all_folders(line: Line) -> None:
    for n in range(6):
        line.write(f"{n % 3}/{n}.md", page(f"thing {n}", n + 1))
    line.run()
    shape = line.indexer.collections.serving("handbook")
    assert shape is not None
    lengths = [len(terms(point.chunk.embedded_text)) for point in line.points().values()]
    assert shape.average_terms == pytest.approx(sum(lengths) / len(lengths))


def test_a_changed_page_replaces_its_chunks_and_keeps_the_vectors_of_the_others(line: Line) -> None:
    line.write("gate.md", page("gate", 4))
    line.write("door.md", page("door", 4))
    line.run()
    before = line.points()
    line.write("gate.md", page("gate", 4, changed=2))
    report = line.run()
    assert (report.n_indexed, report.n_unchanged) == (1, 1)
    assert (report.n_embedded, report.n_reused, report.n_chunks) == (1, 3, 8)
    after = line.points()
    [gone] = before.keys() - after.keys()
    [new] = after.keys() - before.keys()
    assert "It has changed." in after[new].chunk.text
    assert "It has changed." not in before[gone].chunk.text
    for chunk_id in before.keys() & after.keys():
        np.testing.assert_array_equal(before[chunk_id].dense, after[chunk_id].dense)


def test_a_page_is_never_absent_while_it_changes(line: Line, embedder: Embedder) -> None:
    line.write("gate.md", page("gate", 6))
    line.run()
    [gate] = {point.chunk.document_id for point in line.points().values()}
    query, stop = embedder.embed_query("when is the gate opened"), threading.Event()
    seen: list[bool] = []
    errors: list[BaseException] = []

    def look() -> None:
        where = Filter(principals=("everyone",), metadata={"document_id": gate})
        try:
            while not stop.is_set():
                dense, sparse = line.indexer.store.search(
                    line.collection(), dense=query, sparse=Bm25.query("gate"), limit=3, where=where
                )
                seen.append(bool(dense and sparse))
        except BaseException as error:  # noqa: BLE001 (it is raised again in the test's own thread)
            errors.append(error)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for n in range(4):
            line.write("gate.md", f"# Gate\n\nEdition {n}.\n\n" + page(f"gate of edition {n}", 6))
            assert line.run().n_indexed == 1
    finally:
        stop.set()
        looker.join()
    if errors:
        raise errors[0]
    assert len(seen) > 20
    assert all(seen)


def test_deleted_and_renamed_files_leave_the_collection(line: Line) -> None:
    gate, door = line.write("gate.md", page("gate")), line.write("door.md", page("door"))
    line.run()
    gate.unlink()
    door.rename(door.with_name("portal.md"))
    report = line.run()
    assert (report.n_found, report.n_indexed, report.n_removed) == (1, 1, 2)
    assert line.uris() == line.rows().keys() == {"portal.md"}


def test_a_file_that_becomes_empty_leaves_the_collection_and_says_so(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.write("door.md", page("door"))
    line.run()
    line.write("gate.md", "")
    for _ in range(2):
        report = line.run()
        assert (report.n_empty, report.n_unchanged) == (1, 1)
        assert [asdict(p) for p in report.problems] == [{"uri": "gate.md", "state": "empty", "reason": "is empty"}]
        assert report.is_complete
        assert line.uris() == {"door.md"}


def test_binary_and_unknown_files_are_skipped_or_fail_with_a_reason(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.write("picture.bin", b"\x89PNG\r\n\x1a\n" + bytes(100))
    line.write("notes.txt", bytes(range(256)) * 10)
    report = line.run()
    assert {p.uri: (p.state, p.reason) for p in report.problems} == {
        "picture.bin": ("skipped", "no parser for .bin files"),
        "notes.txt": ("failed", "is binary data, not text"),
    }
    assert not report.is_complete
    again = line.run()
    assert (again.n_unchanged, again.n_skipped, again.n_failed, again.n_embedded) == (1, 1, 1, 0)
    assert line.uris() == {"gate.md"}


def test_a_file_over_the_limit_is_refused_without_being_read(line: Line) -> None:
    line.write("gate.md", page("gate"))
    with (line.root / "docs" / "huge.md").open("wb") as file:
        file.truncate(60_000_000_000)  # a hole, which to read would take all memory
    report = line.run()
    reason = "has 60,000,000,000 bytes; at most 50,000,000 are read (source.max_file_bytes)"
    assert [p.reason for p in report.problems] == [reason]
    assert line.run(line.spec(source={"max_file_bytes": 100})).n_failed == 2
    assert line.uris() == {"gate.md"}


def test_a_page_that_cannot_be_read_any_more_keeps_its_earlier_version(line: Line) -> None:
    line.write("gate.txt", PROSE.format(name="gate"))
    line.write("door.txt", PROSE.format(name="door"))
    line.run()
    before = line.points()
    line.write("gate.txt", bytes(range(256)) * 4)
    for _ in range(2):
        report = line.run()
        assert (report.n_failed, report.n_unchanged, report.n_embedded) == (1, 1, 0)
        assert line.points().keys() == before.keys()
        row = line.rows()["gate.txt"]
        assert (row.state, row.n_chunks) == ("failed", 1)
        assert row.reason == "is binary data, not text (its earlier version stays searchable)"
    assert report.problems[0].reason == row.reason
    line.write("gate.txt", PROSE.format(name="gate"))
    report = line.run()
    assert (report.n_indexed, report.n_reused, report.n_embedded, report.is_complete) == (1, 1, 0, True)
    assert line.rows()["gate.txt"].reason == ""


def test_a_pipe_or_a_link_to_one_does_not_hold_up_the_run(line: Line) -> None:
    line.write("gate.md", page("gate"))
    os.mkfifo(line.root / "docs" / "pipe.md")
    (line.root / "docs" / "link.md").symlink_to("pipe.md")
    os.mkfifo(line.root / "outside.md")
    (line.root / "docs" / "away.md").symlink_to(line.root / "outside.md")
    line.run(line.spec(source={"follow_symlinks": True}))
    assert line.uris() == {"gate.md"}


def test_a_file_that_turns_into_a_folder_is_gone(line: Line) -> None:
    line.write("door.md", page("door"))
    path = line.write("gate.md", page("gate"))
    line.run()
    path.unlink()
    line.write("gate.md/inner.md", page("inner"))
    report = line.run()
    assert (report.n_removed, report.n_indexed) == (1, 1)
    assert line.uris() == {"door.md", "gate.md/inner.md"}


def test_a_file_without_permission_keeps_its_earlier_version(line: Line) -> None:
    path = line.write("gate.md", page("gate"))
    line.run()
    close(path)
    report = line.run()
    path.chmod(0o600)
    assert report.n_failed == 1
    assert "cannot be read: Permission denied" in report.problems[0].reason
    assert line.uris() == {"gate.md"}


def test_a_folder_that_cannot_be_listed_removes_nothing(line: Line) -> None:
    line.write("gate.md", page("gate"))
    folder = line.write("closed/door.md", page("door")).parent
    line.run()
    close(folder)
    try:
        report = line.run()
        rebuilt = line.run(rebuild=True)
    finally:
        folder.chmod(0o700)
    for said in (report, rebuilt):
        assert said.n_removed == 0
        assert not said.is_complete
        assert any("closed: Permission denied" in problem for problem in said.listing_problems)
    assert line.uris() == {"gate.md", "closed/door.md"}


def test_a_part_that_cannot_be_listed_removes_nothing(line: Line) -> None:
    """As above, in a way that holds for root too: a link that leads nowhere."""
    line.write("gate.md", page("gate"))
    line.write("door.md", page("door")).unlink()
    line.write("door.md", page("door"))
    line.run()
    (line.root / "docs" / "door.md").unlink()
    (line.root / "docs" / "broken.md").symlink_to("nowhere.md")
    report = line.run()
    assert (report.n_removed, report.is_complete) == (0, False)
    assert report.listing_problems == ["broken.md: No such file or directory"]
    assert line.uris() == {"gate.md", "door.md"}
    assert line.run(rebuild=True).collection == "handbook-2"
    assert (line.collection(), line.uris()) == ("handbook-1", {"gate.md", "door.md"})
    (line.root / "docs" / "broken.md").unlink()
    assert line.run(rebuild=True).is_complete
    assert (line.collection(), line.uris()) == ("handbook-2", {"gate.md"})


def test_new_metadata_is_written_without_embedding(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.run()
    before = line.points()
    change = {"metadata": {"product": "gate", "internal": True}}
    report = line.run(line.spec(source=change))
    assert (report.n_indexed, report.n_embedded, report.n_reused) == (1, 0, 3)
    for chunk_id, point in line.points().items():
        np.testing.assert_array_equal(point.dense, before[chunk_id].dense)
        assert dict(point.chunk.metadata) == change["metadata"]
    assert line.run(line.spec(source=change)).n_unchanged == 1


def test_new_readers_are_written_and_nothing_else_is(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.write("broken.txt", bytes(range(256)) * 4)
    line.run()
    before = line.points()
    change = {"acl": ["team-b", "team-a"]}
    report = line.run(line.spec(source=change))
    assert (report.n_indexed, report.n_unchanged, report.n_failed, report.n_permissions) == (0, 1, 1, 2)
    for chunk_id, point in line.points().items():
        np.testing.assert_array_equal(point.dense, before[chunk_id].dense)
        assert point.chunk.acl == ("team-a", "team-b")
    assert {row.acl for row in line.rows().values()} == {("team-a", "team-b")}
    assert line.run(line.spec(source=change)).n_permissions == 0


def test_another_chunking_needs_a_rebuild(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.run()
    spec = line.spec(chunk={"max_tokens": 64, "min_tokens": 8})
    cure = r"collection 'handbook-1' was built with chunking .*; run `llmops ingest run handbook --rebuild`"
    with pytest.raises(CollectionShapeError, match=cure):
        line.run(spec)
    report = line.run(spec, rebuild=True)
    assert report.collection == line.collection() == "handbook-2"
    assert all(point.chunk.n_tokens <= 64 for point in line.points().values())
    assert line.run(spec).n_unchanged == 1


def test_another_encoder_needs_a_rebuild(line: Line, embedder: Embedder) -> None:
    line.write("gate.md", page("gate"))
    line.run()

    class Retrained:
        name, digest, dimension, max_tokens = "retrained", "0" * 64, embedder.dimension, embedder.max_tokens
        count_tokens, embed, embed_query = embedder.count_tokens, embedder.embed, embedder.embed_query

    line.indexer = replace(line.indexer, load_embedder=lambda _: Retrained())
    with pytest.raises(CollectionShapeError, match="built with embedder 'all-MiniLM-L6-v2', which differs"):
        line.run()
    assert line.run(rebuild=True).n_embedded == 3


def test_chunks_larger_than_the_encoder_reads_are_refused(line: Line) -> None:
    with pytest.raises(
        ConfigurationError, match=r"max_tokens 300 is more than 'all-MiniLM-L6-v2' reads; at most 256"
    ):
        line.run(line.spec(chunk={"max_tokens": 300, "min_tokens": 40}))


def test_a_rebuild_stands_beside_the_old_collection_until_it_is_complete(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.run()
    while_building: list[str] = []

    def look(progress: Progress) -> None:
        while_building.append(line.collection())

    ingest(line.spec(), line.indexer, options=Options(rebuild=True), on_progress=look)
    assert set(while_building) == {"handbook-1"}
    assert line.collection() == "handbook-2"
    assert line.indexer.store.collections() == ["handbook-1", "handbook-2"]
    assert line.run(rebuild=True).collection == "handbook-3"
    assert line.indexer.store.collections() == ["handbook-2", "handbook-3"]
    assert [shape.collection for shape in line.indexer.collections.all()] == ["handbook-2", "handbook-3"]
    assert DocumentLedger(line.indexer.database, "handbook-1").rows() == {}
    assert line.points().keys()


def test_lost_vectors_are_built_again(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.run()
    line.indexer.store.drop("handbook-1")
    assert line.run().n_embedded == 3
    assert line.run().n_unchanged == 1
    shape = line.indexer.collections.serving("handbook")
    assert shape is not None
    assert shape.state == "ready"
    assert line.run(rebuild=True).collection == line.collection() != shape.collection
    assert line.uris() == {"gate.md"}


def test_a_missing_source_is_named_with_its_field(line: Line) -> None:
    with pytest.raises(SpecError, match=r"handbook\.yaml: source\.path: no folder .*nowhere"):
        line.run(line.spec(source={"path": "nowhere"}))


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_source_that_became_empty_holds_its_documents_until_told_otherwise(line: Line, rebuild: bool) -> None:
    path = line.write("gate.md", page("gate"))
    line.run()
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"holds 1 documents; nothing was removed: .* --allow-empty"):
        line.run(rebuild=rebuild)
    assert line.uris() == {"gate.md"}
    report = line.run(allow_empty=True, rebuild=rebuild)
    assert (report.n_found, report.n_chunks) == (0, 0)
    assert line.uris() == set()


def test_what_is_found_first_is_measured_even_if_the_source_was_empty_before(line: Line) -> None:
    """A mean length of nothing would spoil the weights of everything that comes later."""
    assert line.run().n_found == 0
    line.write("empty.md", "")
    assert line.run().n_empty == 1
    line.write("gate.md", page("gate"))
    line.run()
    shape = line.indexer.collections.serving("handbook")
    assert shape is not None
    lengths = [len(terms(point.chunk.embedded_text)) for point in line.points().values()]
    assert shape.average_terms == pytest.approx(sum(lengths) / len(lengths))


def test_links_are_followed_only_within_the_folder_unless_told_otherwise(line: Line) -> None:
    line.write("inner/gate.md", page("gate"))
    outside = line.root / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text(page("secret"))
    docs = line.root / "docs"
    (docs / "inner" / "cycle").symlink_to(docs)
    (docs / "away").symlink_to(outside)
    (docs / "secret.md").symlink_to(outside / "secret.md")
    assert line.run().n_found == 1
    assert line.uris() == {"inner/gate.md"}
    line.run(line.spec(source={"follow_symlinks": True}))
    assert line.uris() == {"inner/gate.md", "secret.md", "away/secret.md"}


def test_a_name_that_is_not_utf_8_is_reported_and_the_others_are_indexed(line: Line) -> None:
    line.write("gate.md", page("gate"))
    (line.root / "docs" / os.fsdecode(b"caf\xe9.md")).write_text(page("cafe"))
    report = line.run()
    assert line.uris() == {"gate.md"}
    assert report.n_indexed == 1
    assert any("not UTF-8" in problem for problem in report.listing_problems)


@pytest.mark.parametrize("weight", [".nan", "123456789012345678901234567890"])
def test_odd_front_matter_does_not_stop_the_run(line: Line, weight: str) -> None:
    line.write("odd.md", f"---\nweight: {weight}\n---\n" + page("odd"))
    line.write("gate.md", page("gate"))
    assert line.run().n_indexed == 2


def test_two_pipelines_do_not_disturb_each_other(line: Line) -> None:
    line.write("gate.md", page("gate"))
    line.run()
    (line.root / "more").mkdir()
    (line.root / "more" / "gate.md").write_text(page("other gate"))
    other = line.spec("manual", source={"path": "more", "acl": ["staff"]})
    assert line.run(other).n_indexed == 1
    assert {p.chunk.acl for p in line.points("manual").values()} == {("staff",)}
    assert not line.points().keys() & line.points("manual").keys()
    (line.root / "more" / "gate.md").unlink()
    line.run(other, allow_empty=True)
    assert line.run().n_unchanged == 1
    assert line.uris() == {"gate.md"}
    assert line.uris("manual") == set()


def test_two_pipelines_may_run_at_the_same_time(line: Line) -> None:
    (line.root / "more").mkdir()
    for n in range(6):
        line.write(f"{n}.rst", f"Gate\n====\n\n.. special-{n}:: {PROSE.format(name='gate')}\n")
        (line.root / "more" / f"{n}.rst").write_text(f"Door\n====\n\n:role-{n}:`x` {PROSE.format(name='door')}\n")
    specs = [line.spec(), line.spec("manual", source={"path": "more"})]
    reports: list[IngestReport] = []
    threads = [threading.Thread(target=lambda s=spec: reports.append(line.run(s))) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.problems for report in reports] == [[], []]
    assert [report.n_indexed for report in reports] == [6, 6]
    assert len(line.points()) == len(line.points("manual")) == 6


def test_progress_counts_every_document_once(line: Line) -> None:
    for name in ("gate", "door", "window"):
        line.write(f"{name}.md", page(name))
    line.write("empty.md", "")
    told: list[Progress] = []
    tell: Callable[[Progress], None] = told.append
    report = ingest(line.spec(), line.indexer, on_progress=tell)
    scanned = [p.n_done for p in told if p.stage == "scan"]
    assert scanned == [1, 2, 3, 4]
    indexed = [p.n_done for p in told if p.stage == "index"]
    assert indexed == sorted(indexed)
    assert (indexed[-1], told[-1].n_embedded) == (4, report.n_embedded)
    assert {p.n_documents for p in told if p.stage != "list"} == {4}
    assert [p.n_done for p in told if p.stage == "list"] == [4]
