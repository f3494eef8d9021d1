"""Runs in MLflow's experiments: one for each evaluation, with its report as artifacts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from llmops.clients.mlflow.place import Place
from llmops.clients.mlflow.records import EvalRun, refuse_unkeepable
from llmops.errors import ConfigurationError, NotFoundError, RequestError, StorageError, TooLargeError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_OWN = "mlflow."  # MLflow's own tags
_MAX_VALUE = {"param": 6_000, "tag": 8_000}
_BATCH_SIZE = 100
_PAGE_SIZE = 100
_PLAIN = re.compile(r"[\w .,:/@+=-]*", re.ASCII)  # values that MLflow's filter reads as they are


def log(client: MlflowClient, place: Place, run: EvalRun) -> str:
    """The new run's id; what we can refuse is refused before anything is written, half a run is taken back."""
    _check(run)
    experiment = _experiment(client, place, run.experiment)
    start_ms = round(run.started_at.timestamp() * 1000)
    end_ms = start_ms + round(run.duration_s * 1000)
    made = client.create_run(experiment, start_time=start_ms, run_name=run.name)
    run_id: str = made.info.run_id
    try:
        _log_values(client, run_id, run, end_ms)
        _log_artifacts(client, run_id, run.artifacts)
        client.set_terminated(run_id, "FAILED" if run.failed else "FINISHED", end_ms)
    except BaseException:
        _take_back(client, run_id)
        raise
    return run_id


def find(
    client: MlflowClient, name: str, tags: Mapping[str, str], limit: int
) -> Iterator[tuple[str, dict[str, str]]]:
    """Ended runs that carry all of `tags`, newest first: run id and tags."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return
    runs = _search(client, experiment.experiment_id, tags)
    wanted = (run for run in runs if all(run.data.tags.get(key) == value for key, value in tags.items()))
    for run in islice(wanted, limit):
        yield run.info.run_id, {key: value for key, value in run.data.tags.items() if not key.startswith(_OWN)}


def artifact(client: MlflowClient, place: Place, run_id: str, name: str) -> str:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    path = _artifact_path(name)
    try:
        run = client.get_run(run_id)
    except MlflowException as exc:
        if exc.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise NotFoundError(f"there is no run {run_id!r} in the MLflow registry; look it up again") from exc
    folder = str(path.parent) if path.parent != PurePosixPath() else None
    # The client would keep this, with its threads, for every run it was ever asked for.
    repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=place.uri)
    known = sorted(one.path for one in repository.list_artifacts(folder))
    if str(path) not in known:
        raise NotFoundError(f"run {run_id!r} has no artifact {name!r}; it has {', '.join(known) or 'none'}")
    with TemporaryDirectory() as directory, repository.thread_pool:
        download: Any = repository.download_artifacts
        content = Path(download(str(path), directory)).read_bytes()
    try:
        return content.decode(errors="surrogatepass")
    except UnicodeDecodeError as exc:
        raise StorageError(f"artifact {name!r} of run {run_id!r} is not UTF-8 text; open it in MLflow") from exc


def _check(run: EvalRun) -> None:
    for key, value in run.metrics.items():
        if not math.isfinite(value):
            raise RequestError(f"metric {key!r} of run {run.name!r} is {value!r}; log finite numbers only")
    refuse_unkeepable("the experiment's or run's name", run.experiment + run.name)
    for kind, values in (("param", run.params), ("tag", run.tags)):
        for key, text in values.items():
            refuse_unkeepable(f"{kind} {key!r} of run {run.name!r}", key + text)
            if len(text) > (limit := _MAX_VALUE[kind]):  # MLflow would cut it without a word
                problem = f"{kind} {key!r} of run {run.name!r} has {len(text):,} characters"
                raise TooLargeError(f"{problem}, and MLflow keeps at most {limit:,}; make it an artifact")
    if own := [key for key in run.tags if key.startswith(_OWN)]:
        raise RequestError(f"tag {own[0]!r} of run {run.name!r} is MLflow's own; choose another name")
    for name in run.artifacts:
        _artifact_path(name)


def _artifact_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
        raise RequestError(f"{name!r} cannot be an artifact's name; use a relative path like 'report.json'")
    return path


def _experiment(client: MlflowClient, place: Place, name: str) -> str:
    """Its id; made where there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = f"{place.artifacts.as_uri()}/evals" if place.artifacts else None
        try:
            made: str = client.create_experiment(name, location)
            return made
        except MlflowException as exc:
            found = client.get_experiment_by_name(name)
            if exc.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS") or found is None:
                raise
    if found.lifecycle_stage != "active":
        cure = f"run `mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another name"
        raise ConfigurationError(f"experiment {name!r} is deleted in the MLflow registry; {cure}")
    known: str = found.experiment_id
    return known


def _log_values(client: MlflowClient, run_id: str, run: EvalRun, end_ms: int) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(key, value, end_ms, 0) for key, value in run.metrics.items()]
    params = [Param(key, value) for key, value in run.params.items()]
    tags = [RunTag(key, value) for key, value in run.tags.items()]
    for start in range(0, max(len(metrics), len(params), len(tags)), _BATCH_SIZE):
        part = slice(start, start + _BATCH_SIZE)
        client.log_batch(run_id, metrics[part], params[part], tags[part])


def _log_artifacts(client: MlflowClient, run_id: str, artifacts: Mapping[str, str]) -> None:
    if not artifacts:
        return
    with TemporaryDirectory() as directory:
        for name, text in artifacts.items():
            path = Path(directory, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode(errors="surrogatepass"))
        client.log_artifacts(run_id, directory)


def _take_back(client: MlflowClient, run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # what made it fail is what is told, and nobody finds a run that never ended
        client.delete_run(run_id)


def _search(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> Iterator[Run]:
    plain = {key: value for key, value in tags.items() if _PLAIN.fullmatch(key) and _PLAIN.fullmatch(value)}
    condition = " AND ".join(
        ["attributes.status != 'RUNNING'", *(f"tags.`{key}` = '{value}'" for key, value in plain.items())]
    )
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], condition, max_results=_PAGE_SIZE, order_by=["start_time DESC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return
