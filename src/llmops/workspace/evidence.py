"""Evidence for a release: the verdicts that speak of exactly the content that would answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llmops.errors import LlmopsError, PromotionRefusedError
from llmops.evals.run import suite_digest
from llmops.evals.spec import SuiteSpec
from llmops.records import Verdict
from llmops.releases import PRODUCTION
from llmops.serving.spec import RouteSpec
from llmops.workspace.collection_gate import required_verdict
from llmops.workspace.evaluation import contents_of, imported_verdict
from llmops.workspace.ledger import Ledger
from llmops.workspace.opened import route_hashes

Kind = Literal["prompt", "collection"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Content that is to be released: `target` is a prompt's digest or a collection's physical name."""

    kind: Kind
    name: str
    target: str
    version: int | None

    @property
    def key(self) -> str:
        """What a verdict on it calls it."""
        return f"{self.kind}:{self.name}"

    @property
    def called(self) -> str:
        return f"{self.key}@{self.version}" if self.version else self.key


def required_verdicts(ledger: Ledger, chosen: Sequence[Chosen]) -> list[Verdict]:
    """A passing verdict of every suite on every route that would answer from the chosen content, and of its gates.

    Raises:
        PromotionRefusedError: one is missing or did not pass; says which, why, and the command that makes one.
    """
    routes = [route for route in ledger.files.routes.values() if any(_uses(route, one) for one in chosen)]
    gates = {r.name: [s for s in ledger.files.suites.values() if s.route == r.name and s.gate] for r in routes}
    compared = {
        one.key: required_verdict(ledger, one.name, one.target) for one in chosen if one.kind == "collection"
    }
    unmeasured = [
        one
        for one in chosen
        if compared.get(one.key) is None and not any(_uses(r, one) and gates[r.name] for r in routes)
    ]
    if unmeasured:
        names = ", ".join(one.called for one in unmeasured)
        problem = f"nothing measures {names}: no suite with a gate in evals/ names a route that answers from it"
        raise PromotionRefusedError(f"{problem}; write one, or pass --force --reason TEXT")
    found: list[Verdict] = []
    for route in routes:
        if gates[route.name]:
            contents = _contents_after(ledger, route, chosen)
            found += [_passing(ledger, suite, contents, chosen) for suite in gates[route.name]]
    return [*found, *(verdict for verdict in compared.values() if verdict is not None)]


def _uses(route: RouteSpec, one: Chosen) -> bool:
    if one.kind == "prompt":
        return route.released_prompt == (one.name, PRODUCTION)
    return route.retrieval is not None and route.retrieval.collection == one.name


def _contents_after(ledger: Ledger, route: RouteSpec, chosen: Sequence[Chosen]) -> dict[str, str]:
    """What the route would be made of when all of it is released."""
    moving = {(one.kind, one.name): one.target for one in chosen}
    released, prompt = route.released_prompt, None
    if released is not None and released[1] == PRODUCTION and ("prompt", released[0]) in moving:
        prompt = (released[0], moving[("prompt", released[0])])
    elif (now := ledger.prompt_for(route)) is not None:
        prompt = (now.spec.name, now.digest)
    hashes = route_hashes(ledger.files, ledger.settings, route, prompt=prompt)
    collection = moving.get(("collection", route.retrieval.collection)) if route.retrieval is not None else None
    return contents_of(ledger, route, hashes, collection=collection)


