"""Between LangChain's messages and the JSON of the chat API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, UsageMetadata
from langchain_core.messages.utils import convert_to_openai_messages

from llmops.errors import EndpointProtocolError

_TOLD = ("inference_id", "citations", "groundedness", "guardrails")


def wire_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Messages as OpenAI writes them."""
    return [dict(one) for one in convert_to_openai_messages(list(messages))]


def message_of(answer: Mapping[str, Any], *, route: str, place: str) -> AIMessage:
    """A `chat.completion` as a message: citations, groundedness and the inference's id are in `response_metadata`.

    Raises:
        EndpointProtocolError: it is none.
    """
    match answer.get("choices"):
        case [{"message": {"content": str() | None as text}, **choice}, *_]:
            pass
        case _:
            raise EndpointProtocolError(
                f"{place} answered no chat completion; is it an llmops gateway?", endpoint=place
            )
    return AIMessage(
        content=text or "",
        id=answer.get("id"),
        response_metadata=_about(answer, route, choice.get("finish_reason")),
        usage_metadata=_usage(answer.get("usage")),
    )


def chunk_of(event: Mapping[str, Any], *, route: str) -> AIMessageChunk | None:
    """A `chat.completion.chunk` as a piece of a message; None when it says nothing."""
    choices = event.get("choices") or [{}]
    choice = choices[0] if isinstance(choices[0], dict) else {}
    text, finish = (choice.get("delta") or {}).get("content") or "", choice.get("finish_reason")
    usage = _usage(event.get("usage"))
    about = _about(event, route, finish) if finish else {}
    if not text and not about and usage is None:
        return None
    return AIMessageChunk(content=text, id=event.get("id"), response_metadata=about, usage_metadata=usage)


def _about(answer: Mapping[str, Any], route: str, finish: Any) -> dict[str, Any]:
    told = {name: answer[name] for name in _TOLD if answer.get(name) is not None}
    return {
        "model_name": str(answer.get("model") or route),
        "model_provider": "llmops",
        "finish_reason": finish,
        **told,
    }


def _usage(said: Any) -> UsageMetadata | None:
    match said:
        case {"prompt_tokens": int(given), "completion_tokens": int(made)}:
            return UsageMetadata(input_tokens=given, output_tokens=made, total_tokens=given + made)
        case _:
            return None
