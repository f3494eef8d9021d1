"""Routes on released prompts: before the first release, and after each change of an alias."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops.cli.app import run
from llmops.ingestion.run import Options
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.clients.mlflow_store import copy_store
from tests.gateway.running import Gateway, eventually, run_gateway
from tests.gateway.test_endpoints import assert_error
from tests.gateway.upstream import Upstream, closed_port
from tests.gateway.workspaces import write_workspace

NOT_YET = "no version of prompt 'answer' is production; run `llmops prompt publish answer`, then `llmops release"
PROMPT = "prompts/answer.prompt.md"


@pytest.fixture
def waiting(tmp_path: Path, models: Path, upstream: Upstream) -> Iterator[Gateway]:
    """A gateway whose route `rag` waits for a release, `staged` for an alias; the others answer."""
    root = tmp_path / "workspace"
    write_workspace(root, models, upstream_url=upstream.url, closed=closed_port())
    copy_store(root / ".llmops")
    rag = (root / "serving" / "rag.yaml").read_text()
    for name, alias in (("rag", "production"), ("staged", "staging")):
        text = rag.replace("name: rag", f"name: {name}").replace("../prompts/answer.prompt.md", f"answer@{alias}")
        (root / "serving" / f"{name}.yaml").write_text(text)
    workspace = Workspace(root, Settings(threads="1"), command="a test")
    try:
        workspace.ingest(workspace.files.pipeline("docs"), options=Options())
        with run_gateway(workspace) as running:
            yield running
    finally:
        workspace.close()


def llmops(gateway: Gateway, *arguments: str) -> None:
    assert run([*arguments, "-w", str(gateway.workspace.root)]) == 0


def rewrite(gateway: Gateway, old: str, new: str) -> None:
    path = gateway.workspace.root / PROMPT
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def system_part(upstream: Upstream) -> str:
    text: str = upstream.requests[-1].body["messages"][0]["content"]
    return text


def soon(gateway: Gateway, upstream: Upstream, route: str, wanted: str) -> None:
    def is_heard() -> bool:
        return gateway.ask(route).status_code == 200 and wanted in system_part(upstream)

    eventually(is_heard, f"route {route!r} does not follow")


def problems(gateway: Gateway) -> list[Any]:
    found: list[Any] = gateway.http.get("/readyz").json()["problems"]
    return [problem for problem in found if "'team'" not in problem]


def test_a_route_waits_for_its_release_and_follows_it(waiting: Gateway, upstream: Upstream) -> None:
    # Before: the other routes answer, this one says what to do, asked or streamed.
    for stream in (False, True):
        assert_error(waiting.ask("rag", stream=stream), 404, "not_found_error", NOT_YET)
    assert_error(
        waiting.ask("staged"), 404, "not_found_error", "then `llmops prompt alias answer staging VERSION`"
    )
    assert waiting.ask("rag-hurried").status_code == 200
    assert {problem.split(":")[0] for problem in problems(waiting)} == {"route 'rag'", "route 'staged'"}
    assert waiting.http.get("/readyz").status_code == 503

    # Published and pointed to by another process, while this one serves.
    llmops(waiting, "prompt", "publish")
    assert_error(waiting.ask("rag"), 404, "not_found_error", NOT_YET)  # published is not released
    llmops(waiting, "prompt", "alias", "answer", "staging", "1")
    soon(waiting, upstream, "staged", "at most 3 sentences")
    llmops(waiting, "release", "promote", "prompt:answer", "--force", "--reason", "the first")
    soon(waiting, upstream, "rag", "at most 3 sentences")
    assert problems(waiting) == []

    # A new version answers when it is released and not before; the trace says which one it was.
    rewrite(waiting, "max_sentences: 3", "max_sentences: 2")
    llmops(waiting, "prompt", "publish")
    llmops(waiting, "prompt", "alias", "answer", "staging", "2")
    soon(waiting, upstream, "staged", "at most 2 sentences")
    before = waiting.ask("rag")
    assert "at most 3 sentences" in system_part(upstream)
    llmops(waiting, "release", "promote", "prompt:answer@2", "--force", "--reason", "shorter")
    soon(waiting, upstream, "rag", "at most 2 sentences")
    after = waiting.ask("rag")
    digests = [waiting.trace(r.json()["inference_id"]).spec_hashes["prompt:answer"] for r in (before, after)]
    releases = waiting.workspace.ledger.releases.history("prompt", "answer", "production", limit=2)
    assert digests == [release.target for release in reversed(releases)]

    # And back.
    llmops(waiting, "release", "rollback", "prompt:answer")
    soon(waiting, upstream, "rag", "at most 3 sentences")


def test_a_file_that_is_edited_changes_no_released_prompt(waiting: Gateway, upstream: Upstream) -> None:
    llmops(waiting, "prompt", "publish")
    llmops(waiting, "release", "promote", "prompt:answer", "--force", "--reason", "the first")
    soon(waiting, upstream, "rag", "at most 3 sentences")
    (waiting.workspace.root / PROMPT).write_text("no prompt at all")
    waiting.workspace.refresh()
    assert waiting.ask("rag").status_code == 200
    assert "at most 3 sentences" in system_part(upstream)
