"""The queues of one process: what a job says of itself, what is refused, and what the queues' file holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmops.errors import BusyError, NotFoundError
from llmops.jobs.engine import Job, Jobs
from llmops.jobs.workers import WorkerBook
from llmops.settings import Settings
from llmops.workspace.erasure import forget
from llmops.workspace.opened import Workspace
from llmops.workspace.queues import open_jobs
from tests.gateway.running import eventually
from tests.jobs.site import ENDED, write_page, write_site

SECRET_NAME = "dismissal-of-ada-lovelace.md"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_site(tmp_path / "site", n_pages=10)


@pytest.fixture
def workspace(root: Path) -> Iterator[Workspace]:
    opened = Workspace(root, Settings(threads="1"), command="a test")
    yield opened
    opened.close()


@pytest.fixture
def jobs(workspace: Workspace) -> Iterator[Jobs]:
    opened = open_jobs(workspace)
    yield opened
    opened.close()


@pytest.fixture
def idle(workspace: Workspace) -> Iterator[Jobs]:
    """Queues that nobody takes jobs from."""
    opened = open_jobs(workspace, takes=())
    yield opened
    opened.close()


def ended(jobs: Jobs, job_id: str) -> Job:
    def find() -> Job | None:
        job = jobs.get(job_id)
        return job if job.state in ENDED else None

    return eventually(find, "the job did not end", 60)


def test_a_job_ends_with_the_report_of_its_sync(jobs: Jobs) -> None:
    job = ended(jobs, jobs.submit("docs"))
    assert (job.state, job.pipeline, job.worker, job.reason) == ("done", "docs", jobs.worker_id, "")
    assert job.report is not None
    assert (job.report["n_indexed"], job.report["is_complete"]) == (10, True)
    assert [one.job_id for one in jobs.list()] == [job.job_id]


def test_a_job_that_was_held_says_so(jobs: Jobs, root: Path) -> None:
    ended(jobs, jobs.submit("docs"))
    for n in range(5):
        (root / "docs" / f"page-{n:03}.md").unlink()
    job = ended(jobs, jobs.submit("docs"))
    assert (job.state, job.reason[:35]) == ("held", "the source lacks 5 of 10 documents ")
    assert job.report is not None
    assert (job.report["n_removed"], job.report["is_complete"]) == (0, False)
    assert jobs.list()[0].state == "held"


def test_a_job_that_cannot_be_planned_says_why_and_blocks_nothing(jobs: Jobs, root: Path) -> None:
    (root / "docs").rename(root / "elsewhere")
    job = ended(jobs, jobs.submit("docs"))
    assert job.state == "failed"
    assert "docs" in job.reason
    assert job.report is None
    (root / "elsewhere").rename(root / "docs")
    assert ended(jobs, jobs.submit("docs")).state == "done"


def test_a_job_whose_end_fails_leaves_the_pipeline_free(
    jobs: Jobs, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmops.errors import StorageError
    from llmops.ingestion import durable
    from llmops.ingestion.run import Options

    def fails(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "conclude", fails)
        job = ended(jobs, jobs.submit("docs"))
    assert (job.state, job.reason) == ("failed", "the disk is full")
    report = workspace.ingest(workspace.pipeline("docs"), options=Options())
    assert (report.n_found, report.is_complete) == (10, True)


def test_a_pipeline_stands_on_the_queue_once(idle: Jobs) -> None:
    job_id = idle.submit("docs")
    with pytest.raises(BusyError, match="pipeline 'docs' is on the queue already; `llmops ingest jobs` shows it"):
        idle.submit("docs")
    assert (idle.get(job_id).state, idle.get(job_id).worker) == ("queued", "")
    assert idle.cancel(job_id).state == "cancelled"
    assert idle.get(idle.submit("docs")).state == "queued"


def test_a_moment_of_a_schedule_is_one_job_whoever_asks(jobs: Jobs) -> None:
    moment = datetime(2026, 3, 2, 12, tzinfo=UTC)
    first = jobs.submit("docs", moment=moment)
    assert ended(jobs, first).state == "done"
    assert jobs.submit("docs", moment=moment) == first
    later = jobs.submit("docs", moment=moment + timedelta(seconds=1))
    assert ended(jobs, later).state == "done"
    assert len(jobs.list()) == 2


def test_a_job_that_there_is_not(idle: Jobs) -> None:
    for call in (idle.get, idle.cancel):
        with pytest.raises(NotFoundError, match="no job 'nope'; `llmops ingest jobs` lists them"):
            call("nope")


def test_old_jobs_leave_the_queues(jobs: Jobs) -> None:
    ended(jobs, jobs.submit("docs"))
    jobs._tidy(datetime.now(UTC) - timedelta(hours=1))
    assert len(jobs.list()) == 1
    jobs._tidy(datetime.now(UTC) + timedelta(seconds=1))
    assert jobs.list() == []
    assert ended(jobs, jobs.submit("docs")).state == "done"


def test_the_queues_name_no_document(workspace: Workspace, root: Path) -> None:
    """An erasure reaches the ledger; what only the queues knew would stay."""
    (root / "docs" / SECRET_NAME).write_bytes(bytes(range(256)) * 8)  # it fails, and is a problem of the report
    write_page(root, 3, "Ada was here.")
    jobs = open_jobs(workspace)
    try:
        job = ended(jobs, jobs.submit("docs"))
        assert job.report is not None
        assert SECRET_NAME in str(job.report["problems"])
        workspace.database.compact()
    finally:
        jobs.close()
    state = root / ".llmops"
    queues = [path for path in state.iterdir() if path.name.startswith("jobs.")]
    assert queues
    for path in queues:
        assert SECRET_NAME.encode() not in path.read_bytes()
    receipt = forget(workspace, "docs", SECRET_NAME, actor="ada")
    assert receipt.is_proved


def test_a_worker_that_stops_counts_as_dead_at_once(workspace: Workspace) -> None:
    book = WorkerBook(workspace.database)
    jobs = open_jobs(workspace, worker_id="one")
    eventually(lambda: [worker.worker_id for worker in book.all()] == ["one"], "it does not beat")
    assert book.dead() == []
    jobs.close()
    assert book.dead() == ["one"]
    again = open_jobs(workspace, worker_id="two")
    eventually(lambda: [worker.worker_id for worker in book.all()] == ["two"], "nobody takes over")
    again.close()
