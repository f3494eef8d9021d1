"""Jobs on real processes: what dies is taken over, and the collection is the one of an undisturbed run."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.gateway.running import eventually
from tests.jobs.site import (
    INTERRUPT,
    KILL,
    N_PAGES,
    TERMINATE,
    Site,
    assert_equal,
    edit,
    write_page,
    write_pipeline,
    write_site,
)

N_RANDOM_KILLS = int(os.environ.get("LLMOPS_TEST_KILLS", "0"))
Moment = Callable[[Site, str], bool]
pytestmark = pytest.mark.slow


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("site", "number"),
    [("sqlite", KILL), ("sqlite", INTERRUPT), ("sqlite", TERMINATE), ("postgresql", KILL)],
    ids=["killed", "interrupted", "terminated", "killed-postgresql"],
    indirect=["site"],
)
def test_what_a_worker_had_begun_another_does(site: Site, clean: Site, number: int) -> None:
    with site.up(), site.worker("--queue", "ingest-batches") as worker:
        name = worker.said["worker"]
        job_id = site.submit()
        eventually(lambda: name in site.job(job_id)["workers"], "the worker took no batch", 60)
        worker.end(number)
        job = site.ended(job_id)
        assert (job["state"], job["report"]["is_complete"]) == ("done", True), job
        assert job["report"]["n_found"] == N_PAGES
    assert_equal(site, clean)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", ["sqlite", "postgresql"], indirect=True)
def test_two_processes_share_the_batches(site: Site, clean: Site) -> None:
    with site.up(), site.worker() as worker:
        job_id = site.submit()
        seen: set[str] = set()

        def is_over() -> bool:
            job = site.job(job_id)
            seen.update(job["workers"])
            return str(job["state"]) == "done"

        eventually(is_over, "the job did not end", 100)
        assert len(seen) == 2
        assert worker.said["worker"] in seen
        report = site.job(job_id)["report"]
        assert (report["n_indexed"], report["n_embedded"]) == (N_PAGES, 3 * N_PAGES)
    assert_equal(site, clean)


@pytest.mark.timeout(300)
def test_a_worker_waits_for_a_gateway_that_is_started_again(site: Site, clean: Site) -> None:
    """The gateway owns the vectors, so that nobody can write while it is away."""
    with site.worker_beside() as (gateway, worker):
        job_id = site.submit()
        eventually(lambda: worker.said["worker"] in site.job(job_id)["workers"], "the worker took no batch", 60)
        gateway.end(KILL)
        time.sleep(1)  # it fails to write meanwhile
        assert worker.popen.poll() is None
        with site.up():
            assert site.ended(job_id)["state"] == "done"
    assert_equal(site, clean)


def is_planning(site: Site, job_id: str) -> bool:
    return str(site.job(job_id)["state"]) == "running"


def is_cut_into_batches(site: Site, job_id: str) -> bool:
    return bool(site.job(job_id)["n_batches"])


def has_written_a_batch(site: Site, job_id: str) -> bool:
    return bool(site.job(job_id)["n_done"])


def after(seconds: float) -> Callable[[Site, str], bool]:
    """Some seconds after it is asked for the first time."""
    ends: list[float] = []

    def is_over(_site: Site, _job_id: str) -> bool:
        ends.append(time.monotonic() + seconds)
        return time.monotonic() > ends[0]

    return is_over


def come_to(moment: Moment, site: Site, job_id: str) -> None:
    """Wait for the moment, or for the end of the job where it is over before."""
    eventually(lambda: moment(site, job_id) or site.job(job_id)["state"] == "done", "the job got stuck", 60)


@pytest.mark.timeout(300 + 30 * N_RANDOM_KILLS)
def test_a_gateway_that_is_killed_goes_on_with_its_jobs(site: Site, clean_edited: Site) -> None:
    """At every moment a page that is in both editions is there in one of them."""
    site.does("ingest", "run", "docs")
    before, _ = site.stored()
    edit(site.root)
    moments: list[Moment] = [is_planning, is_cut_into_batches, has_written_a_batch]
    moments += [after(random.uniform(0.1, 6)) for _ in range(N_RANDOM_KILLS)]
    kept = {f"page-{n:03}.md" for n in range(N_PAGES) if not 300 <= n < 330}
    job_id, n_killed = "", 0
    for moment in moments:
        with site.up() as gateway:
            if not job_id or site.job(job_id)["state"] == "done":
                job_id = site.submit()
            come_to(moment, site, job_id)
            gateway.end(KILL)
        points, _ = site.stored()
        n_killed += 1
        there: dict[str, int] = {}
        for point in points.values():
            there[point.chunk.uri] = there.get(point.chunk.uri, 0) + 1
        assert kept <= there.keys()
        assert min(there[uri] for uri in kept) >= 3, "a page is there in part"
    assert (n_killed, len(before)) == (len(moments), 3 * N_PAGES)
    with site.up():
        assert site.ended(job_id)["state"] == "done"
    assert_equal(site, clean_edited)


@pytest.mark.timeout(200)
def test_a_schedule_is_obeyed_as_soon_as_it_is_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = Site(write_site(tmp_path_factory.mktemp("scheduled"), n_pages=3))
    with site.up(), site.worker():
        time.sleep(3)
        assert site.jobs() == []
        write_pipeline(site.root, schedule="* * * * * */2")

        def indexed() -> int:
            return sum(job["report"]["n_indexed"] for job in site.jobs() if job["state"] == "done")

        eventually(lambda: indexed() == 3, "no scheduled job", 60)
        write_page(site.root, 3, "Gate 3 is new.")
        eventually(lambda: indexed() == 4, "no second scheduled job", 60)
        write_pipeline(site.root)
        # Two processes see each moment, and it is one job.
        moments = [job["job_id"].removeprefix("sync-docs-") for job in site.jobs()]
        assert len(moments) == len(set(moments))
        assert all(moment[:2] == "20" and int(moment[-2:]) % 2 == 0 for moment in moments)


@pytest.mark.timeout(200)
def test_a_job_that_is_cancelled_leaves_the_pipeline_free(site: Site, clean: Site) -> None:
    with site.up():
        job_id = site.submit()
        eventually(lambda: site.job(job_id)["n_batches"], "the job was not planned", 60)
        assert site.cancel(job_id)["state"] == "cancelled"
        assert site.does("ingest", "run", "docs")[0]["n_found"] == N_PAGES
        assert site.job(job_id)["state"] == "cancelled"
    assert_equal(site, clean)
