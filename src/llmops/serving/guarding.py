"""Guardrails on the line: before the question is used, before a passage is shown to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anyio import to_thread

from llmops.errors import TooLargeError
from llmops.guardrails.guard import Guard
from llmops.records import GuardFinding, GuardResult, Message, Passage
from llmops.serving.conversation import Conversation
from llmops.tracing import Inference

MAX_CHECKED_CHARACTERS = 100_000
_SHORT_CHARACTERS = 500  # checked in less time than the way to a thread and back takes


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocked:
    """The policy's words in place of an answer."""

    message: str


async def guard_input(
    guard: Guard | None, conversation: Conversation, inference: Inference
) -> Conversation | Blocked:
    """The conversation as it may go on: what the user wrote, now and before, is checked and redacted.

    A question that is blocked ends here. An earlier turn that is blocked is left out with its reply: it was
    refused when it was asked, and must not stand in the way of every question after it.
    """
    if guard is None or not guard.watches("input"):
        return conversation
    with inference.station("guard-input") as span:
        said = [conversation.question, *(m.content for m in conversation.history if m.role == "user")]
        asked, *before = await _checked(guard, said)
        _note(inference, [asked, *before])
        span.output = _shown([asked, *before])
    if asked.action == "block":
        return Blocked(message=guard.spec.message)
    return Conversation(question=asked.text, history=_allowed(conversation.history, before))


def _allowed(history: Sequence[Message], results: Sequence[GuardResult]) -> tuple[Message, ...]:
    """Earlier turns as they may be shown to a model."""
    kept: list[Message] = []
    of_user = iter(results)
    is_blocked = False
    for message in history:
        if message.role == "user":
            result = next(of_user)
            is_blocked = result.action == "block"
            message = replace(message, content=result.text)  # noqa: PLW2901 (the turn, redacted)
        if not is_blocked:
            kept.append(message)
    return tuple(kept)


async def guard_context(
    guard: Guard | None, passages: tuple[Passage, ...], inference: Inference
) -> tuple[Passage, ...]:
    """The passages that may be shown, redacted and numbered anew; headings are shown, so they are checked too.

    Each text is checked once and remembered.
    """
    if guard is None or not guard.watches("context") or not passages:
        return passages
    with inference.station("guard-context", passages=len(passages)) as span:

        def check() -> list[tuple[GuardResult, GuardResult]]:
            ids = [passage.hit.chunk.chunk_id for passage in passages]
            return [
                (guard.check("context", p.title, where=i), guard.check("context", p.text, where=i))
                for p, i in zip(passages, ids, strict=True)
            ]

        pairs = await to_thread.run_sync(check)
        results = [result for pair in pairs for result in pair]
        _note(inference, results)
        span.output = _shown(results)
    allowed = [
        (passage, title.text, text.text)
        for passage, (title, text) in zip(passages, pairs, strict=True)
        if "block" not in (title.action, text.action)
    ]
    return tuple(
        _with_texts(passage, number, title, text) for number, (passage, title, text) in enumerate(allowed, start=1)
    )


async def _checked(guard: Guard, texts: Sequence[str]) -> list[GuardResult]:
    longest = max(map(len, texts))
    if longest > MAX_CHECKED_CHARACTERS:
        problem = f"a message has {longest} characters; its guardrails read at most {MAX_CHECKED_CHARACTERS}"
        raise TooLargeError(f"{problem}; send less")

    def check() -> list[GuardResult]:
        asked, *before = texts
        question = guard.check("input", asked, where="question")
        return [question, *(guard.check("input", text, where="history") for text in before)]

    is_short = sum(map(len, texts)) <= _SHORT_CHARACTERS
    return check() if is_short else await to_thread.run_sync(check)


def _with_texts(passage: Passage, number: int, title: str, text: str) -> Passage:
    if (title, text) == (passage.title, passage.text):
        return passage if number == passage.number else replace(passage, number=number)
    chunk = replace(passage.hit.chunk, text=text)
    if title != passage.title:
        chunk = replace(chunk, title=title, heading_path=(title,))
    return Passage(number=number, hit=replace(passage.hit, chunk=chunk))


def _note(inference: Inference, results: Sequence[GuardResult]) -> None:
    inference.findings += [finding for result in results for finding in result.findings]


def _shown(results: Sequence[GuardResult]) -> list[dict[str, object]]:
    return [shown(finding) for result in results for finding in result.findings]


def shown(finding: GuardFinding) -> dict[str, object]:
    """A finding in a trace and in a response: what, how sure, what was done."""
    return {
        "stage": finding.stage,
        "check": finding.check,
        "kind": finding.kind,
        "action": finding.action,
        "score": finding.score,
        "where": finding.where,
    }
