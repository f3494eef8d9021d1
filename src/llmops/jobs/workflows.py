"""The workflows that DBOS runs, step by step; a worker that dies leaves its step to another, which does it again.

A sync plans, lets any worker on the queue `ingest-batches` write its batches, and concludes. What they hand each
other is on the ledger: the queue holds ids and numbers, so that it names no document that is to be forgotten. What
steps return is JSON, errors included: nothing has to be unpickled by another version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dbos import DBOS

from llmops.errors import ConfigurationError, LlmopsError
from llmops.ingestion import durable
from llmops.ingestion.shape import Indexer
from llmops.ingestion.spec import IngestionSpec

SYNCS, BATCHES = "ingest", "ingest-batches"
_log = logging.getLogger("llmops.jobs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The workspace that the steps of this process work on.

    Attributes:
        pipeline: a pipeline by name, as its file says now.
        indexer: the parts that an ingestion works with.
    """

    pipeline: Callable[[str], IngestionSpec]
    indexer: Callable[[], Indexer]


_sites: list[Site] = []


def settle(site: Site | None) -> None:
    """Say which workspace the steps of this process work on; None when it lets go of it."""
    _sites[:] = [site] if site is not None else []


def _site() -> Site:
    if not _sites:
        raise ConfigurationError("this process has no workspace open; start `llmops worker` or `llmops up`")
    return _sites[0]


@DBOS.workflow(name="sync")
def sync(pipeline: str, options: dict[str, bool]) -> dict[str, Any]:
    """One pipeline brought up to date; the id of its sync on the ledger, or the error that ended it."""
    planned = _plan(pipeline, options)
    if "error" in planned:
        return planned
    sync_id, numbers = planned["sync_id"], range(planned["n_batches"])
    handles = [DBOS.enqueue_workflow(BATCHES, write_batch, pipeline, sync_id, number) for number in numbers]
    batches = [handle.get_result() for handle in handles]
    failed = next((batch for batch in batches if "error" in batch), None)
    done = failed or _conclude(pipeline, sync_id)
    return _give_up(pipeline, sync_id, done) if "error" in done else done


@DBOS.workflow(name="write_batch")
def write_batch(pipeline: str, sync_id: str, number: int) -> dict[str, Any]:
    """One batch of documents, on whichever worker is free."""
    return _write(pipeline, sync_id, number)


@DBOS.step(name="plan")
def _plan(pipeline: str, options: dict[str, bool]) -> dict[str, Any]:
    return _told(lambda site: durable.plan(site.pipeline(pipeline), site.indexer(), options))


@DBOS.step(name="write")
def _write(pipeline: str, sync_id: str, number: int) -> dict[str, Any]:
    def work(site: Site) -> dict[str, Any]:
        durable.write_batch(site.pipeline(pipeline), site.indexer(), sync_id, number)
        return {"number": number}

    return _told(work)


@DBOS.step(name="conclude")
def _conclude(pipeline: str, sync_id: str) -> dict[str, Any]:
    def work(site: Site) -> dict[str, Any]:
        durable.conclude(site.pipeline(pipeline), site.indexer(), sync_id)
        return {"sync_id": sync_id}

    return _told(work)


@DBOS.step(name="give_up")
def _give_up(pipeline: str, sync_id: str, failed: dict[str, Any]) -> dict[str, Any]:
    def work(site: Site) -> dict[str, Any]:
        durable.fail(site.indexer(), sync_id, str(failed["error"]["message"]))
        return failed

    _log.warning("the sync of %r failed: %s", pipeline, failed["error"]["message"])
    return _told(work)


def _told(work: Callable[[Site], dict[str, Any]]) -> dict[str, Any]:
    """What a step did, or its error as data."""
    try:
        return work(_site())
    except LlmopsError as error:
        return {"error": {"message": str(error), "type": type(error).__name__}}
    except Exception as error:  # noqa: BLE001 (it is logged, and the job says so)
        _log.exception("a step of a job failed unexpectedly")
        problem = f"an unexpected {type(error).__name__} ({error}); look at the worker's log"
        return {"error": {"message": problem, "type": type(error).__name__}}
