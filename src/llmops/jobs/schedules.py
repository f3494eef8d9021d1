"""Which pipelines are due by their `sync.schedule`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from llmops.config.cron import newest_moment
from llmops.ingestion.spec import IngestionSpec


def due(pipelines: Iterable[IngestionSpec], *, after: datetime, until: datetime) -> list[tuple[str, datetime]]:
    """Pipelines with the newest moment in (after, until] at which they should run; missed moments are one.

    A clock that runs backwards (`until` before `after`) makes nothing due.
    """
    scheduled = [(spec.name, spec.sync.schedule) for spec in pipelines if spec.sync.schedule is not None]
    newest = [(name, newest_moment(schedule, until)) for name, schedule in scheduled]
    return [(name, moment) for name, moment in newest if after < moment <= until]
