"""What the components add to LangChain's contract: citations, permissions, and errors that say what happened."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from anyio import to_thread
from langchain_core.documents import Document
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnablePassthrough

from llmops.errors import (
    BusyError,
    ConfigurationError,
    EndpointError,
    EndpointProtocolError,
    EndpointUnreachableError,
    LlmopsError,
    NotFoundError,
    RequestError,
    UnauthenticatedError,
)
from llmops.langchain import ChatLlmops, LlmopsRetriever
from llmops.workspace.notebook import Notebook
from llmops.workspace.opened import Workspace
from tests.gateway.running import TOKEN, Gateway, eventually
from tests.gateway.upstream import Upstream, answering, event, hang, open_upstream, piece, streaming

pytestmark = pytest.mark.anyio
HOURS = "When does the library open?"
Where = dict[str, Any]


@pytest.fixture(params=["in process", "over HTTP"])
def where(request: pytest.FixtureRequest) -> Where:
    if request.param == "in process":
        return {"notebook": request.getfixturevalue("notebook")}
    return {"base_url": request.getfixturevalue("gateway").url}


@pytest.fixture
def workspace(where: Where, request: pytest.FixtureRequest) -> Workspace:
    if "notebook" in where:
        opened: Workspace = where["notebook"]._workspace
        return opened
    gateway: Gateway = request.getfixturevalue("gateway")
    return gateway.workspace


def whole(chunks: Iterator[AIMessageChunk]) -> AIMessageChunk:
    first, *rest = list(chunks)
    for chunk in rest:
        first = first + chunk
    return first


def test_an_answer_carries_its_citations_and_the_id_for_feedback(where: Where, workspace: Workspace) -> None:
    answer = ChatLlmops(model="assistant", **where).invoke(HOURS)
    assert "nine in the morning" in answer.text
    told = answer.response_metadata
    assert [(one["number"], one["uri"]) for one in told["citations"]] == [(1, "library.md")]
    assert (told["model_name"], told["finish_reason"]) == ("assistant", "stop")
    assert 0 < told["groundedness"] <= 1
    workspace.writer.flush()
    assert workspace.traces.get(told["inference_id"]).status == "ok"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


async def test_a_stream_says_the_same_as_an_answer_at_once(where: Where) -> None:
    model = ChatLlmops(model="rag", **where)
    once, later = model.invoke(HOURS), await model.ainvoke(HOURS)
    streamed = whole(model.stream(HOURS))
    pieces = [chunk async for chunk in model.astream(HOURS)]
    assert len([chunk for chunk in pieces if chunk.content]) == 3
    for answer in (later, streamed, whole(iter(pieces))):
        assert answer.text == once.text == "It opens at nine [1]."
        assert answer.usage_metadata == once.usage_metadata
        for name in ("citations", "groundedness", "guardrails", "model_name", "finish_reason"):
            assert answer.response_metadata[name] == once.response_metadata[name], name


def test_a_workspace_says_what_a_gateway_says(notebook: Notebook, gateway: Gateway) -> None:
    def said(where: Where) -> tuple[dict[str, Any], Any, list[Document]]:
        answer = ChatLlmops(model="assistant", **where).invoke(HOURS)
        told = {name: value for name, value in answer.response_metadata.items() if name != "inference_id"}
        return told, answer.usage_metadata, LlmopsRetriever(collection="docs", **where).invoke(HOURS)

    assert said({"notebook": notebook}) == said({"base_url": gateway.url})


def test_parameters_and_history_reach_the_model(where: Where, upstream: Upstream) -> None:
    model = ChatLlmops(model="forward", temperature=0.5, seed=7, stop=["\n\n"], **where)
    model.invoke([SystemMessage("Be brief."), HumanMessage("Hello?")], max_tokens=50, stop=["END"])
    sent = upstream.requests[-1].body
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert {name: sent[name] for name in ("temperature", "seed", "max_tokens", "stop")} == {
        "temperature": 0.5,
        "seed": 7,
        "max_tokens": 50,
        "stop": ["END"],
    }


def test_who_may_not_read_a_passage_does_not_get_it(notebook: Notebook, gateway: Gateway) -> None:
    def titles(**fields: Any) -> list[str]:
        found = LlmopsRetriever(collection="team", **fields).invoke("yearly bonus of a librarian")
        return [document.metadata["source"] for document in found]

    assert titles(notebook=notebook) == []
    assert titles(notebook=notebook, principals=("team-a",)) == ["salaries.md"]
    assert titles(base_url=gateway.url) == []
    key, secret = gateway.workspace.keys.create("team", role="app", principals=["team-a"])
    other, plain = gateway.workspace.keys.create("other", role="app", principals=[])
    try:
        assert titles(base_url=gateway.url, api_key=secret) == ["salaries.md"]
        assert titles(base_url=gateway.url, api_key=plain, principals=("team-a",)) == []
        assert titles(base_url=gateway.url, api_key=TOKEN, principals=("team-a",)) == ["salaries.md"]
        with pytest.raises(UnauthenticatedError, match="an API key is needed"):
            titles(base_url=gateway.url)
        asked = ChatLlmops(model="team", base_url=gateway.url, api_key=secret).invoke(
            "How much is the yearly bonus?"
        )
        assert "four thousand euros" in asked.text
    finally:
        for one in (key, other):
            gateway.workspace.keys.revoke(one.key_id)


def test_a_document_says_where_it_comes_from(where: Where) -> None:
    first = LlmopsRetriever(collection="docs", k=3, **where).invoke(HOURS)[0]
    assert "nine in the morning" in first.page_content
    about = first.metadata
    assert (about["source"], about["rank"], about["heading_path"][-1]) == ("library.md", 1, "Opening hours")
    assert first.id
    assert LlmopsRetriever(route="assistant", k=1, **where).invoke(HOURS)[0].id == first.id


def test_a_filter_narrows_the_search(where: Where) -> None:
    retriever = LlmopsRetriever(collection="docs", **where)
    assert {one.metadata["source"] for one in retriever.invoke("complaints", filter={"uri": "notes.txt"})} == {
        "notes.txt"
    }
    assert retriever.invoke("complaints", filter={"uri": "none"}) == []


async def test_retriever_and_model_are_parts_of_a_chain(where: Where, upstream: Upstream) -> None:
    def joined(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    retriever = LlmopsRetriever(collection="docs", k=2, **where)
    model = ChatLlmops(model="forward", **where)
    prompt: Callable[[dict[str, str]], str] = "{context}\n\n{question}".format_map
    chain: Runnable[str, Any] = {
        "context": retriever | joined,
        "question": RunnablePassthrough(),
    } | RunnablePassthrough()
    filled = await chain.ainvoke(HOURS)
    assert await (model | StrOutputParser()).ainvoke(prompt(filled)) == "It opens at nine [1]."
    assert "nine in the morning" in upstream.requests[-1].body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("model", "messages", "kind", "said"),
    [
        ("nowhere", HOURS, NotFoundError, "nowhere"),
        ("assistant", [SystemMessage("Be rude."), HumanMessage("x")], RequestError, "has its own system prompt"),
        ("rag-dead", HOURS, LlmopsError, "dead"),
    ],
)
async def test_errors_are_those_of_llmops(
    where: Where, model: str, messages: Any, kind: type[LlmopsError], said: str
) -> None:
    chat = ChatLlmops(model=model, **where)
    with pytest.raises(kind, match=said):
        chat.invoke(messages)
    with pytest.raises(kind, match=said):
        await chat.ainvoke(messages)
    with pytest.raises(kind, match=said):
        list(chat.stream(messages))
    with pytest.raises(kind, match=said):
        [chunk async for chunk in chat.astream(messages)]


@pytest.mark.parametrize("route", ["rag", "forward"])
async def test_an_answer_that_breaks_off_is_never_silently_short(
    where: Where, upstream: Upstream, route: str
) -> None:
    upstream.handler = streaming(event(piece("It opens ")))
    chat = ChatLlmops(model=route, **where)
    with pytest.raises(EndpointError, match=r"scripted|broke off|cut"):
        list(chat.stream(HOURS))
    with pytest.raises(EndpointError, match=r"scripted|broke off|cut"):
        [chunk async for chunk in chat.astream(HOURS)]


async def test_who_leaves_early_cancels_the_answer(where: Where, workspace: Workspace, upstream: Upstream) -> None:
    chat = ChatLlmops(model="rag", **where)

    def newest() -> str:
        workspace.writer.flush()
        found = workspace.traces.latest(1, "rag")
        return found[0].inference_id if found else ""

    def cancelled(before: str) -> bool:
        workspace.writer.flush()
        found = workspace.traces.latest(1, "rag")
        return bool(found) and found[0].inference_id != before and found[0].status == "cancelled"

    before = newest()
    upstream.handler = streaming(event(piece("It opens at nine. ")), event(piece("And then ")), then=hang)
    stream = chat.stream(HOURS)
    assert next(stream).text
    stream.close()  # type: ignore[attr-defined]  # a generator
    eventually(lambda: cancelled(before), "the answer went on without its reader")
    before = newest()
    async for chunk in (pieces := chat.astream(HOURS)):
        assert chunk.text
        break
    await pieces.aclose()  # type: ignore[attr-defined]  # a generator
    wait = partial(eventually, lambda: cancelled(before), "the answer went on without its reader")
    await to_thread.run_sync(wait)  # LangChain leaves the inner generator to the event loop


def busy_once(then: Any) -> Callable[[Any], None]:
    n_asked = iter(range(100))

    def handle(exchange: Any) -> None:
        if next(n_asked) == 0:
            error = {"error": {"message": "the gateway is busy"}}
            exchange.json(error, status=503, Retry_After="0")
        else:
            then(exchange)

    return handle


async def test_a_gateway_that_is_busy_is_asked_again() -> None:
    with open_upstream() as gateway:
        chat = ChatLlmops(model="m", base_url=gateway.url)
        gateway.handler = busy_once(answering("yes"))
        assert chat.invoke("x").text == "yes"
        gateway.handler = busy_once(answering("yes"))
        assert whole(chat.stream("x")).text == "yes"
        gateway.handler = busy_once(answering("yes"))
        assert (await chat.ainvoke("x")).text == "yes"
        gateway.handler = busy_once(answering("yes"))
        assert [chunk.text async for chunk in chat.astream("x") if chunk.text] == ["yes"]
        gateway.handler = busy_once(answering("yes"))
        with pytest.raises(BusyError, match="the gateway is busy"):
            ChatLlmops(model="m", base_url=gateway.url, max_retries=0).invoke("x")


def test_what_is_no_gateway_or_away_says_so() -> None:
    with pytest.raises(EndpointUnreachableError, match="is llmops up running there"):
        ChatLlmops(model="m", base_url="http://127.0.0.1:1").invoke("x")
    with open_upstream() as other:
        chat, retriever = ChatLlmops(model="m", base_url=other.url), LlmopsRetriever(base_url=other.url)
        other.handler = lambda exchange: exchange.answer(b"<html>", kind="text/html")
        with pytest.raises(EndpointProtocolError, match="is it an llmops gateway"):
            chat.invoke("x")
        other.handler = lambda exchange: exchange.json({"choices": []})
        with pytest.raises(EndpointProtocolError, match="is it an llmops gateway"):
            chat.invoke("x")
        with pytest.raises(EndpointProtocolError, match="answered no hits"):
            retriever.invoke("x")


def test_a_component_needs_one_place(notebook: Notebook) -> None:
    with pytest.raises(ConfigurationError, match=r"give notebook=llmops\.open"):
        ChatLlmops(model="assistant")
    with pytest.raises(ConfigurationError, match="either a notebook or a base_url"):
        LlmopsRetriever(notebook=notebook, base_url="http://127.0.0.1:8080")
    with pytest.raises(RequestError, match="name a collection: there is docs, team"):
        LlmopsRetriever(notebook=notebook).invoke("x")


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("import llmops.langchain, sys; print('langchain_core' in sys.modules)", "False"),
        (
            "import sys; sys.modules['langchain_core'] = None\n"
            "import llmops.langchain as ours\n"
            "try: ours.ChatLlmops\n"
            "except Exception as error: print(error)",
            "'langchain-core' is not installed: run pip install 'llmops[langchain]'",
        ),
    ],
    ids=["nothing is loaded before it is used", "a missing package is named"],
)
def test_langchain_is_loaded_when_it_is_used(script: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == printed, done.stderr
