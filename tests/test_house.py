"""The house: imports run down only, nothing heavy loads before it is used, and nothing outgrows a screen."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmops
from tests.conftest import REPOSITORY

SOURCE = REPOSITORY / "src" / "llmops"
PUBLIC = ["Notebook", "__version__", "open"]
HEAVY = ("torch", "mlflow", "qdrant_client", "qdrant_edge", "onnxruntime", "onnx", "fastapi", "transformers")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
MAX_OPTIONS = 9  # the parameters of a command are its options
MODULES = sorted(SOURCE.rglob("*.py"))
# Alembic runs it, and only within a migration.
NOT_IMPORTED = ("llmops.clients.database.migrations.env",)


def said_by(script: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_imports_run_down_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([lint, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "script",
    [
        "import llmops",
        "import sys; from llmops.cli.app import run; assert run(['--help']) == 0",
        "import sys; from llmops.cli.app import run; assert run(['ingest', '--help']) == 0",
    ],
    ids=["import", "help", "help of a command"],
)
def test_nothing_heavy_is_loaded_before_it_is_used(script: str) -> None:
    report = f"{script}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    assert said_by(report).splitlines()[-1] == "[]"


def test_every_module_can_be_imported_and_says_nothing() -> None:
    names = [name for path in MODULES if (name := name_of(path)) not in NOT_IMPORTED]
    script = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)"
    assert len(names) > 50
    assert said_by(script) == ""


def test_the_public_names_are_these() -> None:
    assert sorted(llmops.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(llmops, name)
    with pytest.raises(AttributeError, match="module 'llmops' has no attribute 'surprise'"):
        llmops.surprise  # noqa: B018 (the look-up is what is tested)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[Path, Function]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield path, node


def place(path: Path, function: Function) -> str:
    return f"{path.relative_to(SOURCE)}:{function.lineno} {function.name}"


def n_parameters(function: Function) -> int:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_no_module_outgrows_a_reader() -> None:
    lines = {str(path.relative_to(SOURCE)): path.read_text().count("\n") for path in MODULES}
    assert {name: n for name, n in lines.items() if n > MAX_MODULE_LINES} == {}


def test_no_function_outgrows_a_screen() -> None:
    found = {
        place(path, function): (function.end_lineno or 0) - function.lineno + 1
        for path, function in functions()
        if path.parent.name != "versions"  # a migration is a list of columns
    }
    assert {name: n for name, n in found.items() if n > MAX_FUNCTION_LINES} == {}


def test_no_function_asks_for_too_much() -> None:
    found = {
        place(path, function): n_parameters(function)
        for path, function in functions()
        if n_parameters(function) > (MAX_OPTIONS if path.parent.name == "cli" else MAX_PARAMETERS)
    }
    assert found == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in MODULES
        if (text := path.read_text()) and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_the_version_is_the_packages() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert llmops.__version__ == project["version"]
