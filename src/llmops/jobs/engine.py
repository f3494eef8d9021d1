"""DBOS in one process: takes jobs from the queues, says that it lives, takes over from the dead, obeys schedules.

The door to DBOS, with `workflows.py`. Its state lies beside the ledger: SQLite in the workspace, or the PostgreSQL
of `LLMOPS_DATABASE_URL`, where any number of workers on any number of machines share the queues.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from dbos import error as dbos_errors
from sqlalchemy.engine import make_url

from llmops.clients.database import Database
from llmops.errors import BusyError, LlmopsError, NotFoundError, StorageError
from llmops.ingestion.report import report_of
from llmops.ingestion.spec import IngestionSpec
from llmops.ingestion.steps import Options
from llmops.ingestion.syncs import SyncBook
from llmops.jobs.schedules import due
from llmops.jobs.workers import BEAT_S, WorkerBook
from llmops.jobs.workflows import BATCHES, SYNCS, Site, settle, sync

QUEUES = (SYNCS, BATCHES)
_VERSION = "llmops"  # every version may go on with what another began: steps hand each other JSON
_KEPT = timedelta(days=30)
_TIDY_S = 3600.0
_TIDIED = 500  # jobs at a time
_log = logging.getLogger("llmops.jobs")

JobState = Literal["queued", "running", "done", "held", "incomplete", "failed", "cancelled"]
_STATES: dict[str, JobState] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One sync on the queue.

    Attributes:
        state: "held" and "incomplete" are those of its sync, which came to an end.
        worker: who has it, or had it last; "" while it waits.
        n_batches, n_done: batches of documents it was cut into, and those that are written; 0 until it is planned.
        workers: who writes a batch at this moment.
        report: what it did, once it is done; None of a sync that the ledger does not keep any more.
    """

    job_id: str
    pipeline: str
    state: JobState
    worker: str
    created_at: datetime
    reason: str
    report: Mapping[str, Any] | None
    n_batches: int = 0
    n_done: int = 0
    workers: tuple[str, ...] = ()


