"""A workspace of several batches, with real processes that work on it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from llmops.clients.database import open_database
from llmops.clients.protocols import Filter
from llmops.clients.vectors.edge import EdgeStore
from llmops.ingestion.documents import DocumentLedger
from llmops.records import Point
from llmops.releases import CollectionBook
from llmops.workspace.ownership import find_owner
from tests.gateway.running import eventually

LLMOPS = (sys.executable, "-c", "from llmops.cli import main; main()")
N_PAGES = 450  # three batches of at most 200
ENDED = ("done", "held", "incomplete", "failed", "cancelled")
Row = tuple[str, str, int, str]


def write_site(root: Path, *, n_pages: int = N_PAGES, schedule: str = "") -> Path:
    """Pages of three chunks each."""
    for name in ("ingestion", "serving", "docs"):
        (root / name).mkdir(parents=True)
    write_pipeline(root, schedule=schedule)
    (root / "serving" / "models.yaml").write_text(json.dumps({"endpoints": {"default": {"type": "extractive"}}}))
    for n in range(n_pages):
        write_page(root, n, f"Gate {n} of the northern wall is closed on the {n % 28 + 1}th of each month.")
    return root


def write_pipeline(root: Path, *, schedule: str = "") -> None:
    spec = {
        "name": "docs",
        "description": "Pages.",
        "source": {"type": "folder", "path": "../docs", "acl": ["everyone"]},
        "chunk": {"max_tokens": 64, "min_tokens": 0},
        "sync": {"schedule": schedule} if schedule else {},
    }
    path = root / "ingestion" / "docs.yaml"
    path.with_suffix(".new").write_text(json.dumps(spec))  # JSON is YAML
    path.with_suffix(".new").replace(path)


def write_page(root: Path, n: int, text: str) -> None:
    parts = "\n\n".join(f"## Part {m}\n\n{text} This is rule {m} of page {n}." for m in range(3))
    (root / "docs" / f"page-{n:03}.md").write_text(f"# Page {n}\n\n{parts}")


def edit(root: Path) -> None:
    """Another edition: 230 pages changed, which are two batches, 30 gone, one new."""
    for n in range(230):
        write_page(root, n, f"Gate {n} of the southern wall is open on the {n % 28 + 1}th of each month.")
    for n in range(300, 330):
        (root / "docs" / f"page-{n:03}.md").unlink()
    write_page(root, 999, "Gate 999 is new.")


@dataclass
class Process:
    """A running command. `said` is the JSON that it greeted with."""

    popen: subprocess.Popen[str]
    said: dict[str, Any] = field(default_factory=dict)

    def end(self, number: int) -> None:
        self.popen.send_signal(number)
        self.popen.communicate(timeout=60)


@dataclass(frozen=True)
class Site:
    """The workspace, and how its processes are called."""

    root: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self, *command: str) -> Iterator[Process]:
        """A command that runs until it is stopped."""
        popen = self._start(*command)
        try:
            yield Process(popen, json.loads(_first_line(popen)))
        finally:
            popen.kill()
            popen.communicate(timeout=60)

    def up(self) -> Any:
        return self.running("up", "--port", "0")

    def worker(self, *options: str) -> Any:
        return self.running("worker", *options)

    @contextmanager
    def worker_beside(self) -> Iterator[tuple[Process, Process]]:
        """A gateway, and a worker that may outlive it."""
        with self.up() as gateway, self.worker() as worker:
            yield gateway, worker

    def does(self, *command: str) -> Any:
        """What a command that ends by itself printed."""
        popen = self._start(*command)
        out, err = popen.communicate(timeout=100)
        assert popen.returncode == 0, err
        return json.loads(out)

    def submit(self) -> str:
        return str(self._gateway("POST", "/api/jobs", {"pipeline": "docs"})["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the gateway tells it; while none answers, nothing is known of it."""
        try:
            return dict(self._gateway("GET", f"/api/jobs/{job_id}"))
        except (httpx.TransportError, LookupError):
            return {"state": "unknown", "workers": [], "n_done": 0, "n_batches": 0, "reason": ""}

    def jobs(self) -> list[dict[str, Any]]:
        return list(self._gateway("GET", "/api/jobs"))

    def cancel(self, job_id: str) -> dict[str, Any]:
        return dict(self._gateway("POST", f"/api/jobs/{job_id}/cancel"))

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it has come to an end."""

        def find() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in ENDED else None

        return eventually(find, f"the job did not end: {self.job(job_id)}", 100)

    def stored(self) -> tuple[dict[str, Point], dict[str, Row]]:
        """Every point of the collection that answers, and what the ledger says; no process may run."""
        database = open_database(
            self.settings.get("LLMOPS_DATABASE_URL", ""), self.root / ".llmops/ledger.sqlite3"
        )
        store = EdgeStore(self.root / ".llmops" / "vectors")
        try:
            shape = CollectionBook(database).serving("docs")
            if shape is None:
                return {}, {}
            points = store.scroll(shape.collection, where=Filter(principals=None))
            rows = DocumentLedger(database, shape.collection).rows().values()
            known: dict[str, Row] = {
                row.uri: (row.state, row.reason, row.n_chunks, row.fingerprint) for row in rows
            }
            return {point.chunk.chunk_id: point for point in points}, known
        finally:
            store.close()
            database.close()

    def _gateway(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        owner = find_owner(self.root)
        if owner is None or not owner.url:
            raise LookupError("no gateway")
        headers = {"Authorization": f"Bearer {owner.token}"}
        got = httpx.request(method, owner.url + path, json=body, headers=headers, timeout=30)
        if got.status_code == 401:
            raise LookupError("another gateway")
        assert got.status_code == 200, got.text
        return got.json()

    def _start(self, *command: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMOPS_")}
        environment = {**kept, "HF_HUB_OFFLINE": "1", "LLMOPS_THREADS": "1", **self.settings}
        line = [*LLMOPS, *command, "--json", "-w", str(self.root)]
        return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_equal(one: Site, other: Site) -> None:
    """The two hold the same points, and know the same of every document."""
    (points, known), (expected, expected_known) = one.stored(), other.stored()
    assert known == expected_known
    assert points.keys() == expected.keys()
    for chunk_id, point in points.items():
        assert point.chunk == expected[chunk_id].chunk
        assert point.sparse == expected[chunk_id].sparse
        np.testing.assert_allclose(point.dense, expected[chunk_id].dense, atol=1e-6)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text, until, file = "", time.monotonic() + 60, process.stdout.fileno()
    while "\n" not in text:
        assert select.select([file], [], [], max(0, until - time.monotonic()))[0], "nothing was said"
        part = os.read(file, 65_536).decode()
        assert part, process.communicate()[1]
        text += part
    return text


KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
