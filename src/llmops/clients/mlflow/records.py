"""What goes into the registry and comes out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from llmops.errors import RequestError

_UNKEEPABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptContent:
    """A prompt to publish.

    Attributes:
        name: letters, digits, '_', '.' and '-'; at most 256.
        text: the whole prompt file, front matter and template; at most 100,000 characters.
        digest: SHA-256 of the content, in hex; two publications with one digest are one version.
        commit: the git commit it stands in, or "".
        message: what changed; at most 5,000 characters.
        tags: further tags of the version, for readers of MLflow's own pages.
    """

    name: str
    text: str
    digest: str
    author: str
    commit: str
    message: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptVersion:
    """A published prompt.

    Attributes:
        version: MLflow's version number, from 1; numbers may have gaps.
        text: as it was published, byte for byte.
        digest: as it was published, or "" for a version that was made in MLflow itself.
        created_at: in UTC.
        aliases: the names that point to this version, sorted.
    """

    name: str
    version: int
    text: str
    digest: str
    author: str
    commit: str
    message: str
    created_at: datetime
    aliases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRun:
    """What is logged of one evaluation.

    Attributes:
        params: values of at most 6,000 characters.
        metrics: finite numbers.
        tags: values of at most 8,000 characters; not those MLflow keeps for itself (`mlflow.…`).
        artifacts: file name (a relative path with '/') to text.
        started_at: with a time zone.
    """

    experiment: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: Mapping[str, str]
    started_at: datetime
    duration_s: float
    failed: bool = False


def refuse_unkeepable(what: str, text: str) -> None:
    """Raise where `text` has a character that not every database can keep: zero, or half of a surrogate pair.

    Raises:
        RequestError: naming `what`.
    """
    if found := _UNKEEPABLE.search(text):
        raise RequestError(f"{what} has the character {found[0]!r}, which a database cannot keep; remove it")
