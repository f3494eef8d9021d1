"""Who did it, and in which commit: asked of git and of the operating system."""

from __future__ import annotations

import getpass
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_GIT_TIMEOUT_S = 10
_MAX_NAME = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a file's content comes from.

    Attributes:
        commit: the last commit that touched it, or "" when there is none or the file differs from it.
        author: that commit's author, or else whoever runs this process.
    """

    author: str
    commit: str


def current_user() -> str:
    """The person at the keyboard: `LLMOPS_ACTOR`, or the name the operating system has; at most 128 characters."""
    if named := os.environ.get("LLMOPS_ACTOR", ""):
        return named[:_MAX_NAME]
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in a container
        return "unknown"


def provenance_of(path: Path) -> Provenance:
    """Author and commit of a file as it is now."""
    if _git(path.parent, "status", "--porcelain", "--", path.name) == "":
        said = _git(path.parent, "log", "-1", "--format=%H%x00%an", "--", path.name)
        commit, _, author = (said or "").partition("\0")
        if commit:
            return Provenance(author=author or current_user(), commit=commit)
    return Provenance(author=current_user(), commit="")


def head_commit(folder: Path) -> str:
    """The commit that is checked out, "-dirty" added when files differ from it; "" outside of a repository."""
    commit = _git(folder, "rev-parse", "HEAD") or ""
    return (
        f"{commit}-dirty" if commit and _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None when it cannot say anything."""
    try:
        done = subprocess.run(
            ["git", "--literal-pathspecs", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
