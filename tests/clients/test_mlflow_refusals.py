"""What the registry refuses before anything is written, and what survives in it: every text, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.clients.mlflow import Registry
from llmops.errors import NotFoundError, RequestError, TooLargeError
from tests.clients.mlflow_store import TEMPLATE, eval_run, open_copy, prompt

PIECES = [
    "{% block user %}",
    "{% endblock %}",
    "{{ a }}",
    "{#",
    "#}",
    "---\n",
    "\r\n",
    "\r",
    "\n",
    "'",
    '"',
    "\\",
    "`",
]
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(CHARACTERS, max_size=8), max_size=12).map("".join)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    opened = open_copy(tmp_path_factory.mktemp("state"))
    yield opened
    opened.close()


@pytest.fixture
def name() -> str:
    """A name that no other test uses: the tests of a module share their registry."""
    return f"p-{uuid4().hex[:8]}"


@settings(max_examples=25, deadline=None)
@given(text=TEXTS, author=TEXTS, message=TEXTS)
def test_every_text_survives_byte_for_byte(registry: Registry, text: str, author: str, message: str) -> None:
    given = prompt("property", text, author=author, message=message)
    made, _ = registry.publish(given)
    assert made.text.encode() == text.encode()
    assert registry.version("property", made.version).text.encode() == text.encode()
    assert registry.publish(replace(given, author="", message="")) == (made, False)


@settings(max_examples=10, deadline=None)
@given(value=TEXTS, artifact=st.text(st.characters(), max_size=30))
def test_every_tag_finds_its_run_and_every_artifact_survives(
    registry: Registry, value: str, artifact: str
) -> None:
    run_id = registry.log_eval(eval_run("property", tags={"key": value}, artifacts={"a": artifact}, metrics={}))
    assert run_id in [found for found, _ in registry.find_runs("property", {"key": value})]
    assert all(tags == {"key": value} for _, tags in registry.find_runs("property", {"key": value}))
    assert registry.artifact(run_id, "a") == artifact


def test_a_second_version_that_a_killed_publisher_left_is_not_shown(registry: Registry, name: str) -> None:
    made, _ = registry.publish(prompt(name))
    registry._client.create_prompt_version(name, TEMPLATE, None, {"llmops.digest": made.digest})
    last, _ = registry.publish(prompt(name, "another"))
    assert last.version == 3
    assert registry.versions(name) == [made, last]
    assert registry.publish(prompt(name)) == (made, False)


@pytest.mark.parametrize("unknown", ["", "a b", "x" * 300, "a/b", "ü", "\0", "\ud800"])
def test_what_cannot_be_a_name_is_unknown(registry: Registry, unknown: str) -> None:
    for look_up in (registry.versions, registry.aliases):
        with pytest.raises(NotFoundError, match="there is no prompt"):
            look_up(unknown)
    with pytest.raises(RequestError, match="what was asked of the MLflow registry is not text"):
        registry.find_runs("\ud800", {})


def test_a_text_over_the_limit_is_refused(registry: Registry, name: str) -> None:
    text = "äö🙂x" * 25_000
    with pytest.raises(
        TooLargeError, match=r"has 100,001 characters, and MLflow keeps at most 100,000; shorten it"
    ):
        registry.publish(prompt(name, text + "x"))
    with pytest.raises(TooLargeError, match=r"the message of prompt .* has 5,001 characters"):
        registry.publish(prompt(name, message="x" * 5_001))
    assert name not in registry.names()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "a b"}, "'a b' cannot be a prompt's name in the MLflow registry; use letters"),
        ({"digest": "abc"}, "'abc' is not a SHA-256 in hex"),
        ({"text": "a\0b"}, r"has the character '\\x00', which a database cannot keep"),
        ({"author": "a\ud800b"}, r"has the character '\\ud800', which a database cannot keep"),
        ({"tags": {"a`b": "x"}}, r"the MLflow registry does not take this \(Invalid value \"a`b\""),
    ],
    ids=["name", "digest", "zero", "half a character", "tag"],
)
def test_a_prompt_that_cannot_be_kept_is_refused(
    registry: Registry, name: str, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        registry.publish(replace(prompt(name), **wrong))
    assert name not in registry.names()


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"metrics": {"f1": float("nan")}}, RequestError, "metric 'f1' of run 'assistant @ 3' is nan"),
        ({"params": {"p": "x" * 6_001}}, TooLargeError, "param 'p' .* has 6,001 characters, and MLflow keeps at"),
        ({"tags": {"t": "x" * 8_001}}, TooLargeError, "tag 't' .* has 8,001 characters, and MLflow keeps at"),
        ({"tags": {"mlflow.user": "x"}}, RequestError, "tag 'mlflow.user' .* is MLflow's own"),
        ({"artifacts": {"../x": ""}}, RequestError, "'../x' cannot be an artifact's name"),
        ({"artifacts": {"/etc/x": ""}}, RequestError, "'/etc/x' cannot be an artifact's name"),
        ({"artifacts": {"": ""}}, RequestError, "'' cannot be an artifact's name"),
        ({"params": {"p": "a\0"}}, RequestError, r"param 'p' .* has the character '\\x00'"),
        ({"name": "\udfff"}, RequestError, r"name has the character '\\udfff'"),
    ],
    ids=["nan", "param", "tag", "own tag", "up", "absolute", "empty", "zero", "half a character"],
)
def test_a_run_that_cannot_be_kept_leaves_nothing(
    registry: Registry, name: str, wrong: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        registry.log_eval(eval_run(name, **wrong))
    assert registry._client.get_experiment_by_name(name) is None
