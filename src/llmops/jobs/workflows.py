"""The workflows that DBOS runs, step by step; a worker that dies leaves its step to another, which does it again.

A sync plans, lets any worker on the queue `ingest-batches` write its batches, and concludes. What steps return is
JSON, errors included: nothing has to be unpickled by another version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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
    """One pipeline brought up to date; its report, or the error that ended it."""
    planned = _plan(pipeline, options)
    if "error" in planned:
        return planned
    needed = durable.for_batches(planned)
    handles = [
        DBOS.enqueue_workflow(BATCHES, write_batch, pipeline, needed, number)
        for number in range(planned["n_batches"])
    ]
    batches = [handle.get_result() for handle in handles]
    failed = next((batch for batch in batches if "error" in batch), None)
    return _give_up(pipeline, planned, failed) if failed else _conclude(pipeline, planned, batches)


@DBOS.workflow(name="write_batch")
def write_batch(pipeline: str, planned: dict[str, Any], number: int) -> dict[str, Any]:
    """One batch of documents, on whichever worker is free."""
    return _write(pipeline, planned, number)


@DBOS.step(name="plan")
def _plan(pipeline: str, options: dict[str, bool]) -> dict[str, Any]:
    return _told(lambda site: durable.plan(site.pipeline(pipeline), site.indexer(), options))


@DBOS.step(name="write")
def _write(pipeline: str, planned: Mapping[str, Any], number: int) -> dict[str, Any]:
    return _told(lambda site: durable.write_batch(site.pipeline(pipeline), site.indexer(), planned, number))


@DBOS.step(name="conclude")
def _conclude(pipeline: str, planned: Mapping[str, Any], batches: list[dict[str, Any]]) -> dict[str, Any]:
    def work(site: Site) -> dict[str, Any]:
        report = durable.conclude(site.pipeline(pipeline), site.indexer(), planned, batches)
        return {"report": {**asdict(report), "is_complete": report.is_complete}}

    return _told(work)


@DBOS.step(name="give_up")
def _give_up(pipeline: str, planned: Mapping[str, Any], failed: dict[str, Any]) -> dict[str, Any]:
    def work(site: Site) -> dict[str, Any]:
        durable.fail(site.indexer(), planned, str(failed["error"]["message"]))
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
