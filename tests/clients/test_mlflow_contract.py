"""What holds for a registry wherever it is: our own file, PostgreSQL, or an MLflow server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from llmops.clients.mlflow import Registry, open_registry
from llmops.clients.mlflow import prompts as prompt_door
from llmops.errors import ConfigurationError, NotFoundError, RequestError
from tests.clients.mlflow_store import NOW, TEMPLATE, copy_store, eval_run, prompt

if TYPE_CHECKING:
    from mlflow import MlflowClient

START_LIMIT_S = 40
SERVER = ("-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1")


@pytest.fixture(scope="module", autouse=True)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """Waits for an MLflow server of our own on loopback, which starts while the first tests run."""
    if not any(item.path == request.path and item.get_closest_marker("slow") for item in request.session.items):
        yield lambda: pytest.skip("no server was started")
        return
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        *SERVER,
        "--port",
        str(port),
        "--backend-store-uri",
        f"sqlite:///{copy_store(folder)}",
    ]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            yield lambda: answering(process, f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()
            process.wait(30)


def answering(process: subprocess.Popen[bytes], address: str, log: Path) -> str:
    """The address, as soon as somebody answers there."""
    for _ in range(START_LIMIT_S * 10):
        try:
            urlopen(f"{address}/health", timeout=5).close()
            return address
        except (URLError, ConnectionError, TimeoutError):
            if process.poll() is not None:
                pytest.skip(f"`mlflow server` ended: {log.read_text()[-300:]}")
            time.sleep(0.1)
    pytest.skip(f"`mlflow server` did not answer within {START_LIMIT_S} s")


@pytest.fixture(scope="module")
def postgresql_schema(postgresql: str) -> Iterator[str]:
    """A URL whose tables land in a schema of their own, dropped again."""
    schema = f"llmops_mlflow_{uuid4().hex[:12]}"
    url = make_url(postgresql)
    engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(scope="module", params=["embedded", "postgresql", pytest.param("server", marks=pytest.mark.slow)])
def registry(
    request: pytest.FixtureRequest, server: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    state = tmp_path_factory.mktemp("state")
    if request.param == "embedded":
        copy_store(state)
    uris = {"postgresql": lambda: request.getfixturevalue("postgresql_schema"), "server": server}
    opened = open_registry(uris.get(request.param, str)(), state)
    yield opened
    opened.close()


@pytest.fixture
def mlflow(registry: Registry) -> MlflowClient:
    """MLflow's own view of the same registry."""
    return registry._client


@pytest.fixture
def name() -> str:
    """A name that no other test uses: the tests of a module share their registry."""
    return f"p-{uuid4().hex[:8]}"


