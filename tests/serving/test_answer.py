"""The line from a question to an answer: its stations, and one trace however it ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.clients.embeddings.source import OnnxSource
from llmops.errors import EndpointProtocolError, EndpointTimeoutError, NotFoundError, RequestError, TooLargeError
from llmops.ingestion.run import Options
from llmops.records import Answer, Caller, Delta, Message, Trace, Usage
from llmops.retrieval import Retriever
from llmops.serving.answer import Question, answer, open_inference, stream_answer
from llmops.serving.conversation import Conversation
from llmops.serving.route import Route
from llmops.serving.spec import Price
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.gateway.workspaces import write_template

OPENING = "When does the library open?"
USAGE = Usage(input_tokens=1_000, output_tokens=10)


async def at_once() -> None:
    await asyncio.sleep(0)


@dataclass(kw_only=True)
class Says:
    """A chat model that says these pieces, each after `before`, and then raises `error` or ends."""

    pieces: Sequence[str]
    error: BaseException | None = None
    usage: Usage | None = USAGE
    before: Callable[[], Awaitable[None]] = at_once
    name: str = "says"
    model: str = "a-model"
    asked: list[tuple[Sequence[Message], Mapping[str, Any]]] = field(default_factory=list)
    n_closed: int = 0

    async def stream(
        self, messages: Sequence[Message], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Delta, None]:
        self.asked.append((messages, parameters))
        try:
            for piece in self.pieces:
                await self.before()
                yield Delta(text=piece)
            if self.error is not None:
                raise self.error
            yield Delta(finish_reason="stop", usage=self.usage)
        finally:
            self.n_closed += 1

    async def close(self) -> None:
        """Nothing is held open."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    models = tmp_path_factory.getbasetemp() / "encoder-graphs"
    root: Path = write_template(tmp_path_factory.mktemp("serving") / "workspace", models)
    opened = Workspace(root, Settings(threads="1"), command="a test")
    opened.ingest(opened.files.pipeline("docs"), options=Options())
    yield opened
    opened.close()


def route_of(workspace: Workspace, model: Says, **changes: Any) -> Route:
    price = Price(input_usd_per_million_tokens=5, output_usd_per_million_tokens=1_000)
    return replace(workspace.route("assistant"), model=model, price=price, **changes)


def asking(question: str = OPENING, history: tuple[Message, ...] = (), **more: Any) -> Question:
    conversation = Conversation(question=question, history=history)
    return Question(conversation=conversation, caller=Caller(), parameters={}, **more)


def run(route: Route, question: Question) -> tuple[Answer, Trace]:
    traces: list[Trace] = []
    done = asyncio.run(answer(route, question, traces.append))
    (trace,) = traces
    return done, trace


def test_an_answer_carries_everything_that_made_it(workspace: Workspace) -> None:
    model = Says(pieces=["At nine", " [1]."])
    done, trace = run(route_of(workspace, model), asking())
    assert (done.text, done.route) == ("At nine [1].", "assistant")
    assert [citation.number for citation in done.citations] == [1]
    assert done.citations[0].text == done.passages[0].text
    assert done.completion.finish_reason == "stop"
    assert done.completion.usage == USAGE
    assert done.completion.cost_usd == pytest.approx(0.015)
    assert 0 < done.completion.ttft_ms <= done.completion.duration_ms
    assert (trace.inference_id, trace.status, trace.model) == (done.inference_id, "ok", "says:a-model")
    assert trace.cost_usd == done.completion.cost_usd
    assert [span.station for span in trace.spans] == [
        "guard-input",
        "embed",
        "search",
        "pack",
        "guard-context",
        "render",
        "generate",
        "guard-output",
        "cite",
    ]
    starts = [span.start_ms for span in trace.spans]
    assert starts == sorted(starts)
    assert sum(span.duration_ms for span in trace.spans) <= trace.duration_ms
    assert model.n_closed == 1


def test_the_model_is_asked_with_history_before_the_question(workspace: Workspace) -> None:
    history = (Message(role="user", content="Hello."), Message(role="assistant", content="Yes?"))
    model = Says(pieces=["At nine."])
    question = replace(asking(history=history), parameters={"max_sentences": 1, "seed": 7})
    run(route_of(workspace, model), question)
    ((messages, parameters),) = model.asked
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1:3] == history
    assert messages[-1].content.endswith(f"Question: {OPENING}")
    assert 'source="library.md"' in messages[-1].content
    assert (parameters["seed"], parameters["max_sentences"], parameters["temperature"]) == (7, 1, 0)


def test_a_route_without_retrieval_answers_from_the_prompt_alone(workspace: Workspace) -> None:
    model = Says(pieces=["I can cite [1] nothing."])
    done, trace = run(route_of(workspace, model, retriever=None), asking(""))
    assert (done.text, done.citations, done.passages) == ("I can cite nothing.", (), ())
    stations = [span.station for span in trace.spans]
    assert stations == ["guard-input", "render", "generate", "guard-output", "cite"]
    assert trace.spans[-1].output == {"cited": [], "dropped": 1, "groundedness": None}


TEXT = "Nine [1], ten [12] or [1, 2]; x[0] is code [3"
WHOLE = "Nine [1], ten or [1][2]; x[0] is code [3"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=10))
def test_text_and_citations_do_not_depend_on_the_pieces(workspace: Workspace, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TEXT)]
    pieces = [TEXT[start:end] for start, end in itertools.pairwise(places)]
    done, _ = run(route_of(workspace, Says(pieces=pieces)), asking())
    assert done.text == WHOLE
    assert [citation.number for citation in done.citations] == [1, 2]


