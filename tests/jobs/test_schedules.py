"""When a pipeline is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmops.config import load_spec
from llmops.errors import SpecError
from llmops.ingestion.spec import IngestionSpec
from llmops.jobs.schedules import due
from tests.jobs.site import write_pipeline

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday


@pytest.fixture
def spec(tmp_path: Path) -> IngestionSpec:
    (tmp_path / "ingestion").mkdir()
    write_pipeline(tmp_path, schedule="0 * * * *")
    return load_spec(IngestionSpec, tmp_path / "ingestion" / "docs.yaml")


def at(spec: IngestionSpec, schedule: str | None) -> IngestionSpec:
    return spec.model_copy(update={"sync": spec.sync.model_copy(update={"schedule": schedule})})


@pytest.mark.parametrize(
    ("schedule", "after", "until", "moment"),
    [
        ("0 * * * *", NOON - timedelta(seconds=1), NOON, NOON),
        ("0 * * * *", NOON - timedelta(seconds=1), NOON + timedelta(seconds=1), NOON),
        ("0 * * * *", NOON, NOON + timedelta(minutes=59), None),
        ("0 * * * *", NOON - timedelta(seconds=2), NOON - timedelta(seconds=1), None),
        ("0 * * * *", NOON - timedelta(hours=5), NOON + timedelta(minutes=1), NOON),  # five missed moments are one
        ("0 * * * *", NOON + timedelta(hours=1), NOON + timedelta(minutes=1), None),  # a clock that was put back
        ("*/15 * * * *", NOON, NOON + timedelta(minutes=31), NOON + timedelta(minutes=30)),
        ("0 12 * * mon", NOON - timedelta(days=1), NOON, NOON),
        ("0 12 * * sun", NOON - timedelta(minutes=1), NOON, None),
        ("30 2 29 2 *", NOON - timedelta(days=3), NOON, None),  # no such day in 2026
        ("0 12 2 3 *", NOON - timedelta(days=3), NOON, NOON),
        ("* * * * * */20", NOON, NOON + timedelta(seconds=45), NOON + timedelta(seconds=40)),
        (None, NOON - timedelta(days=400), NOON, None),
    ],
)
def test_the_newest_moment_that_has_come_is_due(
    spec: IngestionSpec, schedule: str | None, after: datetime, until: datetime, moment: datetime | None
) -> None:
    found = due([at(spec, schedule)], after=after, until=until)
    assert found == ([("docs", moment)] if moment is not None else [])


def test_every_pipeline_has_its_own_moments(spec: IngestionSpec) -> None:
    other = at(spec, "30 * * * *").model_copy(update={"name": "other"})
    found = due([spec, at(spec, None), other], after=NOON - timedelta(minutes=45), until=NOON)
    assert found == [("docs", NOON), ("other", NOON - timedelta(minutes=30))]


@pytest.mark.parametrize("schedule", ["61 * * * *", "* * * * funday", "hourly", "* * *", "", "0 0 30 2 *"])
def test_a_schedule_that_never_comes_is_refused_where_the_file_is_read(tmp_path: Path, schedule: str) -> None:
    (tmp_path / "ingestion").mkdir()
    write_pipeline(tmp_path, schedule=schedule or " ")
    with pytest.raises(
        SpecError, match=r"sync\.schedule: .*is no cron expression .*write it like '0 \* \* \* \*'"
    ):
        load_spec(IngestionSpec, tmp_path / "ingestion" / "docs.yaml")
