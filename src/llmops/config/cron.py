"""Cron expressions in committed files: minute, hour, day, month, weekday, and perhaps second, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def check_cron(expression: str) -> str:
    """The expression as it is.

    Raises:
        ValueError: it is none, or names no moment that ever comes.
    """
    from croniter import CroniterError, croniter  # type: ignore[import-untyped]  # it ships no types

    try:
        croniter(expression, datetime(2026, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterError as error:
        example = "write it like '0 * * * *' (minute hour day month weekday)"
        raise ValueError(f"{expression!r} is no cron expression ({error}); {example}") from error
    return expression


def newest_moment(expression: str, until: datetime) -> datetime:
    """The newest moment of a checked expression that has come."""
    from croniter import croniter

    just_after = until + timedelta(microseconds=1)  # the moment itself has come
    found: datetime = croniter(expression, just_after).get_prev(datetime)
    return found.astimezone(UTC)
