"""The people of the story, and what they do: each verb is the command or the request that a person would use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cli.conftest import Command, Ended
from tests.cli.test_up import up
from tests.story.library import CORRECTIONS, RIGHT_FEE, SUITE, WRONG_FEE

FOLLOWS_WITHIN_S = 2.0
SLACK_S = 8.0  # a loaded machine may be slow to answer; a test asserts no time


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a reader got."""

    text: str
    inference_id: str
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody who asks on the chat page."""

    http: httpx.Client

    def asks(self, question: str) -> Reply:
        message = {"role": "user", "content": question}
        got = self.http.post("/v1/chat/completions", json={"model": "assistant", "messages": [message]})
        body = got.raise_for_status().json()
        return Reply(text=body["choices"][0]["message"]["content"], inference_id=body["inference_id"], body=body)

    def thumbs_down(self, reply: Reply, *, correction: str) -> None:
        body = {"inference_id": reply.inference_id, "value": False, "correction": correction}
        self.http.post("/v1/feedback", json=body).raise_for_status()

    def soon_hears(self, question: str, wanted: str) -> Reply:
        """Asks until the answer holds what is wanted: a release is followed within two seconds."""
        return self._soon(question, lambda text: wanted in text)

    def soon_hears_nothing_of(self, question: str, unwanted: str) -> Reply:
        return self._soon(question, lambda text: unwanted not in text)

    def _soon(self, question: str, is_heard: Callable[[str], bool]) -> Reply:
        until = time.monotonic() + FOLLOWS_WITHIN_S + SLACK_S
        while not is_heard((reply := self.asks(question)).text):
            assert time.monotonic() < until, f"the gateway still answers: {reply.text}"
            time.sleep(0.1)
        return reply


@dataclass(frozen=True, kw_only=True)
class Team:
    """Whoever keeps the library's assistant: an author of pages, a prompt engineer, an operator."""

    root: Path
    command: Command

    def llmops(self, *arguments: str) -> Ended:
        return self.command(*arguments, "-w", self.root)

    def must(self, *arguments: str) -> Ended:
        """A command that has to work."""
        ended = self.llmops(*arguments)
        assert ended.code == 0, ended
        return ended

    @contextmanager
    def serving(self) -> Iterator[Reader]:
        with up(self.root) as running, httpx.Client(base_url=running.url, timeout=60) as http:
            yield Reader(http=http)

    def mends_the_page(self) -> None:
        page = self.root / "docs" / "fees.md"
        page.write_text(page.read_text().replace(WRONG_FEE, RIGHT_FEE))

    def rewrites_the_prompt(self, old: str, new: str) -> None:
        path = self.root / "prompts" / "answer.prompt.md"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def adds_the_corrections_to_the_suite(self) -> None:
        path = self.root / "evals" / "library.yaml"
        path.write_text(SUITE.format(datasets="library.jsonl, corrections.jsonl", rules=CORRECTIONS))

    def lineage(self, reply: Reply) -> dict[str, Any]:
        found: dict[str, Any] = self.must("lineage", reply.inference_id, "--json").json
        return found
