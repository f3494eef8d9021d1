from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmops.cli.app import run
from tests.clients.mlflow_store import copy_store
from tests.gateway.upstream import closed_port
from tests.gateway.workspaces import write_template
from tests.story.library import write_library


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command line left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int, *parts: str) -> None:
        """It ended with one line on standard error that contains `parts`, and wrote nothing else."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.startswith("llmops: ")
        assert self.err.count("\n") == 1
        for part in parts:
            assert part in self.err


Command = Callable[..., Ended]


@pytest.fixture
def llmops(capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process."""

    def command(*arguments: str | Path) -> Ended:
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    return command


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "encoder-graphs"


@pytest.fixture
def fresh(tmp_path: Path, models: Path) -> Path:
    """A workspace of its own in which nothing has been ingested."""
    return write_template(tmp_path / "fresh", models)


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """A workspace, ingested, that the tests of a session share and only read or add to."""
    root = write_template(tmp_path_factory.mktemp("cli") / "ready", models)
    assert run(["ingest", "-w", str(root)]) == 0
    return root


@pytest.fixture(scope="session")
def _library(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    root = write_library(tmp_path_factory.mktemp("cli") / "library", models)
    copy_store(root / ".llmops")
    for command in (["ingest"], ["prompt", "publish"]):
        assert run([*command, "-w", str(root)]) == 0
    return root


@pytest.fixture
def library(_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The story's library, ingested, its prompt published as version 1 and not released; a copy for each test."""
    monkeypatch.setenv("LLMOPS_ACTOR", "ada")
    # Qdrant Edge's files are 180 MB of holes: cp leaves them out, shutil would write them.
    subprocess.run(["cp", "-a", _library, tmp_path / "library"], check=True)
    return tmp_path / "library"


@pytest.fixture
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is a server that does not run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")


def edit(path: Path, old: str, new: str) -> None:
    """Replace what a file says; it must say it."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
