from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.ingestion.run import Options
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.gateway.running import Gateway, run_gateway
from tests.gateway.upstream import Upstream, answering, closed_port, open_upstream
from tests.gateway.workspaces import write_workspace


@pytest.fixture(scope="session")
def scripted() -> Iterator[Upstream]:
    with open_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(scripted: Upstream) -> Upstream:
    """The endpoint behind the routes `rag` and `forward`, as if just started."""
    scripted.requests.clear()
    scripted.handler = answering("It opens ", "at nine", " [1].")
    return scripted


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "encoder-graphs"


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, models: Path, scripted: Upstream) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("workspace")
    write_workspace(root, models, upstream_url=scripted.url, closed=closed_port())
    workspace = Workspace(root, Settings(threads="1"), command="a test")
    try:
        for pipeline in workspace.files.pipelines.values():
            workspace.ingest(pipeline, options=Options())
        with run_gateway(workspace) as running:
            yield running
    finally:
        workspace.close()


@pytest.fixture
def keyless(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway; keys that a test makes are revoked when it ends."""
    yield gateway
    for key in gateway.workspace.keys.all():
        if key.revoked_at is None:
            gateway.workspace.keys.revoke(key.key_id)