class Jobs:
    """The queues of one workspace, as this process sees them; one for each process.

    Args:
        database: the ledger, for heartbeats.
        url: of a PostgreSQL that holds the queues; "" for SQLite at `path`.
        site: what the steps work on.
        pipelines: the pipelines as their files say now, for schedules.
        worker_id: the same for a process that comes back as the same; "" for any.
        takes: queues that this process takes jobs from; none: it only adds and looks.
    """

    def __init__(
        self,
        database: Database,
        *,
        url: str,
        path: Path,
        site: Site,
        pipelines: Callable[[], Iterable[IngestionSpec]],
        worker_id: str = "",
        takes: Sequence[str] = QUEUES,
    ) -> None:
        self.worker_id = worker_id or f"worker-{uuid.uuid4().hex[:12]}"
        self._book, self._pipelines, self._takes = WorkerBook(database), pipelines, tuple(takes)
        self._syncs = SyncBook(database)
        self._stop = threading.Event()
        settle(site)
        path.parent.mkdir(parents=True, exist_ok=True)
        config: DBOSConfig = {
            "name": "llmops",
            "system_database_url": _address(url, path),
            "executor_id": self.worker_id,
            "application_version": _VERSION,
            "log_level": "ERROR",
            "notification_listener_polling_interval_sec": 0.2,
        }
        try:
            DBOS(config=config)
            DBOS.listen_queues(list(self._takes) or ["nothing"])
            DBOS.launch()
            DBOS.register_queue(SYNCS, worker_concurrency=4, polling_interval_sec=0.5)
            DBOS.register_queue(BATCHES, worker_concurrency=1, polling_interval_sec=0.2)
        except dbos_errors.DBOSException as error:
            settle(None)
            raise StorageError(f"the job queues cannot be opened ({error}); run `llmops doctor`") from error
        self._thread = threading.Thread(target=self._live, name="llmops-jobs", daemon=True)
        self._thread.start()

    def submit(self, pipeline: str, options: Options | None = None, *, moment: datetime | None = None) -> str:
        """Put a sync on the queue; the job's id.

        Args:
            moment: of a schedule: the same moment is one job, whoever asks.

        Raises:
            BusyError: this pipeline is on the queue already.
        """
        key = f"sync-{pipeline}-{moment:%Y%m%dT%H%M%S}" if moment is not None else f"sync-{uuid.uuid4().hex}"
        try:
            with SetWorkflowID(key), SetEnqueueOptions(deduplication_id=pipeline):
                return DBOS.enqueue_workflow(SYNCS, sync, pipeline, asdict(options or Options())).workflow_id
        except dbos_errors.DBOSQueueDeduplicatedError as error:
            problem = f"pipeline {pipeline!r} is on the queue already"
            raise BusyError(f"{problem}; `llmops ingest jobs` shows it") from error
        except dbos_errors.DBOSException as error:
            raise StorageError(f"the job queue cannot be written ({error}); run `llmops doctor`") from error

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFoundError: there is none with this id.
        """
        found = DBOS.list_workflows(workflow_ids=[job_id])
        if not found:
            raise NotFoundError(f"no job {job_id!r}; `llmops ingest jobs` lists them")
        return self._job(found[0])

    def list(self, *, limit: int = 50) -> list[Job]:
        """Jobs, newest first."""
        return [self._job(status) for status in DBOS.list_workflows(name="sync", limit=limit, sort_desc=True)]

    def cancel(self, job_id: str) -> Job:
        """Stop a job before its next step; what it wrote stays."""
        job = self.get(job_id)
        if job.state in ("queued", "running"):
            DBOS.cancel_workflow(job_id, cancel_children=True)
            self._syncs.abandon_jobs(job.pipeline, f"job {job_id} was cancelled")
        return self.get(job_id)

    def close(self) -> None:
        """Take no more jobs; what is under way is left to the next worker, or to this one when it comes back."""
        self._stop.set()
        self._thread.join()
        DBOS.destroy()
        settle(None)
        self._book.retire(self.worker_id)

    def _live(self) -> None:
        """Beat, look for the dead, and put on the queue what is due."""
        looked, tidied, problem = datetime.now(UTC), time.monotonic() - _TIDY_S, ""
        while True:
            try:
                if self._takes:
                    self._book.beat(self.worker_id, self._takes)
                    self._take_over()
                    looked = self._put_due(looked)
                    if time.monotonic() - tidied >= _TIDY_S:
                        tidied = time.monotonic()
                        self._tidy(datetime.now(UTC) - _KEPT)
                    problem = ""
            except LlmopsError as error:
                if problem != str(error):  # once, and not at every beat
                    problem = str(error)
                    _log.warning("worker %s goes on: %s", self.worker_id, problem)
            except Exception:  # noqa: BLE001 (the thread that keeps a worker alive must not end)
                _log.exception("worker %s goes on after an unexpected error", self.worker_id)
            if self._stop.wait(BEAT_S):
                return

    def _tidy(self, before: datetime) -> None:
        """Jobs that ended before this moment leave the queues' tables."""
        moment = before.isoformat()
        old = DBOS.list_workflows(
            name="sync", completed_before=moment, limit=_TIDIED, load_input=False, load_output=False
        )
        if old:
            DBOS.delete_workflows([job.workflow_id for job in old], delete_children=True)

    def _job(self, status: Any) -> Job:
        output = status.output if isinstance(status.output, dict) else {}
        error = output.get("error")
        state = "failed" if error else _STATES.get(status.status, "running")
        inputs = (status.input or {}).get("args") or ("?",)
        reason = str(error["message"]) if error else str(status.error or "")
        synced = self._syncs.get(output["sync_id"]) if "sync_id" in output else None
        if synced is not None and (synced.state == "held" or synced.state == "incomplete"):
            state, reason = synced.state, synced.reason
        batches = self._batches(status.workflow_id) if state == "running" else []
        return Job(
            job_id=status.workflow_id,
            pipeline=str(inputs[0]),
            state=state,
            worker=status.executor_id or "" if state != "queued" else "",
            created_at=datetime.fromtimestamp((status.created_at or 0) / 1000, UTC),
            reason=reason,
            report=_report_json(synced.report) if synced is not None and synced.report is not None else None,
            n_batches=len(batches),
            n_done=sum(_STATES.get(batch.status) == "done" for batch in batches),
            workers=tuple(sorted({b.executor_id for b in batches if _STATES.get(b.status) == "running"})),
        )

    def _batches(self, job_id: str) -> Sequence[Any]:
        return DBOS.list_workflows(parent_workflow_id=job_id, load_input=False, load_output=False)

    def _take_over(self) -> None:
        dead = [worker_id for worker_id in self._book.dead() if worker_id != self.worker_id]
        if dead:
            _log.warning("workers %s are dead; their jobs go back to the queue", ", ".join(dead))
            DBOS._recover_pending_workflows(dead)
            for worker_id in dead:
                self._book.leave(worker_id)

    def _put_due(self, looked: datetime) -> datetime:
        now = datetime.now(UTC)
        for pipeline, moment in due(self._pipelines(), after=looked, until=now):
            try:
                self.submit(pipeline, moment=moment)
            except BusyError as error:
                _log.warning("the scheduled sync of %r waits for the next time: %s", pipeline, error)
        return max(looked, now)


def _address(url: str, path: Path) -> str:
    if not url or url.startswith("sqlite"):
        return f"sqlite:///{path}"
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _report_json(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {**stored, "is_complete": report_of(stored).is_complete}
