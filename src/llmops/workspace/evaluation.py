"""Measuring a workspace with a suite: what exactly is measured, the run, and the verdict on the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from llmops.datasets import Dataset
from llmops.errors import LlmopsError, MissingExtraError, NotFoundError, StorageError
from llmops.evals.report import SuiteReport
from llmops.evals.run import OnProgress, run_suite
from llmops.evals.spec import SuiteSpec
from llmops.records import Verdict
from llmops.releases.verdicts import gate_check
from llmops.serving.route import Route
from llmops.serving.spec import RouteSpec
from llmops.workspace.files import load_files
from llmops.workspace.ledger import Ledger
from llmops.workspace.opened import Workspace
from llmops.workspace.prompts import find_prompt
from llmops.workspace.provenance import current_user, head_commit


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a suite measures, where it is not what the files say.

    Attributes:
        prompt: a file, `name`, `name@3` or `name@alias`; by default the file of the route's prompt.
        collection: physical name of a collection; by default the one that answers.
        as_served: the prompt that answers now, not the file.
    """

    prompt: str | None = None
    collection: str | None = None
    as_served: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A suite with everything it needs, ready to run.

    Attributes:
        described: what is measured, in words, for people.
    """

    suite: SuiteSpec
    dataset: Dataset
    route: Route
    contents: Mapping[str, str]
    described: tuple[str, ...]

    async def run(self, on_progress: OnProgress = lambda _done, _of: None) -> SuiteReport:
        return await run_suite(
            self.suite, self.dataset, self.route, contents=self.contents, on_progress=on_progress
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A verdict that is on the ledger; `problem` says why its run is not in MLflow as well, or is ""."""

    verdict: Verdict
    problem: str = ""


def prepare(workspace: Workspace, suite: str, target: Target) -> Prepared:
    """Load a suite and build the route it measures, from the files as they are now.

    Raises:
        NotFoundError: there is no such suite, prompt or collection.
        SpecError: a file or dataset is wrong or empty.
    """
    files = load_files(workspace.root)
    workspace.files = workspace.ledger.files = replace(workspace.files, prompts=files.prompts, suites=files.suites)
    spec = files.suite(suite)
    dataset = spec.dataset()
    route_spec = workspace.files.route(spec.route)
    prompt, called = _prompt(workspace, route_spec, target)
    route = workspace.build_route(route_spec, prompt, pinned=target.collection)
    contents = contents_of(workspace.ledger, route_spec, route.spec_hashes, collection=target.collection)
    described = [f"route {route_spec.name}", f"prompt {prompt.spec.name} {prompt.digest[:12]} ({called})"]
    if route.retriever is not None:
        described.append(f"collection {route.retriever.shape().collection}")
    described.append(f"model {route.model.name}:{route.model.model}")
    return Prepared(suite=spec, dataset=dataset, route=route, contents=contents, described=tuple(described))


def _prompt(workspace: Workspace, route: RouteSpec, target: Target) -> tuple[Any, str]:
    ledger = workspace.ledger
    if target.prompt is not None:
        return find_prompt(ledger, target.prompt)
    if route.released_prompt is not None and not target.as_served:
        named = workspace.files.prompt_named(route.released_prompt[0])
        if named is not None:
            return named, named.spec.file
    prompt = ledger.prompt_for(route)
    if prompt is None:
        raise NotFoundError(f"route {route.name!r} has no prompt: there is nothing to measure")
    return prompt, prompt.spec.file


def contents_of(
    ledger: Ledger, route: RouteSpec, hashes: Mapping[str, str], *, collection: str | None = None
) -> dict[str, str]:
    """Everything that a verdict speaks of, "kind:name" to digest; "stored-as:NAME" is a collection's own name."""
    kinds = ("route:", "prompt:", "guardrails:", "model:")
    contents = {name: value for name, value in hashes.items() if name.startswith(kinds)}
    if route.retrieval is not None:
        name = route.retrieval.collection
        serving = ledger.collections.serving(name)
        stored = collection or (serving.collection if serving is not None else "")
        if not stored:
            raise NotFoundError(f"nothing is ingested under {name!r}; run `llmops ingest run {name}`")
        contents[f"collection:{name}"] = ledger.collection_digest(stored)
        contents[f"stored-as:{name}"] = stored
    return contents