def test_a_stream_says_the_same_as_the_whole(workspace: Workspace) -> None:
    model = Says(pieces=["At ", "nine [", "1", "] or [9] ten."])
    route = route_of(workspace, model)

    async def collect() -> list[Delta | Answer]:
        inference = open_inference(route, Caller())
        return [item async for item in stream_answer(route, asking(), inference, lambda _: None)]

    *deltas, last = asyncio.run(collect())
    assert isinstance(last, Answer)
    assert (
        "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == last.text == "At nine [1] or ten."
    )


# However it ends, there is one trace


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EndpointTimeoutError("model endpoint 'says': silent", endpoint="says"), "model endpoint 'says': silent"),
        (ValueError("a bug"), "ValueError: a bug"),
    ],
    ids=["expected", "unexpected"],
)
@pytest.mark.parametrize("pieces", [[], ["At "]], ids=["before the first text", "in the middle"])
def test_an_error_is_traced_and_raised(
    workspace: Workspace, error: Exception, expected: str, pieces: list[str]
) -> None:
    traces: list[Trace] = []
    route = route_of(workspace, Says(pieces=pieces, error=error), guard=None)
    with pytest.raises(type(error), match=expected.partition(": ")[2]):
        asyncio.run(answer(route, asking(), traces.append))
    (trace,) = traces
    assert (trace.status, trace.error) == ("error", expected)
    assert trace.spans[-1].station == "generate"
    assert trace.spans[-1].output["text"] == "".join(pieces).rstrip()


@pytest.mark.parametrize(
    ("question", "error", "said"),
    [
        (asking(" "), RequestError, "the query is empty"),
        (asking("x" * 8_001), TooLargeError, "has 8001 characters"),
        (asking(metadata={"a b": 1}), RequestError, "cannot be filtered by"),
    ],
    ids=["empty", "too long", "a bad filter"],
)
def test_a_question_that_cannot_be_asked_is_traced(
    workspace: Workspace, question: Question, error: type[Exception], said: str
) -> None:
    model, traces = Says(pieces=["x"]), list[Trace]()
    with pytest.raises(error, match=said):
        asyncio.run(answer(route_of(workspace, model), question, traces.append))
    assert [trace.status for trace in traces] == ["error"]
    assert model.asked == []


def test_an_answer_of_nothing_is_an_error(workspace: Workspace) -> None:
    for usage in (None, Usage(input_tokens=3, output_tokens=0)):
        traces: list[Trace] = []
        with pytest.raises(EndpointProtocolError, match="'says' answered nothing at all; look at its log"):
            asyncio.run(answer(route_of(workspace, Says(pieces=[], usage=usage)), asking(), traces.append))
        assert [trace.status for trace in traces] == ["error"]


def test_a_route_that_only_forwards_says_so(workspace: Workspace) -> None:
    route = route_of(workspace, Says(pieces=["x"]), prompt=None, retriever=None)
    with pytest.raises(RequestError, match="route 'assistant' has no prompt; it only forwards"):
        asyncio.run(answer(route, asking(), lambda _: None))


def test_a_collection_that_is_missing_is_traced(workspace: Workspace) -> None:
    retriever = workspace.route("assistant").retriever
    assert retriever is not None
    spec = retriever.spec.model_copy(update={"collection": "nothing-here"})
    elsewhere = Retriever(
        spec=spec,
        store=workspace.store,
        embedder=workspace.embedder(OnnxSource(model="all-MiniLM-L6-v2")),
        collections=workspace.collections,
    )
    traces: list[Trace] = []
    with pytest.raises(NotFoundError, match="no collection 'nothing-here'"):
        asyncio.run(answer(route_of(workspace, Says(pieces=["x"]), retriever=elsewhere), asking(), traces.append))
    assert [trace.status for trace in traces] == ["error"]


def leave_after(route: Route, n_items: int) -> tuple[list[Delta | Answer], list[Trace]]:
    """Take some items of a stream and close it."""
    seen: list[Delta | Answer] = []
    traces: list[Trace] = []

    async def work() -> None:
        stream = stream_answer(route, asking(), open_inference(route, Caller()), traces.append)
        while len(seen) < n_items:
            seen.append(await anext(stream))
        await stream.aclose()

    asyncio.run(work())
    return seen, traces


def test_leaving_in_the_middle_is_a_cancelled_trace(workspace: Workspace) -> None:
    model = Says(pieces=["At ", "nine."])
    _, (trace,) = leave_after(route_of(workspace, model, guard=None), 1)
    assert (trace.status, trace.error) == ("cancelled", "")
    assert trace.spans[-1].output["text"] == "At"
    assert model.n_closed == 1


def test_leaving_after_the_answer_is_not(workspace: Workspace) -> None:
    seen, (trace,) = leave_after(route_of(workspace, Says(pieces=["At nine."])), 2)
    assert isinstance(seen[-1], Answer)
    assert trace.status == "ok"


def test_a_cancelled_task_is_a_cancelled_trace(workspace: Workspace) -> None:
    started = asyncio.Event()
    traces: list[Trace] = []

    async def wait() -> None:
        started.set()
        await asyncio.sleep(60)

    model = Says(pieces=["too late"], before=wait)

    async def work() -> None:
        task = asyncio.create_task(answer(route_of(workspace, model), asking(), traces.append))
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(work())
    assert [(trace.status, trace.spans[-1].station) for trace in traces] == [("cancelled", "generate")]
