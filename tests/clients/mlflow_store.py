"""An embedded MLflow registry for tests, made once in a test session and then copied; and what to put into one."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llmops.clients.mlflow import EvalRun, PromptContent, Registry, open_registry

FILE = "mlflow.sqlite3"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
TEMPLATE = (
    "---\nname: answer\nvariables: {question: {type: string}}\n---\r\n"
    "{% block system %}\n  Say 'no' or \"yes\"; {{ tone | default('kind') }} \\n {# 注释 #}\n{% endblock %}\n"
    "{% block user %}{{ question }} – naïve 🙂 \u2028 </script> %s ${x} {{ '{{' }}{% endblock %}\n\n\t "
)


def copy_store(state: Path) -> Path:
    """Put the file of an empty registry into the folder `state`; its path."""
    state.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(_made(), state / FILE))


def open_copy(state: Path) -> Registry:
    """An empty embedded registry in the folder `state`."""
    copy_store(state)
    return open_registry("", state)


def prompt(name: str, text: str = TEMPLATE, **other: Any) -> PromptContent:
    fields: dict[str, Any] = {
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "author": "ada@example.org",
        "commit": "0123abc",
        "message": "Kinder – “ton”",
    }
    return PromptContent(name=name, text=text, **{**fields, **other})


def eval_run(experiment: str, **other: Any) -> EvalRun:
    fields: dict[str, Any] = {
        "name": "assistant @ 3",
        "params": {"suite": "assistant", "k": "5"},
        "metrics": {"faithfulness": 0.75, "latency/p95_ms": 12.5},
        "tags": {"llmops.spec": "abc", "llmops.verdict": "pass"},
        "artifacts": {"report.md": "# Report\r\n– fine\n", "scores/rows.json": "[]"},
        "started_at": NOW,
        "duration_s": 2.5,
    }
    return EvalRun(experiment=experiment, **{**fields, **other})


@cache
def _made() -> Path:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    state = Path(tempfile.mkdtemp(prefix="llmops-mlflow-"))
    atexit.register(shutil.rmtree, state, ignore_errors=True)
    open_registry("", state).close()
    return state / FILE
