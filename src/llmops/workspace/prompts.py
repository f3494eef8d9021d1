"""Publishing prompts: a file becomes a version in the registry, and its content goes to the ledger."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.errors import NotFoundError, RequestError, SpecError
from llmops.prompts import Prompt, load_prompt, parse_prompt
from llmops.releases import PRODUCTION, Artifact, Move
from llmops.releases.audit import record_event
from llmops.workspace.ledger import Ledger
from llmops.workspace.provenance import provenance_of

if TYPE_CHECKING:
    from llmops.clients.mlflow import PromptVersion

_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VERSION_LIKE = re.compile(r"v?\d+|latest")
_MAX_DIGITS = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One prompt after publishing; `is_new` says whether its content made a new version."""

    version: PromptVersion
    is_new: bool
    file: str


def publish_prompt(ledger: Ledger, prompt: Prompt, *, actor: str, message: str = "") -> Published:
    """Register a prompt's content, unless a version has it already.

    Raises:
        StorageError: the registry cannot be reached; nothing was published.
    """
    from llmops.clients.mlflow import PromptContent

    origin = provenance_of(Path(prompt.spec.file))
    content = PromptContent(
        name=prompt.spec.name,
        text=prompt.text,
        digest=prompt.digest,
        author=origin.author,
        commit=origin.commit,
        message=message or prompt.spec.description,
    )
    version, is_new = ledger.registry.publish(content)
    keep_version(ledger, version)
    if is_new:
        record_event(
            ledger.database,
            actor=actor,
            action="prompt.publish",
            subject=f"prompt:{version.name}@{version.version}",
            details={"digest": version.digest, "commit": version.commit, "author": version.author},
        )
    return Published(version=version, is_new=is_new, file=prompt.spec.file)


def keep_version(ledger: Ledger, version: PromptVersion) -> None:
    """Put a registered version on the ledger, from which the gateway reads it.

    Raises:
        RequestError: it was made in MLflow itself, or changed there: it is no prompt of ours.
    """
    called = f"{version.name}@{version.version}"
    try:
        prompt = parse_prompt(version.text, called)
    except SpecError as error:
        raise RequestError(f"{called} in MLflow is no prompt file ({error}); publish it from a file") from error
    if (prompt.spec.name, prompt.digest) != (version.name, version.digest):
        problem = f"{called} in MLflow is not what `llmops prompt publish` made of its file"
        raise RequestError(f"{problem}; publish it from a file")
    ledger.artifacts.publish(
        Artifact(
            kind="prompt",
            name=version.name,
            digest=version.digest,
            content=version.text,
            version=version.version,
            author=version.author[:256],
            commit=version.commit,
            created_at=version.created_at,
        )
    )


def point_alias(ledger: Ledger, name: str, alias: str, version: int, *, actor: str) -> None:
    """Let an alias other than `production` stand for a version; routes that name it follow.

    Raises:
        RequestError: the alias is `production`, which only a release moves, or no name for an alias.
        NotFoundError: there is no such version.
    """
    if alias == PRODUCTION:
        cure = f"run `llmops release promote prompt:{name}@{version}`"
        raise RequestError(f"the alias {alias!r} is moved by releases only; {cure}")
    if not _is_alias(alias):
        raise RequestError(f"{alias!r} is no name for an alias; use a word such as staging")
    found = ledger.registry.version(name, version)
    keep_version(ledger, found)
    ledger.registry.set_alias(name, alias, version)
    move = Move(
        kind="prompt", name=name, alias=alias, target=found.digest, version=version, action="alias", actor=actor
    )
    ledger.releases.move([move])


def _is_alias(text: str) -> bool:
    """Whether this can be an alias; MLflow keeps `latest` and `v3` for itself."""
    return bool(_ALIAS.fullmatch(text)) and not _VERSION_LIKE.fullmatch(text)


def find_prompt(ledger: Ledger, reference: str) -> tuple[Prompt, str]:
    """A prompt by file, name, `name@3` or `name@alias`, and how to call it.

    A bare name is the file in `prompts/` that has it.

    Raises:
        NotFoundError: there is no such prompt, version or alias.
        RequestError: this is no way to name one.
    """
    for path in (ledger.root / reference, Path(reference)):  # the workspace's own file before one that stands here
        with suppress(OSError):  # a name too long for any file
            if path.is_file():
                return load_prompt(path), str(path)
    name, at, which = reference.partition("@")
    is_version = which.isdecimal() and len(which) <= _MAX_DIGITS
    if at and not (name and (is_version or _is_alias(which))):
        raise RequestError(f"{reference!r} names no prompt; write a file, NAME, NAME@3 or NAME@production")
    if not at:
        prompt = ledger.files.prompt_named(name)
        if prompt is None:
            known = ", ".join(sorted(p.spec.name for p in ledger.files.prompts.values())) or "none"
            raise NotFoundError(f"no prompt file for {reference!r}; there is: {known}")
        return prompt, prompt.spec.file
    if not is_version:
        return ledger.released_prompt(name, which), reference
    version = int(which)
    kept = next((a for a in ledger.artifacts.published("prompt", name) if a.version == version), None)
    if kept is not None:
        return ledger.stored_prompt(name, kept.digest), reference
    registered = ledger.registry.version(name, version)
    return parse_prompt(registered.text, reference), reference
