"""Who did it, and in which commit: never a commit that does not hold what is there."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from llmops.workspace.provenance import Provenance, current_user, head_commit, provenance_of
from tests.workspace.repository import commit, git, make_repository

NAMES = ("answer.prompt.md", "a b.md", "*.md", "-x.md", ":(top)a.md", "naïve – 🙂.md", 'quo"te.md', "[a].md")


@pytest.fixture(autouse=True)
def actor(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LLMOPS_ACTOR", "the runner")
    return "the runner"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


def test_who_runs_it_can_say_who_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_user() == "the runner"
    monkeypatch.setenv("LLMOPS_ACTOR", "ci " * 100)
    assert current_user() == ("ci " * 100)[:128]
    monkeypatch.setenv("LLMOPS_ACTOR", "")
    assert current_user() == getpass.getuser()


def test_who_runs_it_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMOPS_ACTOR")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 987_654_321)  # as in a container that runs under a number alone
    assert current_user() == "unknown"


def test_outside_of_a_repository_there_is_no_commit(tmp_path: Path, actor: str) -> None:
    path = tmp_path / "answer.prompt.md"
    path.touch()
    assert provenance_of(path) == Provenance(author=actor, commit="")
    assert provenance_of(tmp_path / "nowhere" / "none.md") == Provenance(author=actor, commit="")
    assert head_commit(tmp_path) == head_commit(tmp_path / "nowhere") == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_file_has_its_author_and_commit(name: str, repository: Path, actor: str) -> None:
    path = repository / "prompts" / name
    path.parent.mkdir()
    path.write_text("one")
    first = commit(repository)
    (repository / "prompts" / "other.md").write_text("another file")
    commit(repository, who="Eve")
    assert provenance_of(path) == Provenance(author="Ada Lovelace", commit=first)
    (repository / "prompts" / "other.md").write_text("changed, and it does not matter")
    assert provenance_of(path).commit == first
    path.write_text("two")
    assert provenance_of(path) == Provenance(author=actor, commit="")
    second = commit(repository, who="Eve")
    assert provenance_of(path) == Provenance(author="Eve", commit=second)


def test_a_file_that_is_not_committed_as_it_is_has_none(repository: Path, actor: str) -> None:
    none = Provenance(author=actor, commit="")
    path = repository / "a.md"
    path.write_text("one")
    assert provenance_of(path) == none  # there is no commit at all
    (repository / ".gitignore").write_text("ignored.md\n")
    commit(repository)
    (repository / "new.md").touch()
    (repository / "ignored.md").touch()
    assert provenance_of(repository / "new.md") == provenance_of(repository / "ignored.md") == none
    path.write_text("two")
    git(repository, "add", "a.md")
    assert provenance_of(path) == none  # staged is not committed
    git(repository, "mv", "--force", "a.md", "b.md")
    assert provenance_of(repository / "b.md") == none


def test_a_path_may_be_seen_from_where_one_stands(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "prompts").mkdir()
    (repository / "prompts" / "a.md").touch()
    made = commit(repository)
    for folder, path in ((repository, "prompts/a.md"), (repository / "prompts", "a.md")):
        monkeypatch.chdir(folder)
        assert provenance_of(Path(path)).commit == made


def test_without_git_nothing_is_known(repository: Path, actor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "a.md").touch()
    commit(repository)
    monkeypatch.setenv("PATH", "")
    assert provenance_of(repository / "a.md") == Provenance(author=actor, commit="")
    assert head_commit(repository) == ""


def test_the_commit_that_is_checked_out_says_when_files_differ_from_it(repository: Path) -> None:
    assert head_commit(repository) == ""
    path = repository / "docs" / "a.md"
    path.parent.mkdir()
    path.write_text("one")
    made = commit(repository)
    assert head_commit(repository) == head_commit(path.parent) == made
    (repository / "new.md").touch()
    assert head_commit(repository) == made
    path.write_text("two")
    assert head_commit(repository) == f"{made}-dirty"
    git(repository, "add", "--all")
    assert head_commit(path.parent) == f"{made}-dirty"
