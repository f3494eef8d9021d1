"""Prompts in MLflow's prompt registry: published once for each content, found by number and by alias."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmops.clients.mlflow.records import PromptContent, PromptVersion, refuse_unkeepable
from llmops.errors import NotFoundError, RequestError, TooLargeError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

DIGEST, AUTHOR, COMMIT = "llmops.digest", "llmops.author", "llmops.commit"
_IS_PROMPT = "tag.`mlflow.prompt.is_prompt` = 'true'"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_MESSAGE = 5_000  # the column's size
_PAGE_SIZE = 100
_ATTEMPTS = 8


def publish(client: MlflowClient, content: PromptContent) -> tuple[PromptVersion, bool]:
    """The version of this content, and whether it is new.

    MLflow has no unique key on a digest, but it hands out version numbers one after the other: whoever has made a
    version and then sees an older one with the same digest takes its own back. The oldest stays, for everybody.
    """
    _check(content)
    if same := _with_digest(client, content):
        return _version(same[0], _aliases(client, content.name)), False
    _ensure_prompt(client, content.name)
    made = _make_version(client, content)
    same = _with_digest(client, content)
    if not same:
        raise NotFoundError(f"version {made} of prompt {content.name!r} was deleted at once; publish it again")
    if is_new := int(same[0].version) == made:
        return _version(same[0], {}), is_new
    client.delete_prompt_version(content.name, str(made))
    return _version(same[0], _aliases(client, content.name)), False


def versions(client: MlflowClient, name: str) -> list[PromptVersion]:
    """All versions, oldest first, without one that a publisher is about to take back."""
    aliases = _aliases(client, name)
    found: list[PromptVersion] = []
    digests = {""}
    for one in _search(client, name):
        version = _version(one, aliases)
        if version.digest not in digests or not version.digest:
            found.append(version)
        digests.add(version.digest)
    return found


def version(client: MlflowClient, name: str, number: int) -> PromptVersion:
    aliases = _aliases(client, name)
    found = _search(client, name, f"version_number = {number:d}") if number > 0 else []
    if not found:
        raise NotFoundError(f"prompt {name!r} has no version {number!r} in the MLflow registry; list its versions")
    return _version(found[0], aliases)


def names(client: MlflowClient) -> list[str]:
    return sorted(model.name for model in _prompts(client) if model.latest_versions)


def set_alias(client: MlflowClient, name: str, alias: str, number: int) -> None:
    # MLflow says "not found" of every failure of its own look-up, also where nobody answers.
    version(client, name, number)
    client.set_prompt_alias(name, alias, number)


def delete_alias(client: MlflowClient, name: str, alias: str) -> None:
    if alias in _aliases(client, name):
        client.delete_prompt_alias(name, alias)


def aliases(client: MlflowClient, name: str) -> dict[str, int]:
    return dict(sorted(_aliases(client, name).items()))


def _check(content: PromptContent) -> None:
    from mlflow.utils.validation import MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH

    name = content.name
    if not _NAME.fullmatch(name):
        rule = "use letters, digits, '_', '.' and '-', at most 256"
        raise RequestError(f"{name!r} cannot be a prompt's name in the MLflow registry; {rule}")
    if not _DIGEST.fullmatch(content.digest):
        raise RequestError(f"{content.digest!r} is not a SHA-256 in hex; give the digest of prompt {name!r}")
    texts = {"text": content.text, "message": content.message, "author": content.author, "commit": content.commit}
    for what, text in {**content.tags, **texts}.items():
        refuse_unkeepable(f"the {what} of prompt {name!r}", text)
        if len(text) > (limit := _MAX_MESSAGE if what == "message" else MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH):
            problem = f"the {what} of prompt {name!r} has {len(text):,} characters"
            raise TooLargeError(f"{problem}, and MLflow keeps at most {limit:,}; shorten it")


def _ensure_prompt(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    if _find(client, name):
        return
    try:
        client.create_prompt(name)
    except MlflowException as exc:
        if exc.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
        if not _find(client, name):
            problem = f"{name!r} is a registered model in the MLflow registry"
            raise RequestError(f"{problem}; give the prompt another name") from exc


def _make_version(client: MlflowClient, content: PromptContent) -> int:
    """A new version's number; MLflow itself gives up when three others were faster."""
    from mlflow.exceptions import MlflowException

    tags = {DIGEST: content.digest, AUTHOR: content.author, COMMIT: content.commit}
    for attempt in range(_ATTEMPTS):
        try:
            made = client.create_prompt_version(
                content.name, content.text, content.message or None, {**content.tags, **tags}
            )
        except MlflowException as exc:
            if "Giving up" not in exc.message or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, 0.05 * (attempt + 1)))
        else:
            return int(made.version)
    raise AssertionError("the last attempt returns or raises")


def _with_digest(client: MlflowClient, content: PromptContent) -> list[ModelVersion]:
    return _search(client, content.name, f"tag.`{DIGEST}` = '{content.digest}'")


def _search(client: MlflowClient, name: str, also: str = "") -> list[ModelVersion]:
    """Versions of a prompt, oldest first."""
    if not _NAME.fullmatch(name):
        return []
    condition = " AND ".join(filter(None, (f"name = '{name}'", _IS_PROMPT, also)))
    return sorted(_pages(client.search_model_versions, condition), key=lambda one: int(one.version))


def _prompts(client: MlflowClient, also: str = "") -> Iterator[RegisteredModel]:
    yield from _pages(client.search_registered_models, " AND ".join(filter(None, (_IS_PROMPT, also))))


def _pages(search: Any, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = search(filter_string=condition, max_results=_PAGE_SIZE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _find(client: MlflowClient, name: str) -> RegisteredModel | None:
    return next(_prompts(client, f"name = '{name}'"), None) if _NAME.fullmatch(name) else None


def _aliases(client: MlflowClient, name: str) -> dict[str, int]:
    found = _find(client, name)
    if found is None or not found.latest_versions:
        raise NotFoundError(f"there is no prompt {name!r} in the MLflow registry; publish it first")
    return {alias: int(number) for alias, number in found.aliases.items()}


def _version(found: ModelVersion, aliases: dict[str, int]) -> PromptVersion:
    number, tags = int(found.version), found.tags
    return PromptVersion(
        name=found.name,
        version=number,
        text=tags.get("mlflow.prompt.text", ""),
        digest=tags.get(DIGEST, ""),
        author=tags.get(AUTHOR, ""),
        commit=tags.get(COMMIT, ""),
        message=found.description or "",
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        aliases=tuple(sorted(alias for alias, to in aliases.items() if to == number)),
    )