def conclude(ledger: Ledger, report: Mapping[str, Any], *, actor: str | None = None) -> Judged:
    """Store the verdict of a report (as `SuiteReport.as_json` gives it), then log the run to MLflow.

    The ledger comes first: when MLflow cannot be reached the verdict counts all the same, and `llmops eval log`
    sends the run later.
    """
    provenance = {"actor": actor or current_user(), "commit": head_commit(ledger.root)}
    whole = {**report, "provenance": provenance}
    verdict = _verdict(whole)
    ledger.verdicts.add(verdict, orjson.dumps(whole))
    try:
        run_id = log_run(ledger, verdict.verdict_id)
    except MissingExtraError:
        return Judged(verdict=verdict)  # nobody asked for MLflow here
    except LlmopsError as error:
        return Judged(verdict=verdict, problem=str(error))
    return Judged(verdict=replace(verdict, run_id=run_id))


def _verdict(report: Mapping[str, Any], *, run_id: str = "") -> Verdict:
    """What a stored report says; a `KeyError` or `TypeError` when it is none."""
    return Verdict(
        verdict_id=report["report_id"],
        suite=report["suite"],
        suite_digest=report["suite_digest"],
        outcome=report["outcome"],
        contents=dict(report["contents"]),
        checks=tuple(gate_check(check) for check in report["checks"]),
        at=datetime.fromisoformat(report["started_at"]),
        actor=report["provenance"]["actor"],
        commit=report["provenance"]["commit"],
        run_id=run_id,
    )


def log_run(ledger: Ledger, verdict_id: str) -> str:
    """Log a stored run to MLflow, unless it is there already, and return the run's id.

    Raises:
        NotFoundError: no verdict has this id.
        StorageError: MLflow cannot be reached.
    """
    from llmops.clients.mlflow import EvalRun

    verdict = ledger.verdicts.get(verdict_id)
    if verdict.run_id:
        return verdict.run_id
    raw = ledger.verdicts.report(verdict.verdict_id)
    report = orjson.loads(raw)
    metrics = {
        f"{value['metric'].replace('@', '_at_')}.{bound}{_suffix(part)}": float(value[key])
        for part in report["slices"]
        for value in part["values"]
        for bound, key in (("value", "value"), ("low", "low"), ("high", "high"))
    }
    run = EvalRun(
        experiment=f"llmops/{verdict.suite}",
        name=f"{verdict.suite} {verdict.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        params={"suite_digest": verdict.suite_digest, "commit": verdict.commit, "route": report["route"]},
        metrics=metrics,
        tags=verdict_tags(verdict),
        artifacts={"report.json": raw.decode()},
        started_at=verdict.at,
        duration_s=report["duration_s"],
        failed=verdict.outcome == "fail",
    )
    run_id = ledger.registry.log_eval(run)
    ledger.verdicts.logged(verdict.verdict_id, run_id)
    return run_id


def imported_verdict(ledger: Ledger, run_id: str) -> Verdict:
    """A verdict that another ledger reached, taken over from its MLflow run with its whole report.

    Physical names of collections are another ledger's own: what was measured there counts by its digest alone.

    Raises:
        StorageError: the run holds no report of ours.
    """
    raw = ledger.registry.artifact(run_id, "report.json")
    try:
        said = _verdict(orjson.loads(raw), run_id=run_id)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"MLflow run {run_id!r} holds a report that cannot be read ({error!r})"
        raise StorageError(f"{problem}; run the suite again") from error
    contents = {name: value for name, value in said.contents.items() if not name.startswith("stored-as:")}
    ledger.verdicts.add(replace(said, contents=contents), raw.encode())
    return ledger.verdicts.get(said.verdict_id)  # one that this ledger reached itself stays as it is here


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """How a run in MLflow says which verdict it is, so that another ledger can find it."""
    contents = {f"llmops.{name.replace(':', '.')}": value for name, value in verdict.contents.items()}
    return {
        "llmops.verdict_id": verdict.verdict_id,
        "llmops.outcome": verdict.outcome,
        "llmops.suite_digest": verdict.suite_digest,
        "llmops.actor": verdict.actor,
        **contents,
    }


def _suffix(part: Mapping[str, Any]) -> str:
    names = [re.sub(r"[^\w .-]", "_", name) for name in (part["part"], part["tag"]) if name]
    return f".{'.'.join(names)}" if names else ""
