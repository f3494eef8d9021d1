"""Git repositories for tests: a person commits, whatever this machine's git is told elsewhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_PEOPLE = ("AUTHOR", "COMMITTER")


def git(folder: Path, *arguments: str, who: str = "Ada Lovelace") -> str:
    """What git says."""
    people = {f"GIT_{role}_{part}": who for role in _PEOPLE for part in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**environment, **people},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def make_repository(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


def commit(folder: Path, *, who: str = "Ada Lovelace") -> str:
    """Commit everything that is there; the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Next", who=who)
    return git(folder, "rev-parse", "HEAD")
