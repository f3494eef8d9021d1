from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmops.cli.app import run
from tests.gateway.workspaces import write_template


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
