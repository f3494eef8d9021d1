"""The part of a workspace that many processes may open: what it reads is what was written, or it says so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from llmops.clients.database.tables import artifacts, collections
from llmops.errors import ConfigurationError, NotFoundError, SpecError, StorageError
from llmops.ingestion.documents import DocumentLedger
from llmops.releases import Artifact, Move
from llmops.settings import Settings
from llmops.workspace.ledger import Ledger, as_text
from tests.workspace.shelf import PROMPT, Shelf, production

Reopen = Callable[..., Ledger]


def release(ledger: Ledger, target: str, *, alias: str = "production", name: str = "answer") -> None:
    ledger.releases.move(
        [Move(kind="prompt", name=name, alias=alias, target=target, action="promote", actor="ada", is_forced=True)]
    )


def test_many_may_open_it_and_see_each_other(shelf: Shelf, reopen: Reopen) -> None:
    first, second = reopen(), reopen()
    release(first, shelf.digest(1))
    with pytest.raises(NotFoundError, match="no version of prompt 'answer' is production"):
        second.released_prompt("answer", "production")
    _, secret = first.keys.create("shop", role="app", principals=[])
    first.collections.point("docs", "docs-2")
    second.refresh()
    assert second.released_prompt("answer", "production").digest == shelf.digest(1)
    assert second.keys.caller(secret) is not None
    serving = second.collections.serving("docs")
    assert serving is not None
    assert serving.collection == "docs-2"
    assert production(second) == production(first)


def test_opening_it_loads_neither_mlflow_nor_a_model(shelf: Shelf) -> None:
    script = """
