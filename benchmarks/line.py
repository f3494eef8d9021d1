"""Processor time of each station of the RAG line, asked in this process with nothing else running in it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from llmops.records import Answer, Caller
from llmops.serving.answer import Question, open_inference, stream_answer
from llmops.serving.conversation import Conversation
from llmops.serving.route import Route
from llmops.settings import Settings
from llmops.tracing import Inference
from llmops.tracing.inference import OpenSpan
from llmops.workspace.opened import Workspace
from report import spread


@dataclass(kw_only=True, slots=True)
class MeteredInference(Inference):
    """An inference that also counts the processor time of all threads while a station is open."""

    cpu_ms: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def station(self, name: str, **given: Any) -> Iterator[OpenSpan]:
        before = time.process_time()
        try:
            with Inference.station(self, name, **given) as span:
                yield span
        finally:
            self.cpu_ms.setdefault(name, []).append((time.process_time() - before) * 1000)


def line_cpu(root: Path, questions: Sequence[str]) -> dict[str, float]:
    """Median processor time (ms) of each station, in this process, one question at a time."""
    workspace = Workspace(root, Settings(), command="benchmark")
    try:
        return uvloop.run(_line_cpu(workspace.route("assistant"), questions))
    finally:
        workspace.close()


async def _line_cpu(route: Route, questions: Sequence[str]) -> dict[str, float]:
    per_station: dict[str, list[float]] = {}
    for n, question in enumerate(questions):
        asked = Question(conversation=Conversation(question=question, history=()), caller=Caller(), parameters={})
        opened = open_inference(route, asked.caller)
        inference = MeteredInference(
            route=opened.route,
            caller=opened.caller,
            content_policy=opened.content_policy,
            spec_hashes=opened.spec_hashes,
            model=opened.model,
        )
        started = time.process_time()
        items: AsyncGenerator[Any, None] = stream_answer(route, asked, inference, lambda _: None)
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Answer):
                    break
        whole = (time.process_time() - started) * 1000
        if n < 5:
            continue  # warm
        for name, values in inference.cpu_ms.items():
            per_station.setdefault(name, []).append(sum(values))
        per_station.setdefault("the whole line", []).append(whole)
    return {name: spread(values).median for name, values in per_station.items()}
