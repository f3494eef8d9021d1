"""One small workspace, open in this process as a notebook and behind a gateway of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from llmops.ingestion.run import Options
from llmops.settings import Settings
from llmops.workspace.notebook import Notebook
from llmops.workspace.opened import Workspace
from tests.gateway.running import Gateway, run_gateway
from tests.gateway.upstream import Upstream, answering, closed_port, open_upstream
from tests.gateway.workspaces import write_workspace


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "encoder-graphs"


@pytest.fixture(scope="session")
def scripted() -> Iterator[Upstream]:
    with open_upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(scripted: Upstream) -> Upstream:
    """The endpoint behind the routes `rag` and `forward`, as if just started."""
    scripted.requests.clear()
    scripted.handler = answering("It opens ", "at nine", " [1].")
    return scripted


def write(root: Path, models: Path, scripted: Upstream) -> Workspace:
    """A workspace of two teams, ingested and open."""
    write_workspace(root, models, upstream_url=scripted.url, closed=closed_port())
    opened = Workspace(root, Settings(threads="1"), command="a test")
    for name in ("docs", "team"):
        opened.ingest(opened.files.pipeline(name), options=Options())
    return opened


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory, models: Path, scripted: Upstream) -> Iterator[Notebook]:
    """The workspace, open in this process."""
    with Notebook(write(tmp_path_factory.mktemp("open"), models, scripted)) as opened:
        yield opened


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, models: Path, scripted: Upstream) -> Iterator[Gateway]:
    """The workspace behind a gateway."""
    workspace = write(tmp_path_factory.mktemp("served"), models, scripted)
    try:
        with run_gateway(workspace) as running:
            yield running
    finally:
        workspace.close()


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run in asyncio, which LangChain needs."""
    return "asyncio"
