"""Promote and roll back: a name stands for other content only when a verdict on exactly that content allows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmops.errors import LlmopsError, NotFoundError, RequestError
from llmops.records import Release, Verdict
from llmops.releases import PRODUCTION, Move
from llmops.workspace.evidence import Chosen, Kind, required_verdicts
from llmops.workspace.ledger import Ledger
from llmops.workspace.prompts import keep_version

if TYPE_CHECKING:
    from llmops.clients.mlflow import PromptVersion

_TARGET = re.compile(
    r"(?:(?P<kind>prompt|collection):)?(?P<name>[a-z0-9][a-z0-9._-]{0,127})(?:@(?P<version>\d{1,9}))?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Promoted:
    """Releases that are done; `problems` says what could not be brought to MLflow."""

    releases: tuple[Release, ...]
    verdicts: tuple[Verdict, ...] = ()
    problems: tuple[str, ...] = field(default=())


def promote(
    ledger: Ledger, wanted: Sequence[str], *, actor: str, is_forced: bool = False, reason: str = ""
) -> Promoted:
    """Let names answer from new content, together or not at all.

    Args:
        wanted: such as `prompt:answer` (its newest version), `prompt:answer@3`, `collection:handbook`.
        is_forced: go without a verdict; the reason is kept in the audit log.

    Raises:
        PromotionRefusedError: a suite that measures it has no passing verdict on exactly this content.
        RequestError: nothing would change, or a forced release has no reason.
    """
    if is_forced and not reason.strip():
        raise RequestError("a forced release needs its reason: add --reason TEXT; it is kept in the audit log")
    ledger.refresh()
    chosen = [_choose(ledger, text) for text in wanted]
    for one in chosen:
        if sum((one.kind, one.name) == (other.kind, other.name) for other in chosen) > 1:
            raise RequestError(f"{one.kind}:{one.name} is named twice; name each once, with the version you mean")
        now = ledger.releases.now(one.kind, one.name)
        if now is not None and now.target == one.target:
            raise RequestError(f"{one.called} is already in production; there is nothing to promote")
    verdicts = [] if is_forced else required_verdicts(ledger, chosen)
    moves = [
        Move(
            kind=one.kind,
            name=one.name,
            target=one.target,
            version=one.version,
            action="promote",
            actor=actor,
            verdict_id=next((v.verdict_id for v in verdicts if one.key in v.contents), ""),
            is_forced=is_forced,
            reason=reason,
        )
        for one in chosen
    ]
    return _done(ledger, moves, verdicts)


def roll_back(ledger: Ledger, wanted: str, *, actor: str, reason: str = "") -> Promoted:
    """Let a name answer from what it answered from before; a second time goes further back.

    No verdict is asked for: what is rolled back to was in production.

    Raises:
        NotFoundError: there is nothing before it, or its content is gone.
    """
    ledger.refresh()
    kind, name, version = _parse(ledger, wanted)
    wanted_target = f"{name}-{version}" if kind == "collection" else None
    stack = _answered_before(ledger.releases.history(kind, name, PRODUCTION, limit=10_000)[::-1])
    earlier = [item for item in stack[:-1] if version is None or item[1] == version or item[0] == wanted_target]
    if not earlier:
        which = "no earlier release" if version is None else f"no earlier release of version {version}"
        raise NotFoundError(f"{kind}:{name} has {which} to go back to; `llmops release status` shows them")
    target, number = earlier[-1]
    if kind == "collection":
        ledger.collections.get(target)
    else:
        ledger.stored_prompt(name, target)
    move = Move(kind=kind, name=name, target=target, version=number, action="rollback", actor=actor, reason=reason)
    return _done(ledger, [move], [])


def _answered_before(history: Sequence[Release]) -> list[tuple[str, int | None]]:
    """Targets with their versions, the current one last: what a rollback leaves behind it is not gone back to."""
    # A ledger that was upgraded knows what its first release replaced, and not when that was released.
    stack = [(r.previous, r.previous_version) for r in history[:1] if r.previous]
    for release in history:
        if release.action == "rollback" and any(target == release.target for target, _ in stack):
            while stack[-1][0] != release.target:
                stack.pop()
        elif not stack or stack[-1][0] != release.target:
            stack.append((release.target, release.version))
    return stack


def mirror(ledger: Ledger) -> list[str]:
    """Bring MLflow's aliases of prompts in line with the ledger, and say which were moved.

    Raises:
        StorageError: MLflow cannot be reached.
    """
    ledger.refresh()
    moved = []
    for alias in ledger.releases.aliases("prompt"):
        version = _registered(ledger, alias.name, alias.target)
        if ledger.registry.aliases(alias.name).get(alias.alias) != version:
            ledger.registry.set_alias(alias.name, alias.alias, version)
            moved.append(f"{alias.subject} is version {version}")
    return moved


def _registered(ledger: Ledger, name: str, digest: str) -> int:
    """The version that has this content in the registry as it is now, whatever it was called elsewhere.

    Raises:
        NotFoundError: the registry does not have it.
    """
    for version in ledger.registry.versions(name):
        if version.digest == digest:
            return version.version
    problem = f"the registry at {ledger.registry.place} does not have the content {digest[:12]} of prompt {name!r}"
    raise NotFoundError(f"{problem}; publish it there with `llmops prompt publish {name}`")


def _done(ledger: Ledger, moves: Sequence[Move], verdicts: Sequence[Verdict]) -> Promoted:
    """The ledger decides what answers; MLflow's aliases follow it, later if need be."""
    releases = ledger.collections.move(moves)
    ledger.releases.refresh()
    problems = []
    for move in moves:
        if move.kind == "prompt":
            try:
                ledger.registry.set_alias(move.name, move.alias, _registered(ledger, move.name, move.target))
            except LlmopsError as error:
                problems.append(f"MLflow's alias was not moved, `llmops release sync` does it later: {error}")
    return Promoted(releases=tuple(releases), verdicts=tuple(verdicts), problems=tuple(dict.fromkeys(problems)))