def test_a_published_prompt_comes_back_as_it_was(registry: Registry, name: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    made, is_new = registry.publish(prompt(name))
    assert (is_new, made.name, made.version, made.text, made.aliases) == (True, name, 1, TEMPLATE, ())
    assert made.text.encode() == TEMPLATE.encode()
    assert (made.author, made.commit, made.message) == ("ada@example.org", "0123abc", "Kinder – “ton”")
    assert made.digest == prompt(name).digest
    assert before <= made.created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert made.created_at.tzinfo is UTC
    assert registry.version(name, 1) == made
    assert registry.versions(name) == [made]


def test_what_is_empty_stays_empty(registry: Registry, name: str) -> None:
    made, _ = registry.publish(prompt(name, "", author="", commit="", message=""))
    assert (made.text, made.author, made.commit, made.message) == ("", "", "", "")


def test_a_content_is_one_version_however_often_it_is_published(registry: Registry, name: str) -> None:
    first, _ = registry.publish(prompt(name, "one"))
    second, is_new = registry.publish(prompt(name, "two"))
    assert (second.version, is_new) == (2, True)
    again, is_new = registry.publish(prompt(name, "one", author="somebody else"))
    assert (again, is_new) == (first, False)
    assert [one.text for one in registry.versions(name)] == ["one", "two"]


def test_the_same_content_under_two_names_is_two_prompts(registry: Registry, name: str) -> None:
    assert registry.publish(prompt(f"{name}.a"))[1]
    assert registry.publish(prompt(f"{name}.b"))[1]
    assert {f"{name}.a", f"{name}.b"} <= set(registry.names())
    assert registry.names() == sorted(registry.names())


def test_versions_of_many_pages_come_oldest_first(
    registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_door, "_PAGE_SIZE", 2)
    for number in range(5):
        registry.publish(prompt(name, f"text {number}"))
    found = registry.versions(name)
    assert [one.version for one in found] == [1, 2, 3, 4, 5]
    assert [one.text for one in found] == [f"text {number}" for number in range(5)]


def test_publishers_at_once_get_one_version(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(registry.publish, prompt(name, author=f"publisher {n}")) for n in range(4)]
        got = [future.result() for future in futures]
    assert len({version.version for version, _ in got}) == 1
    assert sum(is_new for _, is_new in got) == 1
    assert registry.versions(name) == [got[0][0]]
    assert len(mlflow.search_model_versions(f"name = '{name}' AND tag.`mlflow.prompt.is_prompt` = 'true'")) == 1


def test_mlflow_itself_shows_a_prompt(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    registry.publish(prompt(name, tags={"route": "assistant"}))
    assert name in [one.name for one in mlflow.search_prompts(f"name = '{name}'")]
    found = mlflow.get_prompt_version(name, 1)
    assert found is not None
    assert found.template == TEMPLATE
    assert found.commit_message == "Kinder – “ton”"
    assert found.tags["llmops.author"] == "ada@example.org"
    assert found.tags["llmops.commit"] == "0123abc"
    assert found.tags["llmops.digest"] == prompt(name).digest
    assert found.tags["route"] == "assistant"


def test_a_version_made_in_mlflow_has_no_digest(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    mlflow.create_prompt(name)
    assert name not in registry.names()
    mlflow.create_prompt_version(name, "by hand")
    mlflow.create_prompt_version(name, "by hand")
    found = registry.versions(name)
    assert [(one.version, one.text, one.digest, one.author) for one in found] == [
        (1, "by hand", "", ""),
        (2, "by hand", "", ""),
    ]
    assert name in registry.names()


def test_a_registered_model_is_not_a_prompt(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    mlflow.create_registered_model(name)
    assert name not in registry.names()
    with pytest.raises(
        NotFoundError, match=f"there is no prompt '{name}' in the MLflow registry; publish it first"
    ):
        registry.versions(name)
    with pytest.raises(
        RequestError, match="is a registered model in the MLflow registry; give the prompt another"
    ):
        registry.publish(prompt(name))


@pytest.mark.parametrize("unknown", ["nobody", "quote'd"])
def test_an_unknown_prompt_is_said_to_be_unknown(registry: Registry, unknown: str) -> None:
    for look_up in (registry.versions, registry.aliases):
        with pytest.raises(NotFoundError, match=f"there is no prompt \"?'?{unknown}"):
            look_up(unknown)
    with pytest.raises(NotFoundError, match="there is no prompt"):
        registry.version(unknown, 1)
    with pytest.raises(NotFoundError, match="there is no prompt"):
        registry.set_alias(unknown, "live", 1)
    with pytest.raises(NotFoundError, match="there is no prompt"):
        registry.delete_alias(unknown, "live")


def test_an_unknown_version_is_said_to_be_unknown(registry: Registry, name: str) -> None:
    registry.publish(prompt(name))
    for number in (0, -1, 2, 10**6):
        with pytest.raises(NotFoundError, match=f"prompt '{name}' has no version {number} in the MLflow registry"):
            registry.version(name, number)
    with pytest.raises(NotFoundError, match=f"prompt '{name}' has no version 2 in the MLflow registry"):
        registry.set_alias(name, "live", 2)
    assert registry.aliases(name) == {}


def test_an_alias_is_set_moved_and_removed(registry: Registry, name: str) -> None:
    for content in ("one", "two"):
        registry.publish(prompt(name, content))
    registry.set_alias(name, "live", 1)
    registry.set_alias(name, "canary", 1)
    assert registry.version(name, 1).aliases == ("canary", "live")
    registry.set_alias(name, "live", 2)
    assert registry.aliases(name) == {"canary": 1, "live": 2}
    assert [one.aliases for one in registry.versions(name)] == [("canary",), ("live",)]
    assert registry.publish(prompt(name, "two"))[0].aliases == ("live",)
    registry.delete_alias(name, "live")
    registry.delete_alias(name, "never was")
    assert registry.aliases(name) == {"canary": 1}


def test_an_alias_that_mlflow_refuses_is_refused(registry: Registry, name: str) -> None:
    registry.publish(prompt(name))
    for alias in ("latest", "v1", "a b", ""):
        with pytest.raises(RequestError, match=r"the MLflow registry does not take this \(.+\)"):
            registry.set_alias(name, alias, 1)
    assert registry.aliases(name) == {}


def test_a_text_of_the_limit_is_kept(registry: Registry, name: str) -> None:
    longest = "äö🙂x" * 25_000
    assert registry.publish(prompt(name, longest))[0].text == longest
    assert registry.versions(name)[0].text == longest


def test_a_run_is_logged_whole(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    run_id = registry.log_eval(eval_run(name))
    logged = mlflow.get_run(run_id)
    assert (logged.info.run_name, logged.info.status) == ("assistant @ 3", "FINISHED")
    assert logged.info.start_time == round(NOW.timestamp() * 1000)
    assert logged.info.end_time == logged.info.start_time + 2_500
    assert logged.data.params == {"suite": "assistant", "k": "5"}
    assert logged.data.metrics == {"faithfulness": 0.75, "latency/p95_ms": 12.5}
    assert registry.find_runs(name, {}) == [(run_id, {"llmops.spec": "abc", "llmops.verdict": "pass"})]
    assert registry.artifact(run_id, "report.md").encode() == "# Report\r\n– fine\n".encode()
    assert registry.artifact(run_id, "scores/rows.json") == "[]"


def test_a_run_with_more_values_than_a_batch_is_logged_whole(
    registry: Registry, mlflow: MlflowClient, name: str
) -> None:
    many = {f"m{number}": float(number) for number in range(230)}
    words = {key: str(value) for key, value in many.items()}
    run_id = registry.log_eval(eval_run(name, metrics=many, params=words, tags=words, artifacts={}))
    data = mlflow.get_run(run_id).data
    assert (data.metrics, data.params) == (many, words)
    assert registry.find_runs(name, {}) == [(run_id, words)]


def test_a_failed_evaluation_is_a_failed_run(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    run_id = registry.log_eval(eval_run(name, failed=True, metrics={}, params={}, artifacts={}))
    assert mlflow.get_run(run_id).info.status == "FAILED"
    assert [found for found, _ in registry.find_runs(name, {})] == [run_id]


def test_runs_are_found_by_their_tags_newest_first(registry: Registry, name: str) -> None:
    odd = "it's \"odd\" \\ `x` %_ – ü = 'a' AND 1=1 --"
    for number, tags in enumerate(
        [{"kind": "a"}, {"kind": odd, "x": "1"}, {"kind": odd}, {"kind": "a", "x": "1"}]
    ):
        started = NOW + timedelta(minutes=number)
        registry.log_eval(eval_run(name, tags=tags, started_at=started, artifacts={}, metrics={}, params={}))
    assert [tags for _, tags in registry.find_runs(name, {"kind": "a"})] == [
        {"kind": "a", "x": "1"},
        {"kind": "a"},
    ]
    assert [tags for _, tags in registry.find_runs(name, {"kind": odd})] == [
        {"kind": odd},
        {"kind": odd, "x": "1"},
    ]
    assert [tags for _, tags in registry.find_runs(name, {"kind": odd, "x": "1"})] == [{"kind": odd, "x": "1"}]
    assert [tags for _, tags in registry.find_runs(name, {"kind": odd}, limit=1)] == [{"kind": odd}]
    assert registry.find_runs(name, {"kind": "b"}) == []
    assert registry.find_runs(name, {"no`such": "b"}) == []
    assert registry.find_runs(f"{name}-unknown", {}) == []


def test_a_run_that_fails_half_way_is_taken_back(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    with pytest.raises(RequestError, match=r"the MLflow registry does not take this \(Invalid value \"a@b\""):
        registry.log_eval(eval_run(name, metrics={"a@b": 1.0}))
    assert registry.find_runs(name, {}) == []
    experiment = mlflow.get_experiment_by_name(name)
    assert experiment is not None
    assert mlflow.search_runs([experiment.experiment_id]) == []


def test_a_run_that_has_not_ended_is_not_found(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    mlflow.create_run(mlflow.create_experiment(name))
    assert registry.find_runs(name, {}) == []


def test_a_deleted_experiment_is_not_used_again(registry: Registry, mlflow: MlflowClient, name: str) -> None:
    registry.log_eval(eval_run(name))
    experiment = mlflow.get_experiment_by_name(name)
    assert experiment is not None
    mlflow.delete_experiment(experiment.experiment_id)
    with pytest.raises(
        ConfigurationError, match=f"experiment '{name}' is deleted in the MLflow registry; run `mlflow"
    ):
        registry.log_eval(eval_run(name))


def test_an_unknown_artifact_is_said_to_be_unknown(registry: Registry, name: str) -> None:
    run_id = registry.log_eval(eval_run(name))
    with pytest.raises(
        NotFoundError, match=f"run '{run_id}' has no artifact 'other.md'; it has report.md, scores"
    ):
        registry.artifact(run_id, "other.md")
    with pytest.raises(
        NotFoundError, match=f"run '{run_id}' has no artifact 'scores/other'; it has scores/rows.json"
    ):
        registry.artifact(run_id, "scores/other")
    for unknown in ("f" * 32, "no id"):
        with pytest.raises(NotFoundError, match=f"there is no run '{unknown}' in the MLflow registry"):
            registry.artifact(unknown, "report.md")
