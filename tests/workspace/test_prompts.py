"""Prompts are published once for each content, with their origin, and found again by every name they have."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from llmops.clients.mlflow import PromptContent
from llmops.errors import NotFoundError, RequestError, SpecError, StorageError
from llmops.prompts import load_prompt
from llmops.releases import Move
from llmops.releases.audit import latest_events, verify_chain
from llmops.workspace.ledger import Ledger
from llmops.workspace.prompts import Published, find_prompt, point_alias, publish_prompt
from tests.workspace.repository import commit, make_repository
from tests.workspace.shelf import CLOSED, PROMPT, Shelf, edit, production

Reopen = Callable[..., Ledger]


def publish(ledger: Ledger, path: Path, *, actor: str = "ada", message: str = "") -> Published:
    return publish_prompt(ledger, load_prompt(path), actor=actor, message=message)


def versions(ledger: Ledger) -> list[int | None]:
    """Version numbers on the ledger; the registry has the same."""
    kept = [one.version for one in ledger.artifacts.published("prompt", "answer")]
    assert kept[::-1] == [one.version for one in ledger.registry.versions("answer")]
    return kept


@pytest.fixture
def path(shelf: Shelf) -> Path:
    """The prompt's file, in a form that was never published."""
    edit(shelf.root / PROMPT, "max_sentences: 3", "max_sentences: 7")
    return shelf.root / PROMPT


# Publishing


def test_a_new_content_is_a_new_version_and_an_event(path: Path, ledger: Ledger) -> None:
    n_events = verify_chain(ledger.database)
    done = publish(ledger, path, message="seven are enough")
    prompt = load_prompt(path)
    assert (done.version.version, done.is_new, done.file) == (4, True, str(path))
    assert (done.version.digest, done.version.text) == (prompt.digest, path.read_text())
    assert done.version.message == "seven are enough"
    kept = ledger.artifacts.get("prompt", "answer", prompt.digest)
    assert kept is not None
    assert (kept.version, kept.content, kept.created_at) == (4, path.read_text(), done.version.created_at)
    event = latest_events(ledger.database)[0]
    assert (event.actor, event.action, event.subject) == ("ada", "prompt.publish", "prompt:answer@4")
    assert event.details["digest"] == prompt.digest
    assert verify_chain(ledger.database) == n_events + 1
    assert versions(ledger) == [4, 3, 2, 1]
    assert production(ledger) == {"collection:docs": "docs-1"}  # nothing answers from it yet


def test_a_content_that_has_a_version_gets_no_second_one(path: Path, ledger: Ledger) -> None:
    first, n_events = publish(ledger, path), verify_chain(ledger.database)
    path.write_text(path.read_text().replace("name: answer\n", "# the same in other words\nname:  answer\n"))
    again = publish(ledger, path, actor="eve", message="another message")
    assert (again.version, again.is_new) == (first.version, False)
    edit(path, "max_sentences: 7", "max_sentences: 1")
    assert (publish(ledger, path).version.version, versions(ledger)) == (2, [4, 3, 2, 1])
    assert verify_chain(ledger.database) == n_events


def test_a_prompt_in_a_repository_carries_author_and_commit(
    path: Path, shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_ACTOR", "the runner")
    make_repository(shelf.root)
    made = commit(shelf.root)
    done = publish(ledger, path)
    assert (done.version.author, done.version.commit) == ("Ada Lovelace", made)
    kept = ledger.artifacts.get("prompt", "answer", done.version.digest)
    assert kept is not None
    assert (kept.author, kept.commit) == ("Ada Lovelace", made)
    assert latest_events(ledger.database)[0].details == {
        "digest": done.version.digest,
        "commit": made,
        "author": "Ada Lovelace",
    }
    edit(path, "max_sentences: 7", "max_sentences: 8")
    changed = publish(ledger, path)
    assert (changed.version.author, changed.version.commit, changed.is_new) == ("the runner", "", True)
    commit(shelf.root, who="Eve")
    assert publish(ledger, path).version == changed.version  # what was published stays as it was


def test_a_long_name_of_an_author_fits(path: Path, shelf: Shelf, ledger: Ledger) -> None:
    make_repository(shelf.root)
    commit(shelf.root, who="x" * 300)
    done = publish(ledger, path)
    kept = ledger.artifacts.get("prompt", "answer", done.version.digest)
    assert kept is not None
    assert kept.author == "x" * 256


def test_nothing_is_published_while_mlflow_cannot_be_reached(path: Path, cut_off: Ledger, ledger: Ledger) -> None:
    n_events = verify_chain(ledger.database)
    with pytest.raises(StorageError, match=re.escape(f"the MLflow registry at '{CLOSED}' cannot be reached")):
        publish(cut_off, path)
    assert verify_chain(ledger.database) == n_events
    assert versions(ledger) == [3, 2, 1]
    assert publish(ledger, path).version.version == 4


def test_a_ledger_that_failed_after_publishing_catches_up(path: Path, ledger: Ledger) -> None:
    with ledger.database.begin() as connection:
        connection.execute(text("ALTER TABLE artifacts RENAME TO elsewhere"))
    with pytest.raises(StorageError, match="the ledger .* failed"):  # noqa: RUF043 (a path stands there)
        publish(ledger, path)
    with ledger.database.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO artifacts"))
    assert ledger.registry.versions("answer")[-1].version == 4
    assert publish(ledger, path).version.version == 4
    assert versions(ledger) == [4, 3, 2, 1]


def test_a_file_that_is_no_prompt_is_refused(path: Path, ledger: Ledger) -> None:
    path.write_text("Say {{ question }}")
    with pytest.raises(SpecError, match=r"answer\.prompt\.md:1: must begin with '---'"):
        publish(ledger, path)


def test_threads_that_publish_at_once_make_one_version(path: Path, shelf: Shelf, reopen: Reopen) -> None:
    ledgers = [reopen() for _ in range(4)]
    n_events = verify_chain(ledgers[0].database)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda ledger: publish(ledger, path), ledgers))
    [number] = {one.version.version for one in done}
    assert [one.is_new for one in done].count(True) == 1
    assert versions(ledgers[0]) == [number, 3, 2, 1]
    assert verify_chain(ledgers[0].database) == n_events + 1


