"""A workspace opens whole or not at all, and gives back what it took."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmops.errors import ConfigurationError, NotFoundError, StorageError, WorkspaceBusyError
from llmops.serving.spec import ExtractiveEndpoint, OpenAIEndpoint
from llmops.settings import Settings
from llmops.workspace.endpoints import effective_endpoint
from llmops.workspace.opened import Workspace
from llmops.workspace.ownership import find_owner, take_ownership
from tests.workspace.test_files import TEMPLATE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TEMPLATE, tmp_path / "app"))


def test_an_open_workspace_is_owned_until_it_closes(root: Path) -> None:
    workspace = Workspace(root, Settings(), command="llmops up")
    with pytest.raises(WorkspaceBusyError, match=r"in use by `llmops up`"):
        Workspace(root, Settings(), command="llmops ask")
    workspace.close()
    assert find_owner(root) is None
    Workspace(root, Settings(), command="llmops ask").close()


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (Settings(database_url="nonsense"), ConfigurationError, "is not a database URL"),
        (Settings(database_url="postgresql://u@127.0.0.1:1/d"), StorageError, "Connection refused"),
    ],
)
def test_a_workspace_that_cannot_open_is_not_owned(
    settings: Settings, error: type[Exception], said: str, root: Path
) -> None:
    with pytest.raises(error, match=said):
        Workspace(root, settings, command="llmops up")
    take_ownership(root, "llmops up").release()


def test_vectors_that_cannot_be_opened_leave_the_workspace_free(root: Path) -> None:
    (root / ".llmops").mkdir()
    (root / ".llmops/vectors").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="vectors' cannot be written"):
        Workspace(root, Settings(), command="llmops up")
    (root / ".llmops/vectors").unlink()
    Workspace(root, Settings(), command="llmops up").close()


def test_an_unknown_route_is_not_found(root: Path) -> None:
    workspace = Workspace(root, Settings(), command="llmops up")
    with pytest.raises(NotFoundError, match="no route 'none'; there is: assistant"):
        workspace.route("none")
    workspace.close()


def test_the_environment_puts_an_endpoint_in_place_of_the_extractive_model() -> None:
    extractive = ExtractiveEndpoint(type="extractive")
    own = OpenAIEndpoint(type="openai", base_url="http://own/v1", model="own")
    chat = Settings(chat_url="http://127.0.0.1:8000/v1", chat_model="m")
    assert effective_endpoint(extractive, Settings()) is extractive
    assert effective_endpoint(own, chat) is own
    replaced = effective_endpoint(extractive, chat)
    assert isinstance(replaced, OpenAIEndpoint)
    assert (replaced.base_url, replaced.model) == ("http://127.0.0.1:8000/v1", "m")
    with pytest.raises(ConfigurationError, match="LLMOPS_CHAT_URL is set but LLMOPS_CHAT_MODEL is not"):
        effective_endpoint(extractive, Settings(chat_url="http://127.0.0.1:8000/v1"))
    with pytest.raises(ConfigurationError, match="LLMOPS_CHAT_URL 'localhost:8000' must begin with http"):
        effective_endpoint(extractive, Settings(chat_url="localhost:8000", chat_model="m"))