def _parse(ledger: Ledger, text: str) -> tuple[Kind, str, int | None]:
    match = _TARGET.fullmatch(text)
    if match is None:
        raise RequestError(f"{text!r} is nothing to release; write prompt:NAME, prompt:NAME@3 or collection:NAME")
    name, version = match["name"], int(match["version"]) if match["version"] else None
    if match["kind"] is not None:
        return ("prompt" if match["kind"] == "prompt" else "collection"), name, version
    is_prompt = ledger.files.prompt_named(name) is not None or bool(ledger.releases.aliases("prompt", name))
    is_collection = name in ledger.files.pipelines
    if is_prompt and is_collection:
        raise RequestError(f"{name!r} is both a prompt and a collection; write prompt:{name} or collection:{name}")
    if not is_prompt and not is_collection:
        known = [f"prompt:{prompt.spec.name}" for prompt in ledger.files.prompts.values()]
        known += [f"collection:{pipeline}" for pipeline in ledger.files.pipelines]
        raise NotFoundError(f"no prompt or collection {name!r}; there is: {', '.join(sorted(known)) or 'nothing'}")
    return ("prompt" if is_prompt else "collection"), name, version


def _choose(ledger: Ledger, text: str) -> Chosen:
    kind, name, version = _parse(ledger, text)
    if kind == "collection":
        return _collection(ledger, name, version)
    kept = ledger.artifacts.published("prompt", name)
    found = next((artifact for artifact in kept if version in (None, artifact.version)), None)
    if found is not None:
        ledger.stored_prompt(name, found.digest)  # what cannot be read cannot answer
        return Chosen(kind=kind, name=name, target=found.digest, version=found.version)
    registered = _newest_registered(ledger, name) if version is None else ledger.registry.version(name, version)
    keep_version(ledger, registered)
    return Chosen(kind=kind, name=name, target=registered.digest, version=registered.version)


def _newest_registered(ledger: Ledger, name: str) -> PromptVersion:
    """What was published through another ledger."""
    try:
        return ledger.registry.versions(name)[-1]
    except NotFoundError:
        problem = f"prompt {name!r} was never published"
        raise NotFoundError(f"{problem}; run `llmops prompt publish {name}`") from None


def _collection(ledger: Ledger, name: str, version: int | None) -> Chosen:
    if version is not None:
        shape = ledger.collections.get(f"{name}-{version}")
    else:
        candidate = ledger.collections.candidate(name)
        if candidate is None:
            cure = f"run `llmops ingest run {name} --beside`"
            raise NotFoundError(f"no candidate of collection {name!r} waits for a release; {cure}")
        shape = candidate
    if shape.state == "building":
        raise RequestError(f"collection {shape.collection!r} is not complete; run the ingestion again")
    number = shape.collection.removeprefix(f"{name}-")
    return Chosen(
        kind="collection",
        name=name,
        target=shape.collection,
        version=int(number) if number.isdecimal() else None,
    )
