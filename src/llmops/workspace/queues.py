"""The job queues of an open workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmops.errors import MissingExtraError
from llmops.settings import state_directory
from llmops.workspace.opened import Workspace

if TYPE_CHECKING:
    from llmops.jobs.engine import Jobs

OWNER_ID = "owner"
"""The worker inside `llmops up`: it comes back as itself and goes on with what it had begun."""


def queue_names() -> tuple[str, ...]:
    """The queues there are.

    Raises:
        MissingExtraError: DBOS is not installed.
    """
    try:
        from llmops.jobs.engine import QUEUES
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve") from error
    return QUEUES


def open_jobs(workspace: Workspace, *, worker_id: str = "", takes: Sequence[str] | None = None) -> Jobs:
    """The queues, taking jobs from those in `takes` (all of them when None) until `close`.

    Raises:
        MissingExtraError: DBOS is not installed.
        StorageError: the queues cannot be opened.
    """
    try:
        from llmops.jobs.engine import QUEUES, Jobs
        from llmops.jobs.workflows import Site
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve") from error
    return Jobs(
        workspace.database,
        url=workspace.settings.database_url,
        path=state_directory(workspace.root) / "jobs.sqlite3",
        site=Site(pipeline=workspace.pipeline, indexer=lambda: workspace.indexer),
        pipelines=workspace.pipelines,
        worker_id=worker_id,
        takes=QUEUES if takes is None else takes,
    )
