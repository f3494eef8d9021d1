"""From a question to passages on the line: what is searched, what is packed, and what the trace says of both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import ConfigurationError, EndpointTimeoutError, RequestError
from llmops.ingestion.run import Options
from llmops.records import Chunk, Hit, Message, Trace
from llmops.retrieval import RetrievalSpec, pack
from llmops.retrieval.spec import PackSpec
from llmops.serving.answer import answer
from llmops.serving.route import Route
from llmops.settings import Settings
from llmops.workspace.opened import Workspace
from tests.gateway.workspaces import write_template
from tests.guardrails.policies import IBAN, guard, pii
from tests.serving.test_answer import Says, asking, route_of, run
from tests.serving.test_guarding import guard_passages

HISTORY = (
    Message(role="user", content="Has the reading room of the library a power socket?"),
    Message(role="assistant", content="Yes, every seat has one."),
)
ELLIPTIC = "And how many seats?"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    models = tmp_path_factory.getbasetemp() / "encoder-graphs"
    root: Path = write_template(tmp_path_factory.mktemp("context") / "workspace", models)
    opened = Workspace(root, Settings(threads="1"), command="a test")
    opened.ingest(opened.files.pipeline("docs"), options=Options())
    yield opened
    opened.close()


def route_with(workspace: Workspace, model: Says, **retrieval: Any) -> Route:
    spec = RetrievalSpec.model_validate({"collection": "docs", **retrieval})
    return route_of(workspace, model, guard=None, retriever=workspace.retriever(spec))


def station(trace: Trace, name: str) -> Any:
    (span,) = [span for span in trace.spans if span.station == name]
    return span


def test_a_question_that_leans_on_the_turns_before_is_searched_with_their_words(workspace: Workspace) -> None:
    model = Says(pieces=["Forty [1]."])
    done, trace = run(route_with(workspace, model, rewrite={"type": "terms"}), asking(ELLIPTIC, HISTORY))
    assert [span.station for span in trace.spans][:4] == ["rewrite", "embed", "search", "pack"]
    rewritten = station(trace, "rewrite")
    assert rewritten.input == {"question": ELLIPTIC, "turns": 2}
    assert rewritten.output["how"] == "terms"
    assert rewritten.output["searched"] == ["And how many seats? reading room library power socket"]
    assert "forty seats" in done.passages[0].text
    ((messages, _),) = model.asked  # what the model answers is the question as it was asked
    assert messages[-1].content.endswith(f"Question: {ELLIPTIC}")


def test_the_routes_own_model_rewrites(workspace: Workspace) -> None:
    model = Says(pieces=["How many seats has the ", "reading room?"])
    _, trace = run(route_with(workspace, model, rewrite={"type": "model"}), asking(ELLIPTIC, HISTORY))
    assert len(model.asked) == 2
    assert "search queries" in model.asked[0][0][0].content
    output = station(trace, "rewrite").output
    assert (output["how"], output["searched"]) == ("model", ["How many seats has the reading room?"])
    assert model.n_closed == 2


def test_another_endpoint_rewrites_where_the_route_names_it(workspace: Workspace) -> None:
    model, writer = Says(pieces=["Forty."]), Says(pieces=["seats of the reading room"], name="writer")
    route = route_with(workspace, model, rewrite={"type": "model", "endpoint": "writer"})
    assert route.retriever is not None
    route.retriever.rewriter = writer
    _, trace = run(route, asking(ELLIPTIC, HISTORY))
    assert station(trace, "rewrite").output["searched"] == ["seats of the reading room"]
    assert (len(writer.asked), len(model.asked)) == (1, 1)


def test_an_endpoint_that_is_not_open_is_told(workspace: Workspace) -> None:
    route = route_with(workspace, Says(pieces=["x"]), rewrite={"type": "model", "endpoint": "nobody"})
    traces: list[Trace] = []
    with pytest.raises(
        ConfigurationError, match="'assistant' rewrites by the endpoint 'nobody', which is not open"
    ):
        asyncio.run(answer(route, asking(ELLIPTIC, HISTORY), traces.append))
    assert [trace.status for trace in traces] == ["error"]


def test_an_answer_survives_a_failed_rewriting(workspace: Workspace) -> None:
    writer = Says(
        pieces=["half"], error=EndpointTimeoutError("model endpoint 'writer': silent", endpoint="writer")
    )
    route = route_with(workspace, Says(pieces=["Forty."]), rewrite={"type": "model", "endpoint": "writer"})
    assert route.retriever is not None
    route.retriever.rewriter = writer
    done, trace = run(route, asking(ELLIPTIC, HISTORY))
    assert done.text == "Forty."
    assert station(trace, "rewrite").output == {
        "how": "plain",
        "searched": [ELLIPTIC],
        "carried": (),
        "problem": "model endpoint 'writer': silent",
    }


@pytest.mark.parametrize("question", [" ", "x" * 8_001], ids=["empty", "too long"])
def test_a_question_that_cannot_be_searched_is_not_rewritten(workspace: Workspace, question: str) -> None:
    model = Says(pieces=["x"])
    route = route_with(workspace, model, rewrite={"type": "model"})
    with pytest.raises(RequestError, match="the query"):
        asyncio.run(answer(route, asking(question, HISTORY), lambda _: None))
    assert model.asked == []


def test_several_forms_are_searched(workspace: Workspace) -> None:
    question = "When does the library open? What does a late book cost?"
    done, trace = run(route_with(workspace, Says(pieces=["x"]), multi_query=4), asking(question))
    assert station(trace, "rewrite").output["searched"] == [
        question,
        "library open late book cost",
        "When does the library open?",
        "What does a late book cost?",
    ]
    texts = " ".join(passage.text for passage in done.passages[:2])
    assert "opens at nine" in texts and "twenty cents" in texts


def test_a_reranker_that_fails_is_in_the_trace(workspace: Workspace) -> None:
    away = {"type": "endpoint", "url": "http://127.0.0.1:9/rerank", "model": "m", "timeout_s": 2.0}
    done, trace = run(route_with(workspace, Says(pieces=["x"]), rerank=away), asking())
    (problem,) = station(trace, "search").input["problems"]
    assert problem.startswith("not reranked: rerank endpoint 'http://127.0.0.1:9/rerank' cannot be reached")
    assert done.passages != ()


def test_merged_neighbours_are_in_the_trace_and_cited_word_for_word(workspace: Workspace) -> None:
    plain, _ = run(route_with(workspace, Says(pieces=["x"])), asking())
    merging = route_with(workspace, Says(pieces=["At nine [1]."]), pack={"merge": True})
    done, trace = run(merging, asking())
    packed = station(trace, "pack").output
    assert [row["chunk_id"] for row in packed] == [passage.hit.chunk.chunk_id for passage in done.passages]
    inside = [chunk_id for row in packed for chunk_id in row.get("chunk_ids", (row["chunk_id"],))]
    assert sorted(inside) == sorted(passage.hit.chunk.chunk_id for passage in plain.passages)
    assert done.citations[0].text in {passage.text for passage in plain.passages}


# What a model is handed is what the guardrails checked


def chunk(text: str, *, context: str = "", ordinal: int = 0, start: int = 0) -> Chunk:
    return Chunk(
        chunk_id=f"c{ordinal}",
        document_id="d",
        uri="d.md",
        title="D",
        ordinal=ordinal,
        text=text,
        start=start,
        end=start + len(text),
        heading_path=(),
        locator="",
        n_tokens=10,
        acl=("everyone",),
        context=context,
        context_start=start,
        n_context_tokens=20 if context else 0,
    )


def hit(made: Chunk, rank: int = 1) -> Hit:
    return Hit(chunk=made, rank=rank, score=1 / rank, dense_score=None, sparse_score=None)


def test_a_larger_context_is_redacted_too() -> None:
    (passage,) = pack([hit(chunk("Pay soon.", context=f"Pay soon. The account is {IBAN}."))], budget_tokens=100)
    (left,) = guard_passages(guard(context=[pii()]), passage)
    assert left.text == "Pay soon. The account is <IBAN_CODE>."
    assert IBAN not in repr(left)


def test_merged_neighbours_are_redacted_together() -> None:
    hits = [hit(chunk("Pay soon.")), hit(chunk(f"The account is {IBAN}.", ordinal=1, start=11), 2)]
    (passage,) = pack(hits, budget_tokens=100, spec=PackSpec(merge=True))
    (left,) = guard_passages(guard(context=[pii()]), passage)
    assert left.text == "Pay soon.\n\nThe account is <IBAN_CODE>."
    assert IBAN not in repr(left)
