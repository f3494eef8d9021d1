"""`kill -9` in the middle of `llmops ingest`: the next run ends where an undisturbed one would have ended."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmops.clients.protocols import Filter
from llmops.clients.vectors.edge import EdgeStore
from llmops.records import Point

N_FILES, N_SECTIONS = 40, 8  # 320 chunks: more than one window of writing
N_RANDOM_KILLS = int(os.environ.get("LLMOPS_TEST_KILLS", "0"))
LLMOPS = (sys.executable, "-c", "from llmops.cli import main; main()")
Moment = Callable[[Path], bool]


def new_workspace(root: Path) -> Path:
    (root / "ingestion").mkdir(parents=True)
    (root / "serving").mkdir()
    (root / "docs").mkdir()
    source = {"type": "folder", "path": "../docs", "acl": ["everyone"]}
    spec = {
        "name": "docs",
        "description": "Pages.",
        "source": source,
        "chunk": {"max_tokens": 64, "min_tokens": 0},
    }
    (root / "ingestion" / "docs.yaml").write_text(json.dumps(spec))  # JSON is YAML
    (root / "serving" / "models.yaml").write_text(json.dumps({"endpoints": {"default": {"type": "extractive"}}}))
    for n in range(N_FILES):
        sections = [
            f"## Part {m}\n\nRule {m} of page {n} says that gate {n * m} is closed." for m in range(N_SECTIONS)
        ]
        (root / "docs" / f"page-{n:02}.md").write_text(f"# Page {n}\n\n" + "\n\n".join(sections))
    return root


def edit(root: Path) -> None:
    """Another edition: ten pages changed in one section, eight gone, one new."""
    for n in range(10):
        page = root / "docs" / f"page-{n:02}.md"
        page.write_text(page.read_text().replace("Rule 3", "The changed rule 3"))
    for n in range(10, 18):
        (root / "docs" / f"page-{n:02}.md").unlink()
    (root / "docs" / "page-99.md").write_text("# Page 99\n\nIt is new.")


def start(root: Path, *options: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMOPS_")}
    return subprocess.Popen(
        [*LLMOPS, "ingest", "run", "docs", "--json", "-w", str(root), *options],
        env={**environment, "HF_HUB_OFFLINE": "1", "LLMOPS_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(root: Path, *options: str) -> dict[str, Any]:
    said, errors = start(root, *options).communicate(timeout=100)
    assert said, errors
    [report] = json.loads(said)
    assert report["is_complete"], report
    found: dict[str, Any] = report
    return found


def kill_at(moment: Moment, root: Path, *options: str) -> bool:
    """Run until the moment comes and kill; False when the run was over before."""
    process = start(root, *options)
    while process.poll() is None and not moment(root):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def rows(root: Path, query: str) -> int:
    """The number a query gives, or 0 while there is no ledger."""
    path = root / ".llmops" / "ledger.sqlite3"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
            return int(ledger.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # its tables are being made
        return 0


def a_collection_is_made(root: Path) -> bool:
    return rows(root, "SELECT count(*) FROM collections") > 0


def documents_are_pending(root: Path) -> bool:
    return rows(root, "SELECT count(*) FROM documents WHERE state = 'pending'") > 0


def the_first_window_is_indexed(root: Path) -> bool:
    return 0 < rows(root, "SELECT count(*) FROM documents WHERE state = 'indexed'") < N_FILES


def a_page_is_removed(root: Path) -> bool:
    return rows(root, "SELECT count(*) FROM documents WHERE uri LIKE 'page-1%'") < 10


class PointsAreWritten:
    """When the files of the vectors change after documents have become pending."""

    def __init__(self) -> None:
        self._before: list[tuple[str, int, int]] | None = None

    def __call__(self, root: Path) -> bool:
        if self._before is None:
            self._before = self._files(root) if documents_are_pending(root) else None
            return False
        return self._files(root) != self._before

    @staticmethod
    def _files(root: Path) -> list[tuple[str, int, int]]:
        found = []
        for folder, _, names in os.walk(root / ".llmops" / "vectors"):
            for name in names:
                try:
                    info = (Path(folder) / name).stat()
                except FileNotFoundError:
                    continue
                found.append((f"{folder}/{name}", info.st_size, info.st_mtime_ns))
        return sorted(found)


def after(seconds: float) -> Moment:
    """Some seconds after it is asked for the first time."""
    ends: list[float] = []

    def is_over(_: Path) -> bool:
        ends.append(time.monotonic() + seconds)
        return time.monotonic() > ends[0]

    return is_over


def stored(root: Path) -> tuple[dict[str, Point], dict[str, tuple[str, str, int, str]]]:
    """Every point, and what the ledger says of every document."""
    store = EdgeStore(root / ".llmops" / "vectors")
    [collection] = store.collections()
    points = {p.chunk.chunk_id: p for p in store.scroll(collection, where=Filter(principals=None))}
    store.close()
    query = "SELECT uri, state, reason, n_chunks, fingerprint FROM documents"
    with closing(sqlite3.connect(root / ".llmops" / "ledger.sqlite3")) as ledger:
        known = {uri: (state, reason, n, mark) for uri, state, reason, n, mark in ledger.execute(query)}
    return points, known


def assert_equal_stores(one: Path, other: Path) -> None:
    (points, known), (expected, expected_known) = stored(one), stored(other)
    assert known == expected_known
    assert points.keys() == expected.keys()
    for chunk_id, point in points.items():
        assert point.chunk == expected[chunk_id].chunk
        assert point.sparse == expected[chunk_id].sparse
        np.testing.assert_allclose(point.dense, expected[chunk_id].dense, atol=1e-6)


@pytest.mark.slow
def test_a_killed_ingestion_goes_on_to_the_same_collection(tmp_path: Path) -> None:
    clean, killed = new_workspace(tmp_path / "clean"), new_workspace(tmp_path / "killed")
    assert finish(clean)["n_embedded"] == N_FILES * N_SECTIONS
    shutil.copytree(clean / ".llmops" / "models", killed / ".llmops" / "models")

    building: list[Moment] = [
        a_collection_is_made,
        documents_are_pending,
        PointsAreWritten(),
        the_first_window_is_indexed,
    ]
    building += [after(random.uniform(0.5, 3.0)) for _ in range(N_RANDOM_KILLS)]
    n_kills = sum(kill_at(moment, killed) for moment in building)
    assert n_kills >= 4
    report = finish(killed)
    assert report["n_embedded"] < N_FILES * N_SECTIONS  # what was indexed before is not embedded again
    assert_equal_stores(killed, clean)

    edit(clean)
    edit(killed)
    finish(clean)
    changing: list[Moment] = [documents_are_pending, PointsAreWritten(), a_page_is_removed]
    n_kills = sum(kill_at(moment, killed) for moment in changing)
    assert n_kills >= 2
    finish(killed)
    assert_equal_stores(killed, clean)
    assert finish(killed)["n_unchanged"] == N_FILES - 8 + 1


@pytest.mark.slow
def test_a_killed_rebuild_leaves_the_old_collection_answering(tmp_path: Path) -> None:
    root = new_workspace(tmp_path / "workspace")
    finish(root)

    def a_second_is_being_filled(root: Path) -> bool:
        return rows(root, "SELECT count(*) FROM documents WHERE collection = 'docs-2'") > 0

    assert kill_at(a_second_is_being_filled, root, "--rebuild")
    assert rows(root, "SELECT count(*) FROM aliases WHERE target = 'docs-1'") == 1
    assert finish(root)["n_unchanged"] == N_FILES
    report = finish(root, "--rebuild")
    assert (report["collection"], report["n_chunks"]) == ("docs-2", N_FILES * N_SECTIONS)
    assert rows(root, "SELECT count(*) FROM aliases WHERE target = 'docs-2'") == 1
