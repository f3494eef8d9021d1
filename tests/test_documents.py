"""Documents are executed: README commands run, links resolve, YAML examples are valid specs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from llmops.cli.app import app, run
from llmops.config import Spec
from llmops.evals.spec import SuiteSpec
from llmops.guardrails.spec import GuardrailsSpec
from llmops.ingestion.spec import IngestionSpec
from llmops.serving.spec import ModelsSpec, RouteSpec


def _command_names() -> list[str]:
    """Every command there is, as one types it."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    names = []
    for name, command in group.commands.items():
        parts = command.commands if isinstance(command, TyperGroup) else {}
        names += [f"{name} {part}" for part in parts] or [name]
    return names


COMMAND_NAMES = _command_names()
ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<body>.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


def _blocks(page: Path, kind: str) -> list[str]:
    return [match["body"] for match in _BLOCK.finditer(page.read_text()) if match["kind"] == kind]


def _commands(page: Path) -> list[str]:
    lines = (line for block in _blocks(page, "console") for line in block.splitlines())
    return [line[2:] for line in lines if line.startswith("$ ")]


def test_readme_llmops_commands_run_in_order(tmp_path: Path) -> None:
    commands = [command for command in _commands(ROOT / "README.md") if command.startswith("llmops ")]
    assert len(commands) >= 5
    program = Path(sys.executable).parent / "llmops"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LLMOPS_")}
    outputs = {}
    for command in commands:
        done = subprocess.run(
            command.replace("llmops", str(program), 1),
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        outputs[command.split()[1]] = done.stdout
    assert "PASS: verdict ver_" in outputs["eval"]
    assert "CREDIT_CARD" in outputs["guard"]
    assert "[1]" in outputs["ask"]
    assert ".llmops/" in outputs["ask"]


def test_readme_make_commands_name_real_targets() -> None:
    commands = [command for command in _commands(ROOT / "README.md") if command.startswith("make ")]
    assert {command.split()[1] for command in commands} >= {"demo", "test", "check"}
    for command in commands:
        done = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_readme_python_runs_against_a_workspace(tmp_path: Path) -> None:
    blocks = _blocks(ROOT / "README.md", "python")
    embedded = next(block for block in blocks if "llmops.open" in block)
    assert run(["init", str(tmp_path / "my-app")]) == 0
    assert run(["ingest", "-w", str(tmp_path / "my-app")]) == 0
    script = f"{embedded}\nprint(answer.text)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert ".llmops/" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            path = (page.parent / target.partition("#")[0]).resolve()
            assert path.exists(), f"{page.name} links to {target}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_examples_are_valid_specs(page: Path) -> None:
    kinds: dict[str, type[Spec]] = {
        "source": IngestionSpec,
        "endpoints": ModelsSpec,
        "model": RouteSpec,
        "gate": SuiteSpec,
        "message": GuardrailsSpec,
    }
    for block in _blocks(page, "yaml"):
        value = yaml.safe_load(block)
        assert isinstance(value, dict), f"{page.name}: an example that is no mapping:\n{block}"
        kind = next(
            (spec for key, spec in kinds.items() if key in value and ("name" in value or key == "endpoints")), None
        )
        if kind is not None:
            kind.model_validate(value, strict=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_commands_exist(page: Path) -> None:
    known = {*(name.split()[0] for name in COMMAND_NAMES), "--help"}
    for command in _commands(page):
        words = command.split()
        if words[0] == "llmops":
            assert words[1] in known, f"{page.name}: {command}"


def test_every_command_is_documented() -> None:
    reference = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    assert len(COMMAND_NAMES) > 30
    for command in COMMAND_NAMES:
        assert f"llmops {command}" in reference, f"docs/reference does not document `llmops {command}`"


def test_make_is_at_hand() -> None:
    assert shutil.which("make"), "the two commands of a newcomer need make"