import sys
from pathlib import Path
from llmops.settings import Settings
from llmops.workspace.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), Settings())
ledger.stored_prompt("answer", sys.argv[2])
ledger.collection_digest("docs-1")
ledger.refresh()
ledger.close()
print([name for name in ("mlflow", "onnxruntime", "qdrant_edge", "presidio_analyzer") if name in sys.modules])
"""
    arguments = [sys.executable, "-c", script, str(shelf.root), shelf.digest(1)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_opens_whole_or_not_at_all(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no llmops workspace"):
        Ledger(tmp_path, Settings())
    with pytest.raises(ConfigurationError, match="is not a database URL"):
        Ledger(shelf.root, Settings(database_url="nonsense"))
    shelf.edit("evals/library.yaml", "route: assistant", "route: nobody")
    with pytest.raises(SpecError, match="no route 'nobody' in serving/; there is: assistant"):
        Ledger(shelf.root, Settings())


def test_a_registry_that_cannot_be_reached_is_asked_again(cut_off: Ledger) -> None:
    for _ in range(2):
        with pytest.raises(StorageError, match="cannot be reached"):
            cut_off.registry.names()
    newest = cut_off.artifacts.published("prompt", "answer")[0]
    assert cut_off.stored_prompt("answer", newest.digest).digest == newest.digest


# Prompts


def test_a_stored_prompt_is_the_one_that_was_published(shelf: Shelf, ledger: Ledger) -> None:
    prompt = ledger.stored_prompt("answer", shelf.digest(1))
    assert (prompt.digest, prompt.text) == (shelf.digest(1), (shelf.root / PROMPT).read_text())
    assert prompt.spec.file == "answer@1"


def test_an_alias_that_stands_for_nothing_says_how_to_change_that(ledger: Ledger) -> None:
    for alias, cure in (
        ("production", "run `llmops prompt publish answer`, then `llmops release promote prompt:answer`"),
        ("staging", "run `llmops prompt publish answer`, then `llmops prompt alias answer staging VERSION`"),
    ):
        said = f"no version of prompt 'answer' is {alias}; {cure}"
        with pytest.raises(NotFoundError, match=re.escape(said)):
            ledger.released_prompt("answer", alias)


def test_a_content_that_is_not_there(ledger: Ledger) -> None:
    said = "the content of prompt 'answer' (000000000000) is not on the ledger; run `llmops prompt publish"
    release(ledger, "0" * 64)
    with pytest.raises(StorageError, match=re.escape(said)):
        ledger.released_prompt("answer", "production")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the stored prompt 'answer' cannot be read (answer@1:1: must begin with '---'"),
        (
            "---\nname: answer\n",
            "the stored prompt 'answer' cannot be read (answer@1:3: the front matter has no ",
        ),
        ("another", "the stored content of prompt 'answer' is not the one its digest"),
    ],
)
def test_a_content_that_was_changed_is_never_used(content: str, said: str, shelf: Shelf, ledger: Ledger) -> None:
    if content == "another":
        content = (shelf.root / PROMPT).read_text().replace("nothing else", "your heart")
    with ledger.database.begin() as connection:
        connection.execute(update(artifacts).where(artifacts.c.digest == shelf.digest(1)).values(content=content))
    with pytest.raises(StorageError, match=f"{re.escape(said)}.*; publish (it|the prompt) again"):
        ledger.stored_prompt("answer", shelf.digest(1))


def test_a_route_answers_with_its_file_its_release_or_nothing(shelf: Shelf, reopen: Reopen) -> None:
    serving = shelf.root / "serving"
    (serving / "file.yaml").write_text("name: file\ndescription: d\nmodel: default\nprompt: ../" + PROMPT + "\n")
    (serving / "forward.yaml").write_text("name: forward\ndescription: d\nmodel: default\n")
    (serving / "staged.yaml").write_text("name: staged\ndescription: d\nmodel: default\nprompt: answer@staging\n")
    ledger = reopen()
    release(ledger, shelf.digest(2))
    release(ledger, shelf.digest(3), alias="staging")
    found = {name: ledger.prompt_for(route) for name, route in ledger.files.routes.items()}
    assert {name: prompt and prompt.digest for name, prompt in found.items()} == {
        "assistant": shelf.digest(2),
        "file": shelf.digest(1),
        "forward": None,
        "staged": shelf.digest(3),
    }


def test_a_prompt_file_that_moved_away_since_is_said(shelf: Shelf, reopen: Reopen) -> None:
    shelf.edit("serving/assistant.yaml", "answer@production", "../prompts/answer.prompt.md")
    ledger = reopen()
    ledger.files = replace(ledger.files, prompts={})
    with pytest.raises(NotFoundError, match=r"the prompt file '\.\./prompts/answer\.prompt\.md' of route"):
        ledger.prompt_for(ledger.files.route("assistant"))


# Collections


def documents(ledger: Ledger, **changes: Any) -> str:
    """The digest of `docs-1` after a change to the row of its page on fees."""
    book = DocumentLedger(ledger.database, "docs-1")
    [row] = [row for row in book.rows().values() if row.uri == "fees.md"]
    book.put([replace(row, **changes)])
    digest = ledger.collection_digest("docs-1")
    book.put([row])
    return digest


def test_a_collection_has_the_digest_of_what_is_searchable_in_it(shelf: Shelf, ledger: Ledger) -> None:
    first = ledger.collection_digest("docs-1")
    assert first == shelf.contents[1, 1]["collection:docs"]
    assert ledger.collection_digest("docs-2") == shelf.contents[1, 2]["collection:docs"] != first
    assert documents(ledger, fingerprint="0" * 64) != first
    assert documents(ledger, n_chunks=0, state="empty") != first
    assert documents(ledger, updated_at=datetime.now(UTC), title="Another title") == first
    book = DocumentLedger(ledger.database, "docs-1")
    row = next(iter(book.rows().values()))
    book.put([replace(row, document_id="empty", uri="empty.md", state="empty", n_chunks=0)])
    assert ledger.collection_digest("docs-1") == first  # nothing of it can be found
    book.put([replace(row, document_id="new", uri="new.md")])
    assert ledger.collection_digest("docs-1") != first
    book.remove("new")
    assert ledger.collection_digest("docs-1") == first


@pytest.mark.parametrize(
    "change", [{"embedder_digest": "0" * 64}, {"chunker": {"max_tokens": 10, "min_tokens": 0}}]
)
def test_how_documents_were_cut_and_encoded_is_part_of_the_digest(
    change: dict[str, Any], ledger: Ledger, reopen: Reopen
) -> None:
    first = ledger.collection_digest("docs-1")
    with ledger.database.begin() as connection:
        connection.execute(update(collections).where(collections.c.collection == "docs-1").values(change))
    assert reopen().collection_digest("docs-1") != first


def test_a_collection_that_is_not_there_has_no_digest(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no collection 'docs'; there is: docs-1, docs-2"):
        ledger.collection_digest("docs")


# Contents


def test_what_is_kept_can_be_read_by_its_digest(ledger: Ledger) -> None:
    value = {"name": "– naïve 🙂", "k": 5, "path": Path("a/b"), "none": None}
    ledger.keep({("route", "r"): ("d1", as_text(value)), ("model", "m"): ("d2", "")})
    kept = ledger.artifacts.get("route", "r", "d1")
    assert kept == Artifact(
        kind="route",
        name="r",
        digest="d1",
        content='{\n  "name": "– naïve 🙂",\n  "k": 5,\n  "path": "a/b",\n  "none": null\n}',
        created_at=kept.created_at if kept else datetime.now(UTC),
    )
    assert ledger.artifacts.get("model", "m", "d2") is not None
    with ledger.database.begin() as connection:
        connection.execute(delete(artifacts))
    assert ledger.artifacts.get("route", "r", "d1") is None
