"""Records in the JSON of the HTTP API, as far as the components read it: a workspace says what a gateway says."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llmops.records import Answer, Hit
from llmops.serving.guarding import shown


def completion(answer: Answer) -> dict[str, Any]:
    """A `chat.completion`."""
    message = {"role": "assistant", "content": answer.text}
    choices = [{"index": 0, "message": message, "finish_reason": answer.completion.finish_reason}]
    return {
        **_head(answer.inference_id, answer.route),
        "choices": choices,
        "usage": usage(answer),
        **_told(answer),
    }


def piece(inference_id: str, route: str, text: str) -> dict[str, Any]:
    """A `chat.completion.chunk` with a piece of the text."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {**_head(inference_id, route), "choices": [choice]}


def last_piece(answer: Answer) -> dict[str, Any]:
    """The `chat.completion.chunk` that ends an answer, with its usage."""
    choice = {"index": 0, "delta": {}, "finish_reason": answer.completion.finish_reason}
    head = _head(answer.inference_id, answer.route)
    return {**head, "choices": [choice], "usage": usage(answer), **_told(answer)}


def usage(answer: Answer) -> dict[str, int]:
    """Tokens as the endpoint counts them."""
    used = answer.completion.usage
    total = used.input_tokens + used.output_tokens
    return {"prompt_tokens": used.input_tokens, "completion_tokens": used.output_tokens, "total_tokens": total}


def hit(found: Hit) -> dict[str, Any]:
    """A passage; `context` is the larger text around it that a model is handed instead, or ""."""
    chunk = found.chunk
    return {
        "rank": found.rank,
        "score": found.score,
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "uri": chunk.uri,
        "title": chunk.title,
        "heading_path": list(chunk.heading_path),
        "locator": chunk.locator,
        "text": chunk.text,
        "context": chunk.context,
        "metadata": dict(chunk.metadata),
    }


def _head(inference_id: str, route: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{inference_id}", "model": route, "inference_id": inference_id}


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "citations": [asdict(citation) for citation in answer.citations],
        "groundedness": answer.groundedness,
        "guardrails": [shown(finding) for finding in answer.findings],
    }
