"""A running workspace follows releases between two requests, and goes on with what it has when it cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete, update

from llmops.clients.database.tables import artifacts
from llmops.errors import ConfigurationError, NotFoundError, StorageError
from llmops.ingestion.run import Options
from llmops.releases import Move
from llmops.serving.route import Route
from llmops.settings import Settings
from llmops.workspace.ledger import Ledger
from llmops.workspace.opened import Workspace
from llmops.workspace.promotion import roll_back
from llmops.workspace.prompts import point_alias
from tests.gateway.running import eventually, run_gateway
from tests.workspace.shelf import CLOSED, PROMPT, Shelf, forced, publish

ROUTE = "name: {name}\ndescription: d\nmodel: default\nprompt: {prompt}\n"


@pytest.fixture
def workspace(shelf: Shelf) -> Iterator[Workspace]:
    """What a gateway holds; `ledger` and `cut_off` are other processes."""
    for name, prompt in (("staged", "answer@staging"), ("file", f"../{PROMPT}")):
        (shelf.root / "serving" / f"{name}.yaml").write_text(ROUTE.format(name=name, prompt=prompt))
    opened = Workspace(shelf.root, Settings(threads="1"), command="llmops up")
    yield opened
    opened.close()


def release(ledger: Ledger, target: str, *, name: str = "answer", alias: str = "production") -> None:
    """Move an alias without asking what stands behind it."""
    move = Move(kind="prompt", name=name, alias=alias, target=target, action="promote", actor="eve")
    ledger.releases.move([move])


def answers_from(route: Route) -> str:
    assert route.prompt is not None
    assert route.spec_hashes[f"prompt:{route.prompt.spec.name}"] == route.prompt.digest
    return route.prompt.digest


def test_a_route_without_a_release_answers_from_the_release_on(
    shelf: Shelf, workspace: Workspace, cut_off: Ledger
) -> None:
    said = "no version of prompt 'answer' is production; run `llmops prompt publish answer`, then `llmops rel"
    for _ in range(2):
        with pytest.raises(NotFoundError, match=said):
            workspace.route("assistant")
        workspace.refresh()
    assert answers_from(workspace.route("file")) == shelf.digest(1)  # others can
    forced(cut_off, "prompt:answer@2")
    workspace.refresh()
    assert answers_from(workspace.route("assistant")) == shelf.digest(2)


def test_a_route_follows_releases_and_rollbacks(shelf: Shelf, workspace: Workspace, cut_off: Ledger) -> None:
    forced(cut_off, "prompt:answer@1")
    workspace.refresh()
    first = workspace.route("assistant")
    forced(cut_off, "prompt:answer@2")
    assert workspace.route("assistant") is first
    workspace.refresh()
    second = workspace.route("assistant")
    assert [answers_from(route) for route in (first, second)] == [shelf.digest(1), shelf.digest(2)]
    assert second.model is first.model
    assert second.guard is first.guard
    workspace.refresh()
    assert workspace.route("assistant") is second  # nothing is built where nothing changed
    roll_back(cut_off, "prompt:answer", actor="ada")
    workspace.refresh()
    assert answers_from(workspace.route("assistant")) == shelf.digest(1)


def test_each_alias_is_followed_by_its_own_routes(shelf: Shelf, workspace: Workspace, ledger: Ledger) -> None:
    forced(ledger, "prompt:answer@1")
    point_alias(ledger, "answer", "staging", 1, actor="ada")
    workspace.refresh()
    before = {name: workspace.route(name) for name in ("assistant", "staged", "file")}
    point_alias(ledger, "answer", "staging", 3, actor="ada")
    workspace.refresh()
    assert answers_from(workspace.route("staged")) == shelf.digest(3)
    assert workspace.route("assistant") is before["assistant"]
    assert workspace.route("file") is before["file"]


def test_what_a_followed_release_is_made_of_can_be_read_again(
    shelf: Shelf, workspace: Workspace, cut_off: Ledger
) -> None:
    forced(cut_off, "prompt:answer@1")
    workspace.refresh()
    for version in (1, 2):
        workspace.refresh()
        route = workspace.route("assistant")
        for key, digest in route.spec_hashes.items():
            kind, _, name = key.partition(":")
            assert workspace.ledger.artifacts.get(kind, name, digest) is not None, key  # type: ignore[arg-type]
        assert answers_from(route) == shelf.digest(version)
        forced(cut_off, f"prompt:answer@{version + 1}")


def lose(ledger: Ledger, shelf: Shelf) -> None:
    with ledger.database.begin() as connection:
        connection.execute(delete(artifacts).where(artifacts.c.digest == shelf.digest(2)))


def damage(ledger: Ledger, shelf: Shelf) -> None:
    with ledger.database.begin() as connection:
        here = artifacts.c.digest == shelf.digest(2)
        connection.execute(update(artifacts).where(here).values(content="damaged"))


def exchange(ledger: Ledger, shelf: Shelf) -> None:
    text = (shelf.root / PROMPT).read_text()
    with ledger.database.begin() as connection:
        here = artifacts.c.digest == shelf.digest(2)
        connection.execute(update(artifacts).where(here).values(content=text))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lose, "the content of prompt 'answer' (%s) is not on the ledger"),
        (damage, "the stored prompt 'answer' cannot be read"),
        (exchange, "the stored content of prompt 'answer' is not the one its digest %s names"),
    ],
)
def test_a_release_that_cannot_be_read_changes_nothing_until_it_can(
    spoil: Callable[[Ledger, Shelf], None],
    said: str,
    shelf: Shelf,
    workspace: Workspace,
    ledger: Ledger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release(ledger, shelf.digest(1))
    workspace.refresh()
    before = workspace.route("assistant")
    release(ledger, shelf.digest(2))
    spoil(ledger, shelf)
    with caplog.at_level(logging.WARNING, "llmops.workspace"):
        workspace.refresh()
    assert workspace.route("assistant") is before
    assert said.replace("%s", shelf.digest(2)[:12]) in caplog.text
    assert "route 'assistant' goes on with what it has" in caplog.text
    shelf.edit(PROMPT, "max_sentences: 3", "max_sentences: 1")
    assert publish(ledger, shelf.root) == 2
    workspace.refresh()
    assert answers_from(workspace.route("assistant")) == shelf.digest(2)


def test_a_route_that_was_never_built_says_what_is_wrong_with_its_release(
    shelf: Shelf, workspace: Workspace, ledger: Ledger
) -> None:
    release(ledger, shelf.digest(2))
    damage(ledger, shelf)
    workspace.refresh()
    with pytest.raises(StorageError, match="the stored prompt 'answer' cannot be read"):
        workspace.route("assistant")
    assert answers_from(workspace.route("file")) == shelf.digest(1)


def test_a_release_that_no_route_can_fill_is_not_followed(
    shelf: Shelf, workspace: Workspace, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    release(ledger, shelf.digest(1))
    workspace.refresh()
    before = workspace.route("assistant")
    shelf.edit(PROMPT, "\nvariables:\n", "\nvariables:\n  tone: {type: string}\n")
    shelf.edit(PROMPT, "Question: {{", "Tone: {{ tone }}\nQuestion: {{")
    shelf.edit(PROMPT, "    variables:\n      question", "    variables:\n      tone: dry\n      question")
    version = publish(ledger, shelf.root)
    forced(ledger, f"prompt:answer@{version}")
    workspace.refresh()
    assert workspace.route("assistant") is before
    assert "prompt 'answer' needs 'tone', which a route cannot give" in caplog.text
    with pytest.raises(ConfigurationError, match="prompt 'answer' needs 'tone', which a route cannot give"):
        workspace.build_route(before.spec, workspace.ledger.released_prompt("answer", "production"))


def test_a_released_collection_is_searched_from_the_next_request_on(
    shelf: Shelf, workspace: Workspace, cut_off: Ledger
) -> None:
    forced(cut_off, "prompt:answer@1")
    workspace.refresh()
    route = workspace.route("assistant")
    assert route.retriever is not None
    pinned = workspace.build_route(route.spec, route.prompt, pinned="docs-1")
    forced(cut_off, "collection:docs")
    assert route.retriever.shape().collection == "docs-1"
    workspace.refresh()
    assert workspace.route("assistant") is route
    assert route.retriever.shape().collection == "docs-2"
    assert pinned.retriever is not None
    assert pinned.retriever.shape().collection == "docs-1"
    roll_back(cut_off, "collection:docs", actor="ada")
    workspace.refresh()
    assert route.retriever.shape().collection == "docs-1"


def test_a_gateway_answers_after_a_release_without_a_restart(whole: Shelf) -> None:
    workspace = Workspace(whole.root, Settings(threads="1"), command="llmops up")
    other = Ledger(whole.root, Settings(mlflow_tracking_uri=CLOSED))
    try:
        with run_gateway(workspace) as gateway:
            asked = "How much is the late fee?"
            refused = gateway.ask("assistant", asked)
            assert refused.status_code == 404
            assert "no version of prompt 'answer' is production" in refused.json()["error"]["message"]
            forced(other, "prompt:answer@1")
            eventually(lambda: gateway.ask("assistant", asked).status_code == 200, "it does not answer")
            first = gateway.ask("assistant", asked).json()
            assert "twenty cents" in first["choices"][0]["message"]["content"]
            forced(other, "collection:docs")

            def is_mended() -> bool:
                return "fifty cents" in gateway.ask("assistant", asked).text

            eventually(is_mended, "it still answers from docs-1")
            assert gateway.trace(first["inference_id"]).spec_hashes["collection:docs"] == "docs-1"
            assert gateway.newest("assistant").spec_hashes["collection:docs"] == "docs-2"
    finally:
        other.close()
        workspace.close()


def test_an_ingestion_leaves_released_prompts_alone(whole: Shelf) -> None:
    workspace = Workspace(whole.root, Settings(threads="1"), command="llmops up")
    try:
        release(workspace.ledger, whole.digest(1))
        workspace.refresh()
        route = workspace.route("assistant")
        workspace.ingest(workspace.pipeline("docs"), options=Options())
        workspace.refresh()
        assert workspace.route("assistant") is route
    finally:
        workspace.close()


def test_a_changed_recipe_is_followed_when_what_answers_is_made_by_it(
    shelf: Shelf, workspace: Workspace, cut_off: Ledger
) -> None:
    forced(cut_off, "prompt:answer@1")
    workspace.refresh()
    before = workspace.route("assistant")
    shelf.edit("ingestion/docs.yaml", "description: ", "description: Now ")
    workspace.refresh()
    assert workspace.route("assistant") is before
    pipeline = workspace.pipeline("docs")  # as an ingestion reads it
    workspace.refresh()
    after = workspace.route("assistant")
    assert after.spec_hashes["ingestion:docs"] == pipeline.spec_hash != before.spec_hashes["ingestion:docs"]
    assert workspace.ledger.artifacts.get("ingestion", "docs", pipeline.spec_hash) is not None


def test_a_recipe_that_cannot_be_used_holds_no_other_route_up(
    shelf: Shelf, workspace: Workspace, cut_off: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    release(cut_off, shelf.digest(1))
    release(cut_off, shelf.digest(1), alias="staging")
    workspace.refresh()
    before = {name: workspace.route(name) for name in ("assistant", "staged")}
    shelf.edit("ingestion/docs.yaml", "source:\n", "embed: {model: no-such-model}\nsource:\n")
    workspace.pipeline("docs")
    release(cut_off, shelf.digest(2), alias="staging")
    workspace.refresh()
    assert workspace.route("assistant") is before["assistant"]
    assert answers_from(workspace.route("staged")) == shelf.digest(2)
    assert "route 'assistant' goes on with what it has: " in caplog.text
