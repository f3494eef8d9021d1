"""The line, from a question to an answer: embed → search → pack → render → generate → cite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from anyio import to_thread

from llmops.clients.protocols import MetadataCondition
from llmops.errors import EndpointProtocolError, LlmopsError, RequestError
from llmops.records import Answer, Caller, Completion, Delta, Hit, Message, Passage, RenderedPrompt
from llmops.retrieval import pack
from llmops.serving.citations import CitationFilter
from llmops.serving.conversation import Conversation
from llmops.serving.route import Record, Route
from llmops.tracing import Inference

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One request to a prompt route.

    Attributes:
        parameters: the caller's own model parameters.
        metadata: a filter that narrows the route's.
    """

    conversation: Conversation
    caller: Caller
    parameters: Mapping[str, Any]
    metadata: Mapping[str, MetadataCondition] | None = None


async def answer(route: Route, question: Question, record: Record) -> Answer:
    """The whole answer at once."""
    inference = open_inference(route, question.caller)
    async with aclosing(stream_answer(route, question, inference, record)) as stream:
        async for item in stream:
            if isinstance(item, Answer):
                return item
    raise AssertionError("the line ended without an answer")


async def stream_answer(
    route: Route, question: Question, inference: Inference, record: Record
) -> AsyncGenerator[Delta | Answer, None]:
    """Text as it may leave, then the `Answer`; the trace is recorded however it ends.

    Raises:
        RequestError: the question cannot be asked of this route.
        EndpointError: the model failed, before or after the first text.
    """
    try:
        passages = await _context(route, question, inference)
        prompt = _render(route, question, passages, inference)
        citations = CitationFilter(passages)
        async with aclosing(_generate(route, prompt, citations, inference)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    result = _cite(route, inference, citations, piece, passages)
                    record(inference.finish("ok"))
                    yield result
                else:
                    yield piece
    except LlmopsError as error:
        record(inference.finish("error", str(error)))
        raise
    except (GeneratorExit, asyncio.CancelledError):
        if not any(span.station == "cite" for span in inference.spans):
            record(inference.finish("cancelled"))
        raise
    except Exception as error:
        record(inference.finish("error", f"{type(error).__name__}: {error}"))
        raise


def open_inference(route: Route, caller: Caller) -> Inference:
    return Inference(
        route=route.name,
        caller=caller,
        content_policy=route.spec.trace.content,
        spec_hashes=route.spec_hashes,
        model=f"{route.model.name}:{route.model.model}",
        prompt_digest=route.prompt.digest if route.prompt else "",
    )


async def _context(route: Route, question: Question, inference: Inference) -> tuple[Passage, ...]:
    if route.retriever is None:
        return ()
    retriever, asked = route.retriever, question.conversation.question
    with inference.station("embed", question=asked):
        vectors = await to_thread.run_sync(retriever.embed, asked)
    with inference.station("search", caller=question.caller.principals) as span:
        search = partial(retriever.search, vectors, question.caller, metadata=question.metadata)
        hits = await _maybe_in_thread(search, retriever.remote)
        span.output = [_shown(hit) for hit in hits]
    with inference.station("pack", budget_tokens=retriever.spec.context_tokens) as span:
        passages = pack(hits, budget_tokens=retriever.spec.context_tokens)
        span.output = [{"number": p.number, "chunk_id": p.hit.chunk.chunk_id} for p in passages]
    return passages


def _render(
    route: Route, question: Question, passages: tuple[Passage, ...], inference: Inference
) -> RenderedPrompt:
    if route.prompt is None:
        raise RequestError(f"route {route.name!r} has no prompt; it only forwards")
    with inference.station("render") as span:
        variables: dict[str, Any] = {"question": question.conversation.question, "passages": passages}
        known = {name: value for name, value in variables.items() if name in route.prompt.spec.variables}
        prompt = route.prompt.render(known, question.parameters)
        prompt = replace(prompt, messages=_with_history(prompt.messages, question.conversation.history))
        span.output = {"messages": prompt.messages, "parameters": dict(prompt.parameters)}
    return prompt


def _with_history(messages: tuple[Message, ...], history: tuple[Message, ...]) -> tuple[Message, ...]:
    """Earlier turns stand between the system part and the new user part."""
    return (*messages[:-1], *history, messages[-1])


async def _generate(
    route: Route, prompt: RenderedPrompt, citations: CitationFilter, inference: Inference
) -> AsyncGenerator[Delta | Completion, None]:
    text: list[str] = []
    finish_reason = "stop"
    with inference.station("generate", model=inference.model) as span:
        started_ms = inference.elapsed_ms
        try:
            async with aclosing(route.model.stream(prompt.messages, prompt.parameters)) as deltas:
                async for delta in deltas:
                    finish_reason = delta.finish_reason or finish_reason
                    inference.usage = delta.usage or inference.usage
                    if delta.text and not inference.ttft_ms:
                        inference.ttft_ms = inference.elapsed_ms
                    if visible := citations.feed(delta.text):
                        text.append(visible)
                        yield Delta(text=visible)
            if rest := citations.finish():
                text.append(rest)
                yield Delta(text=rest)
        finally:
            inference.cost_usd = route.cost_usd(inference.usage)
            span.output = {"text": "".join(text), "finish_reason": finish_reason}
        if not text and finish_reason == "stop" and not inference.usage.output_tokens:
            problem = f"model endpoint {route.model.name!r} answered nothing at all"
            raise EndpointProtocolError(f"{problem}; look at its log", endpoint=route.model.name)
    yield Completion(
        text="".join(text),
        model=route.model.model,
        finish_reason=finish_reason,
        usage=inference.usage,
        ttft_ms=inference.ttft_ms - started_ms if inference.ttft_ms else 0.0,
        duration_ms=inference.elapsed_ms - started_ms,
        cost_usd=inference.cost_usd,
    )


def _cite(
    route: Route,
    inference: Inference,
    citations: CitationFilter,
    completion: Completion,
    passages: tuple[Passage, ...],
) -> Answer:
    with inference.station("cite") as span:
        span.output = {"cited": [c.number for c in citations.citations], "dropped": citations.n_dropped}
    return Answer(
        inference_id=inference.inference_id,
        route=route.name,
        text=completion.text,
        citations=citations.citations,
        completion=completion,
        passages=passages,
    )


def _shown(hit: Hit) -> dict[str, Any]:
    """A hit in the trace: its text is in the rendered prompt, when it was packed."""
    return {
        "chunk_id": hit.chunk.chunk_id,
        "uri": hit.chunk.uri,
        "score": hit.score,
        "dense_score": hit.dense_score,
        "sparse_score": hit.sparse_score,
    }


async def _maybe_in_thread(call: Callable[[], T], remote: bool) -> T:
    """A search in process takes less than the hop to a thread, and Qdrant Edge holds the GIL anyway."""
    return await to_thread.run_sync(call) if remote else call()
