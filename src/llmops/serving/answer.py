"""From a question to an answer: guard → rewrite → embed → search → pack → guard → render → generate → cite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from anyio import to_thread

from llmops.clients.protocols import MetadataCondition
from llmops.errors import ConfigurationError, EndpointProtocolError, LlmopsError, RequestError
from llmops.guardrails.stream import OutputGuard
from llmops.metrics import abstains
from llmops.records import Answer, Caller, Completion, Delta, Hit, Message, Passage, RenderedPrompt, Usage
from llmops.retrieval import Retriever, Rewriting, pack, rewrite, rewrites
from llmops.retrieval.queries import SearchText
from llmops.retrieval.retriever import check_query
from llmops.retrieval.spec import ModelRewrite
from llmops.serving.citations import CitationFilter
from llmops.serving.conversation import Conversation
from llmops.serving.groundedness import groundedness
from llmops.serving.guarding import Blocked, guard_context, guard_input, shown
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
    is_recorded = False
    try:
        conversation = await guard_input(route.guard, question.conversation, inference)
        if isinstance(conversation, Blocked):
            result = _refused(route, inference, conversation)
            yield Delta(text=result.text)
            record(inference.finish("ok"))
            is_recorded = True
            yield result
            return
        question = replace(question, conversation=conversation)
        passages = await guard_context(route.guard, await _context(route, question, inference), inference)
        prompt = _render(route, question, passages, inference)
        citations = CitationFilter(passages)
        async with aclosing(_generate(route, prompt, citations, inference)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    result = _cite(route, inference, citations, piece, prompt, passages)
                    record(inference.finish("ok"))
                    is_recorded = True
                    yield result
                else:
                    yield piece
    except LlmopsError as error:
        record(inference.finish("error", str(error)))
        raise
    except (GeneratorExit, asyncio.CancelledError):
        if not is_recorded:
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
    forms: tuple[SearchText, ...] = ()
    if rewrites(retriever.spec):
        check_query(asked)
        forms = (await _rewritten(route, retriever, question.conversation, inference)).forms
    with inference.station("embed", question=asked):
        vectors = await to_thread.run_sync(partial(retriever.embed, asked, forms=forms))
    with inference.station("search", caller=question.caller.principals) as span:
        search = partial(retriever.find, vectors, question.caller, metadata=question.metadata)
        found = await _maybe_in_thread(search, retriever.remote)
        collection = {f"collection:{retriever.spec.collection}": retriever.shape().collection}
        inference.spec_hashes = {**inference.spec_hashes, **collection}
        span.output = [_shown(hit) for hit in found.hits]
        if found.problems:
            span.input = {**span.input, "problems": found.problems}
    with inference.station("pack", budget_tokens=retriever.spec.context_tokens) as span:
        passages = pack(
            found.hits,
            budget_tokens=retriever.spec.context_tokens,
            spec=retriever.spec.pack,
            count_tokens=retriever.count_tokens,
        )
        span.output = [_packed(passage) for passage in passages]
    return passages


async def _rewritten(
    route: Route, retriever: Retriever, conversation: Conversation, inference: Inference
) -> Rewriting:
    """What is searched for the question; what the user reads and the model answers stays the question itself."""
    spec = retriever.spec.rewrite
    model = None
    if isinstance(spec, ModelRewrite):
        model = route.model if spec.endpoint in (None, route.model.name) else retriever.rewriter
        if model is None:
            problem = f"route {route.name!r} rewrites by the endpoint {spec.endpoint!r}, which is not open"
            raise ConfigurationError(f"{problem}; name one of serving/models.yaml in retrieval.rewrite.endpoint")
    with inference.station("rewrite", question=conversation.question, turns=len(conversation.history)) as span:
        done = await rewrite(conversation.question, conversation.history, retriever.spec, model)
        span.output = {
            "how": done.how,
            "searched": [form.text for form in done.forms],
            "carried": done.carried,
            "problem": done.problem,
        }
    return done


def _render(
    route: Route, question: Question, passages: tuple[Passage, ...], inference: Inference
) -> RenderedPrompt:
    if route.prompt is None:
        raise RequestError(f"route {route.name!r} has no prompt; it only forwards")
    asked = question.conversation.question
    with inference.station("render", question=asked) as span:
        variables: dict[str, Any] = {"question": asked, "passages": passages}
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
    guard = OutputGuard(route.guard)
    with inference.station("generate", model=inference.model) as span:
        started_ms = inference.elapsed_ms
        try:
            async with aclosing(route.model.stream(prompt.messages, prompt.parameters)) as deltas:
                async for delta in deltas:
                    finish_reason = delta.finish_reason or finish_reason
                    inference.usage = delta.usage or inference.usage
                    if delta.text and not inference.ttft_ms:
                        inference.ttft_ms = inference.elapsed_ms
                    if visible := guard.feed(citations.feed(delta.text)):
                        text.append(visible)
                        yield Delta(text=visible)
                    if guard.is_blocked:
                        break
            if rest := "" if guard.is_blocked else guard.feed(citations.finish()) + guard.finish():
                text.append(rest)
                yield Delta(text=rest)
            if guard.is_blocked and route.guard is not None:
                finish_reason = "content_filter"
                text.append(f"{chr(10) * 2 if text else ''}{route.guard.spec.message}")
                yield Delta(text=text[-1])
        finally:
            inference.cost_usd = route.cost_usd(inference.usage)
            inference.findings += guard.findings
            span.output = {"text": "".join(text), "finish_reason": finish_reason}
        if not text and finish_reason == "stop" and not inference.usage.output_tokens:
            problem = f"model endpoint {route.model.name!r} answered nothing at all"
            raise EndpointProtocolError(f"{problem}; look at its log", endpoint=route.model.name)
    if guard.is_active:
        with inference.station("guard-output", check_ms=round(guard.took_ms, 3)) as guarded:
            guarded.output = [shown(finding) for finding in guard.findings]
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
    prompt: RenderedPrompt,
    passages: tuple[Passage, ...],
) -> Answer:
    with inference.station("cite") as span:
        text = completion.text
        left = tuple(c for c in citations.citations if f"[{c.number}]" in text)  # an ended answer may lack some
        is_blocked = completion.finish_reason == "content_filter"
        unknown = str(prompt.parameters.get("unknown_answer") or "")
        is_unknown = is_blocked or abstains(text, unknown_answer=unknown, n_citations=len(left))
        grounded = groundedness(text, passages) if passages and not is_unknown else None
        span.output = {"cited": [c.number for c in left], "dropped": citations.n_dropped, "groundedness": grounded}
    return Answer(
        inference_id=inference.inference_id,
        route=route.name,
        text=text,
        citations=left,
        completion=completion,
        passages=passages,
        groundedness=grounded,
        findings=tuple(inference.findings),
        abstains=is_unknown,
    )


def _refused(route: Route, inference: Inference, blocked: Blocked) -> Answer:
    """The policy's words: no search was made and no model was asked."""
    completion = Completion(
        text=blocked.message,
        model=route.model.model,
        finish_reason="content_filter",
        usage=Usage(input_tokens=0, output_tokens=0),
        ttft_ms=0.0,
        duration_ms=0.0,
        cost_usd=0.0,
    )
    return Answer(
        inference_id=inference.inference_id,
        route=route.name,
        text=blocked.message,
        citations=(),
        completion=completion,
        passages=(),
        findings=tuple(inference.findings),
        abstains=True,
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


def _packed(passage: Passage) -> dict[str, Any]:
    """A passage in the trace; the chunks in it where there are several."""
    shown: dict[str, Any] = {"number": passage.number, "chunk_id": passage.hit.chunk.chunk_id}
    return {**shown, "chunk_ids": passage.chunk_ids} if len(passage.chunk_ids) > 1 else shown


async def _maybe_in_thread(call: Callable[[], T], remote: bool) -> T:
    """A search in process takes less than the hop to a thread, and Qdrant Edge holds the GIL anyway."""
    return await to_thread.run_sync(call) if remote else call()
