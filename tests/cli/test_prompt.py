"""`llmops prompt`: versions are published once, shown, compared and pointed to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command, edit

FILE = "prompts/answer.prompt.md"


def test_publish_makes_a_version_of_each_content_once(llmops: Command, library: Path) -> None:
    unchanged = llmops("prompt", "publish", "-w", library)
    assert (unchanged.code, unchanged.err) == (0, "")
    assert re.fullmatch(r"answer: unchanged: already version 1  [0-9a-f]{12}  not committed\n", unchanged.out)
    edit(library / FILE, "max_sentences: 3", "max_sentences: 2")
    new = llmops("prompt", "publish", "answer", "-m", "shorter", "-w", library)
    assert new.out.startswith("answer: new version 2  ")
    (again,) = llmops("prompt", "publish", library / FILE, "-w", library, "--json").json
    assert (again["version"], again["is_new"], again["message"]) == (2, False, "shorter")
    assert again["author"] == "ada"
    assert again["file"].endswith(FILE)
    edit(library / FILE, "max_sentences: 2", "max_sentences: 3")
    assert "unchanged: already version 1" in llmops("prompt", "publish", "-w", library).out


def test_publish_notes_the_commit_of_a_committed_file(llmops: Command, library: Path) -> None:
    who = ("-c", "user.name=Grace", "-c", "user.email=grace@example.org")
    for git in (("init", "-q"), ("add", "prompts"), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *git], cwd=library, check=True, timeout=20)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=library, check=True, capture_output=True, text=True)
    (library / FILE).write_text((library / FILE).read_text() + "\n")
    assert llmops("prompt", "publish", "-w", library, "--json").json[0]["commit"] == ""  # not what is committed
    edit(library / FILE, "max_sentences: 3", "max_sentences: 1")
    subprocess.run(["git", *who, "commit", "-q", "-a", "-m", "shorter"], cwd=library, check=True, timeout=20)
    (published,) = llmops("prompt", "publish", "-w", library, "--json").json
    assert published["author"] == "Grace"
    assert len(published["commit"]) == 40
    assert published["commit"] != head.stdout.strip()
    assert f"commit {published['commit'][:12]}" in llmops("prompt", "publish", "-w", library).out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("publish nope", "no prompt file for 'nope'; there is: answer"),
        ("publish answer nope", "no prompt file for 'nope'"),
        ("publish docs/fees.md", "must begin with '---' and YAML front matter"),
        ("show nope", "no prompt file for 'nope'"),
        ("show answer@7", "prompt 'answer' has no version 7"),
        ("show answer@0", "no version"),
        ("show nope@1", "there is no prompt 'nope' in the MLflow registry"),
        (
            "show answer@production",
            "no version of prompt 'answer' is production; run `llmops prompt publish answer`",
        ),
        ("show answer@staging", "then `llmops prompt alias answer staging VERSION`"),
        ("show answer@", "'answer@' names no prompt"),
        ("show @1", "'@1' names no prompt"),
        ("diff answer@1 nope", "no prompt file for 'nope'"),
        ("diff nope", "no prompt file for 'nope'"),
        ("alias answer production 1", "is moved by releases only; run `llmops release promote prompt:answer@1`"),
        ("alias answer staging 7", "prompt 'answer' has no version 7"),
        ("alias answer staging x", "'x' is no version; `llmops prompt list` shows their numbers"),
        ("alias answer staging 0", "'0' is no version"),
        ("alias answer staging 1.0", "'1.0' is no version"),
        ("alias answer staging ²", "'²' is no version"),
        ("alias answer staging 99999999999", "'99999999999' is no version"),
        ("alias answer v2 1", "'v2' is no name for an alias; use a word such as staging"),
        ("alias answer latest 1", "'latest' is no name for an alias"),
        ("alias answer Staging 1", "'Staging' is no name for an alias"),
        ("alias nope staging 1", "there is no prompt 'nope'"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_what_is_wrong_is_said_in_one_sentence(llmops: Command, library: Path, command: str, said: str) -> None:
    llmops("prompt", *command.split(), "-w", library).refused(2, said)


def test_nothing_to_publish(llmops: Command, library: Path) -> None:
    (library / FILE).unlink()
    llmops("prompt", "publish", "-w", library).refused(2, "there is no prompt file in", "prompts")


def test_list_shows_versions_aliases_and_whether_the_file_is_one(llmops: Command, library: Path) -> None:
    edit(library / FILE, "max_sentences: 3", "max_sentences: 2")
    ended = llmops("prompt", "list", "-w", library)
    first, second = ended.out.splitlines()
    assert first == f"answer  {library / FILE}  the file is not published"
    assert re.match(r" +1  [0-9a-f]{12}  \d{4}-\d\d-\d\d \d\d:\d\d  \S+  Answers a question", second)
    llmops("prompt", "publish", "-m", "shorter", "-w", library)
    assert (
        llmops("prompt", "alias", "answer", "staging", "2", "-w", library).out == "answer@staging is version 2\n"
    )
    (row,) = llmops("prompt", "list", "-w", library, "--json").json
    assert (row["name"], row["state"]) == ("answer", "the file is version 2")
    listed = {version["version"]: (version["message"], version["aliases"]) for version in row["versions"]}
    assert listed[2] == ("shorter", ["staging"])
    assert listed[1][1] == []
    assert "text" not in row["versions"][0]
    assert "  shorter  [staging]\n" in llmops("prompt", "list", "-w", library).out
    (library / FILE).unlink()
    assert llmops("prompt", "list", "-w", library).out.startswith("answer  (no file here)")


def test_show_is_the_file_again(llmops: Command, library: Path) -> None:
    text = (library / FILE).read_text()
    shown = llmops("prompt", "show", "answer@1", "-w", library)
    head, _, rest = shown.out.partition("\n")
    assert re.fullmatch(r"# answer@1  [0-9a-f]{64}", head)
    assert rest == text
    for reference in ("answer", str(library / FILE), "answer@1"):
        value = llmops("prompt", "show", reference, "-w", library, "--json").json
        assert (value["name"], value["text"], value["digest"]) == ("answer", text, head.split()[-1])


def test_diff_shows_what_changed(llmops: Command, library: Path) -> None:
    same = llmops("prompt", "diff", "answer@1", "-w", library)
    assert (same.code, same.out) == (0, f"answer@1 and {library / FILE} are the same\n")
    edit(library / FILE, "max_sentences: 3", "max_sentences: 2")
    changed = llmops("prompt", "diff", "answer@1", "-w", library)
    assert changed.code == 0
    lines = changed.out.splitlines()
    assert lines[:2] == ["--- answer@1", f"+++ {library / FILE}"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-  max_sentences: 3", "+  max_sentences: 2"]
    value = llmops("prompt", "diff", "answer@1", "answer", "-w", library, "--json").json
    assert (value["is_same"], value["diff"]) == (False, lines)
    assert value["before"] != value["after"]


def test_diff_of_what_differs_at_the_end_only(llmops: Command, library: Path) -> None:
    """Contents with other digests are never called the same."""
    (library / FILE).write_text((library / FILE).read_text() + "\n")
    value = llmops("prompt", "diff", "answer@1", "-w", library, "--json").json
    said = llmops("prompt", "diff", "answer@1", "-w", library).out
    assert value["is_same"] is ("are the same" in said)


def test_an_alias_moves_and_is_remembered(llmops: Command, library: Path) -> None:
    edit(library / FILE, "max_sentences: 3", "max_sentences: 2")
    llmops("prompt", "publish", "-w", library)
    value = llmops("prompt", "alias", "answer", "staging", "1", "-w", library, "--json").json
    assert value == {"name": "answer", "alias": "staging", "version": 1}
    assert llmops("prompt", "alias", "answer", "staging", "2", "-w", library).code == 0
    shown = llmops("prompt", "show", "answer@staging", "-w", library).out
    assert "max_sentences: 2" in shown
    events = llmops("audit", "list", "-w", library, "--json").json
    assert [(event["action"], event["actor"]) for event in events[:2]] == [("release.alias", "ada")] * 2


@pytest.mark.usefixtures("no_mlflow")
@pytest.mark.parametrize("command", ["publish", "list", "alias answer staging 1", "show nope@1"])
def test_a_registry_that_cannot_be_reached_is_named(llmops: Command, library: Path, command: str) -> None:
    llmops("prompt", *command.split(), "-w", library).refused(3, "MLflow")


@pytest.mark.usefixtures("no_mlflow")
def test_what_is_on_the_ledger_needs_no_registry(llmops: Command, library: Path) -> None:
    assert llmops("prompt", "show", "answer@1", "-w", library).code == 0
    assert llmops("prompt", "diff", "answer@1", "-w", library).code == 0