PUBLISHES = """
import sys, time
from pathlib import Path
from llmops.prompts import load_prompt
from llmops.settings import Settings
from llmops.workspace.ledger import Ledger
from llmops.workspace.prompts import publish_prompt
root = Path(sys.argv[1])
ledger = Ledger(root, Settings())
ledger.registry.names()
(root / "ready").touch()
while not (root / "go").exists():
    time.sleep(0.001)
done = publish_prompt(ledger, load_prompt(root / "prompts" / "answer.prompt.md"), actor="eve")
print(done.version.version, done.is_new)
ledger.close()
"""


def test_processes_that_publish_at_once_make_one_version(path: Path, shelf: Shelf, ledger: Ledger) -> None:
    n_events = verify_chain(ledger.database)
    ledger.registry.names()
    other = subprocess.Popen(
        [sys.executable, "-c", PUBLISHES, str(shelf.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (shelf.root / "ready").exists():
        assert other.poll() is None, other.communicate()
        time.sleep(0.001)
    (shelf.root / "go").touch()
    mine = publish(ledger, path)
    said, errors = other.communicate(timeout=100)
    assert other.returncode == 0, errors
    number, is_new = said.split()
    assert {int(number)} == {mine.version.version}
    assert {is_new, str(mine.is_new)} == {"True", "False"}
    assert versions(ledger) == [mine.version.version, 3, 2, 1]
    assert verify_chain(ledger.database) == n_events + 1


# Aliases


def test_an_alias_stands_for_a_version_here_and_in_mlflow(shelf: Shelf, ledger: Ledger) -> None:
    for version in (3, 2):
        point_alias(ledger, "answer", "staging", version, actor="ada")
    now = ledger.releases.now("prompt", "answer", "staging")
    assert now is not None
    assert (now.target, now.version) == (shelf.digest(2), 2)
    assert ledger.registry.aliases("answer") == {"staging": 2}
    assert ledger.released_prompt("answer", "staging").spec.parameters.max_sentences == 1
    event = latest_events(ledger.database)[0]
    assert (event.actor, event.action, event.subject) == ("ada", "release.alias", "prompt:answer@staging")
    assert (event.details["version"], event.details["previous_version"]) == (2, 3)
    assert production(ledger) == {"collection:docs": "docs-1"}


@pytest.mark.parametrize("alias", ["", "3", "v3", "latest", "Staging", "a b", "a@b", "a.b", "x" * 65, "-a", "a\n"])
def test_what_can_be_no_alias(alias: str, ledger: Ledger) -> None:
    with pytest.raises(RequestError, match=re.escape(f"{alias!r} is no name for an alias; use a word")):
        point_alias(ledger, "answer", alias, 1, actor="ada")


def test_only_a_release_moves_production(ledger: Ledger) -> None:
    said = "the alias 'production' is moved by releases only; run `llmops release promote prompt:answer@1`"
    with pytest.raises(RequestError, match=re.escape(said)):
        point_alias(ledger, "answer", "production", 1, actor="ada")


@pytest.mark.parametrize(("name", "version"), [("answer", 9), ("answer", 0), ("nobody", 1), ("Not a name", 1)])
def test_an_alias_never_stands_for_nothing(name: str, version: int, ledger: Ledger) -> None:
    n_events = verify_chain(ledger.database)
    with pytest.raises(NotFoundError, match=f"no version {version} in the MLflow|there is no prompt '{name}'"):
        point_alias(ledger, name, "staging", version, actor="ada")
    assert (ledger.releases.aliases("prompt"), verify_chain(ledger.database)) == ([], n_events)


def test_an_alias_does_not_move_while_mlflow_cannot_be_reached(cut_off: Ledger) -> None:
    with pytest.raises(StorageError, match="cannot be reached"):
        point_alias(cut_off, "answer", "staging", 1, actor="ada")
    cut_off.refresh()
    assert cut_off.releases.aliases("prompt") == []


def test_an_alias_of_a_version_that_was_made_in_mlflow_itself(ledger: Ledger) -> None:
    made = PromptContent(name="answer", text="Say {{ question }}", digest="f" * 64, author="m", commit="")
    ledger.registry.publish(made)
    with pytest.raises(
        RequestError, match=r"answer@4 in MLflow is no prompt file \(answer@4:1: must begin with '-"
    ):
        point_alias(ledger, "answer", "staging", 4, actor="ada")
    assert ledger.registry.aliases("answer") == {}


# Finding


def test_a_prompt_is_found_by_every_name_it_has(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_alias(ledger, "answer", "staging", 2, actor="ada")
    file = str(shelf.root / PROMPT)
    monkeypatch.chdir(shelf.root / "prompts")
    for reference, version, called in (
        (file, 1, file),
        (PROMPT, 1, file),
        ("answer.prompt.md", 1, "answer.prompt.md"),
        ("answer", 1, file),
        ("answer@1", 1, "answer@1"),
        ("answer@3", 3, "answer@3"),
        ("answer@staging", 2, "answer@staging"),
    ):
        prompt, said = find_prompt(ledger, reference)
        assert (prompt.digest, said) == (shelf.digest(version), called)


def test_a_bare_name_is_the_file_as_it_was_loaded(path: Path, reopen: Reopen) -> None:
    assert find_prompt(reopen(), "answer")[0].spec.parameters.max_sentences == 7


def test_a_version_that_another_ledger_published_is_found(ledger: Ledger) -> None:
    with ledger.database.begin() as connection:
        connection.execute(text("DELETE FROM artifacts"))
    assert find_prompt(ledger, "answer@2")[0].spec.parameters.max_sentences == 1
    assert ledger.artifacts.published("prompt", "answer") == []  # to look at it is not to keep it


def test_what_is_on_the_ledger_is_found_without_mlflow(shelf: Shelf, cut_off: Ledger) -> None:
    assert find_prompt(cut_off, "answer@2")[0].digest == shelf.digest(2)
    with pytest.raises(StorageError, match="cannot be reached"):
        find_prompt(cut_off, "answer@9")


WRONG = "names no prompt; write a file, NAME, NAME@3 or NAME@production"
NOWHERE = {
    "": (NotFoundError, "no prompt file for ''; there is: answer"),
    "nobody": (NotFoundError, "no prompt file for 'nobody'; there is: answer"),
    "prompts": (NotFoundError, "no prompt file for 'prompts'; there is: answer"),
    "prompts/none.prompt.md": (NotFoundError, "no prompt file for 'prompts/none.prompt.md'"),
    "x" * 5000: (NotFoundError, "no prompt file for 'xxx"),
    "a\0b": (NotFoundError, r"no prompt file for 'a\x00b'"),
    "serving/assistant.yaml": (SpecError, "assistant.yaml:1: must begin with '---'"),
    "answer@9": (NotFoundError, "prompt 'answer' has no version 9 in the MLflow registry"),
    "answer@0": (NotFoundError, "prompt 'answer' has no version 0 in the MLflow registry"),
    "answer@9999999999": (RequestError, f"'answer@9999999999' {WRONG}"),
    "nobody@1": (NotFoundError, "there is no prompt 'nobody' in the MLflow registry"),
    "answer@staging": (
        NotFoundError,
        "no version of prompt 'answer' is staging; run `llmops prompt publish answer`, "
        "then `llmops prompt alias answer staging VERSION`",
    ),
    "answer@production": (
        NotFoundError,
        "no version of prompt 'answer' is production; run `llmops prompt publish answer`, "
        "then `llmops release promote prompt:answer`",
    ),
    "answer@": (RequestError, f"'answer@' {WRONG}"),
    "@3": (RequestError, f"'@3' {WRONG}"),
    "@": (RequestError, f"'@' {WRONG}"),
    "answer@v3": (RequestError, f"'answer@v3' {WRONG}"),
    "answer@latest": (RequestError, f"'answer@latest' {WRONG}"),
    "answer@-1": (RequestError, f"'answer@-1' {WRONG}"),
    "answer@3.0": (RequestError, f"'answer@3.0' {WRONG}"),
    "answer@²": (RequestError, f"'answer@²' {WRONG}"),
    "answer@1@2": (RequestError, f"'answer@1@2' {WRONG}"),
    "answer@a b": (RequestError, f"'answer@a b' {WRONG}"),
}


@pytest.mark.parametrize("reference", NOWHERE, ids=lambda reference: repr(reference)[:30])
def test_a_reference_that_leads_nowhere(reference: str, ledger: Ledger) -> None:
    error, said = NOWHERE[reference]
    with pytest.raises(error, match=re.escape(said)) as caught:
        find_prompt(ledger, reference)
    assert "\n" not in str(caught.value)


def test_an_alias_whose_content_is_not_on_the_ledger(ledger: Ledger) -> None:
    ledger.releases.move(
        [Move(kind="prompt", name="answer", alias="staging", target="0" * 64, action="alias", actor="ada")]
    )
    with pytest.raises(
        StorageError, match=r"the content of prompt 'answer' \(000000000000\) is not on the ledger"
    ):
        find_prompt(ledger, "answer@staging")