def _passing(ledger: Ledger, suite: SuiteSpec, contents: Mapping[str, str], chosen: Sequence[Chosen]) -> Verdict:
    wanted = suite_digest(suite, suite.dataset())
    names = " with ".join(one.called for one in chosen)
    verdicts = ledger.verdicts.latest(suite.name, limit=500)
    current = [verdict for verdict in verdicts if verdict.suite_digest == wanted]
    moving = {one.name for one in chosen if one.kind == "collection"}
    matching = [verdict for verdict in current if not _differences(verdict, contents, moving)]
    if not matching and (imported := _from_registry(ledger, suite, wanted, contents, moving)):
        matching = [imported]
    if not matching:
        raise PromotionRefusedError(_nothing_matches(ledger, suite, current, verdicts, contents, moving, names))
    verdict = matching[0]
    if verdict.outcome != "pass":
        failed = [check for check in verdict.checks if check.outcome != "pass"]
        why = "; ".join(f"{check.rule}: {check.reason}" for check in failed[:3])
        said = "failed" if verdict.outcome == "fail" else "was inconclusive"
        raise PromotionRefusedError(
            f"suite {suite.name!r} {said} on exactly {names} ({why}); `llmops eval show "
            f"{verdict.verdict_id[:12]}` says more"
        )
    return verdict


def _differences(verdict: Verdict, contents: Mapping[str, str], moving: set[str]) -> list[str]:
    """Names of what the verdict did not measure as it would be.

    A collection that stays where it is counts by its own name too: its documents may have moved on since.
    """
    gone = [name for name in verdict.contents if name not in contents and not name.startswith("stored-as:")]
    different = []
    for name, value in contents.items():
        kind, _, of = name.partition(":")
        if kind == "stored-as" or verdict.contents.get(name) == value:
            continue
        stored = f"stored-as:{of}"
        is_same_place = (
            kind == "collection" and of not in moving and verdict.contents.get(stored) == contents[stored]
        )
        if not is_same_place:
            different.append(name)
    return different + gone


def _nothing_matches(
    ledger: Ledger,
    suite: SuiteSpec,
    current: Sequence[Verdict],
    verdicts: Sequence[Verdict],
    contents: Mapping[str, str],
    moving: set[str],
    names: str,
) -> str:
    """Why no verdict counts, by the one that comes closest, and the command that makes one."""
    command = f"llmops eval run {suite.name}"
    for name, value in contents.items():
        kind, _, of = name.partition(":")
        if kind == "prompt" and (version := _version_of(ledger, of, value)):
            command += f" --prompt {of}@{version}"
        if kind == "collection" and of in moving:
            command += f" --collection {contents[f'stored-as:{of}']}"
    if not verdicts:
        why = "it never ran"
    elif not current:
        why = "its verdicts are of an earlier state of the suite"
    else:
        closest = min((_differences(verdict, contents, moving) for verdict in current), key=len)
        why = f"its verdicts are for other content ({', '.join(closest)})"
    return f"suite {suite.name!r} has no verdict for exactly {names}: {why}; run `{command}`"


def _version_of(ledger: Ledger, name: str, digest: str) -> int | None:
    artifact = ledger.artifacts.get("prompt", name, digest)
    return artifact.version if artifact is not None else None


def _from_registry(
    ledger: Ledger, suite: SuiteSpec, wanted: str, contents: Mapping[str, str], moving: set[str]
) -> Verdict | None:
    """A verdict that another ledger reached, such as CI's, and logged to the same MLflow."""
    if not ledger.settings.mlflow_tracking_uri:
        return None
    prompts = {f"llmops.{n.replace(':', '.')}": v for n, v in contents.items() if n.startswith("prompt:")}
    try:
        runs = ledger.registry.find_runs(f"llmops/{suite.name}", {"llmops.suite_digest": wanted, **prompts})
    except LlmopsError as error:
        raise PromotionRefusedError(f"no verdict on this ledger, and MLflow cannot be asked: {error}") from error
    unreadable: list[LlmopsError] = []
    for run_id, _ in runs:
        try:
            verdict = imported_verdict(ledger, run_id)
        except LlmopsError as error:  # another run may hold what is looked for
            unreadable.append(error)
            continue
        is_of_suite = (verdict.suite, verdict.suite_digest) == (suite.name, wanted)
        if is_of_suite and not _differences(verdict, contents, moving):
            return verdict
    if unreadable:
        problem = f"no verdict on this ledger, and one in MLflow cannot be read: {unreadable[0]}"
        raise PromotionRefusedError(problem) from unreadable[0]
    return None
