"""Records as the JSON that callers see; the CLI's `--json` prints the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from llmops.ingestion.report import IngestReport
from llmops.records import Answer, Hit, Trace, Usage
from llmops.serving.guarding import shown


def completion(answer: Answer) -> dict[str, Any]:
    """An OpenAI chat completion, with `inference_id` and `citations`."""
    message = {"role": "assistant", "content": answer.text}
    finish = answer.completion.finish_reason
    return {
        "id": f"chatcmpl-{answer.inference_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.route,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": usage(answer.completion.usage),
        "inference_id": answer.inference_id,
        "citations": citations(answer),
        "groundedness": answer.groundedness,
        "guardrails": findings(answer),
    }


def citations(answer: Answer) -> list[dict[str, Any]]:
    return [asdict(citation) for citation in answer.citations]


def usage(given: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": given.input_tokens,
        "completion_tokens": given.output_tokens,
        "total_tokens": given.input_tokens + given.output_tokens,
    }


def chunk_event(
    inference_id: str, route: str, created: int, *, delta: dict[str, Any] | None, finish_reason: str | None = None
) -> dict[str, Any]:
    """One `chat.completion.chunk`; `delta` None makes the usage event with its empty choices."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return {
        "id": f"chatcmpl-{inference_id}",
        "object": "chat.completion.chunk",
        "created": created,
        "model": route,
        "choices": [] if delta is None else [choice],
        "inference_id": inference_id,
    }


def hit(found: Hit) -> dict[str, Any]:
    chunk = found.chunk
    return {
        "rank": found.rank,
        "score": found.score,
        "dense_score": found.dense_score,
        "sparse_score": found.sparse_score,
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "uri": chunk.uri,
        "title": chunk.title,
        "heading_path": list(chunk.heading_path),
        "locator": chunk.locator,
        "text": chunk.text,
        "context": chunk.context,
        "url": chunk.url,
        "metadata": dict(chunk.metadata),
    }


def findings(answer: Answer) -> list[dict[str, Any]]:
    return [shown(finding) for finding in answer.findings]


def report(done: IngestReport) -> dict[str, Any]:
    return {**asdict(done), "is_complete": done.is_complete}


def trace(found: Trace) -> dict[str, Any]:
    return {**asdict(found), "started_at": found.started_at.isoformat()}


def feedback(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the ledger; its keys are SQLAlchemy's own kind of text, which orjson does not take."""
    return {str(name): value for name, value in row.items()} | {"created_at": row["created_at"].isoformat()}
