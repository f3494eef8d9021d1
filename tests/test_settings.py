"""What the environment says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmops.settings import Settings, state_directory


def test_nothing_set_is_the_embedded_default() -> None:
    settings = Settings.from_environment()
    assert settings == Settings()
    assert (settings.database_url, settings.qdrant_url, settings.chat_url) == ("", "", "")


def test_each_variable_sets_its_field() -> None:
    names = list(Settings.__dataclass_fields__)
    variables = {name: f"LLMOPS_{name.upper()}" for name in names} | {"mlflow_tracking_uri": "MLFLOW_TRACKING_URI"}
    settings = Settings.from_environment({variable: f"of {name}" for name, variable in variables.items()})
    assert {name: getattr(settings, name) for name in names} == {name: f"of {name}" for name in names}
    assert Settings.from_environment({"LLMOPS_SURPRISE": "x", "DATABASE_URL": "y"}) == Settings()


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_QDRANT_URL", "http://127.0.0.1:6333")
    assert Settings.from_environment().qdrant_url == "http://127.0.0.1:6333"


@pytest.mark.parametrize(("said", "n"), [("3", 3), ("16", 16)])
def test_threads_are_as_many_as_asked(said: str, n: int) -> None:
    assert Settings(threads=said).n_threads == n


@pytest.mark.parametrize("said", ["", "0", "-2", "many", "1.5", "²"])
def test_threads_are_else_as_many_as_this_process_may_use(said: str) -> None:
    assert Settings(threads=said).n_threads == len(os.sched_getaffinity(0))


def test_state_lives_in_one_folder_of_the_workspace() -> None:
    assert state_directory(Path("app")) == Path("app/.llmops")
