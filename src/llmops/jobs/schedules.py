"""Which pipelines are due by their `sync.schedule`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from croniter import croniter  # type: ignore[import-untyped]  # it ships no types

from llmops.errors import SpecError
from llmops.ingestion.spec import IngestionSpec


def check_schedule(spec: IngestionSpec) -> None:
    """
    Raises:
        SpecError: the schedule is no cron expression.
    """
    schedule = spec.sync.schedule
    if schedule is not None and not croniter.is_valid(schedule):
        problem = f"{schedule!r} is no cron expression; write it like '0 * * * *' (minute hour day month weekday)"
        raise SpecError(spec.file, problem, field="sync.schedule")


def due(pipelines: Iterable[IngestionSpec], *, after: datetime, until: datetime) -> list[tuple[str, datetime]]:
    """Pipelines with the newest moment in (after, until] at which they should run; missed moments are one.

    A clock that runs backwards (`until` before `after`) makes nothing due.
    """
    found: list[tuple[str, datetime]] = []
    for spec in pipelines:
        if spec.sync.schedule is None or not croniter.is_valid(spec.sync.schedule):
            continue
        just_after = until + timedelta(microseconds=1)  # a moment counts when it has come
        moment = croniter(spec.sync.schedule, just_after).get_prev(datetime).astimezone(UTC)
        if after < moment <= until:
            found.append((spec.name, moment))
    return found
