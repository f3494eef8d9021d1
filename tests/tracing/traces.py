"""Traces for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from llmops.records import Span, Trace, Usage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPAN = Span(
    station="embed", start_ms=0.5, duration_ms=2.5, input={"question": "who is ada@example.org?"}, output=[1]
)


def trace(
    inference_id: str,
    *,
    policy: Literal["scrubbed", "encrypted", "none"] = "scrubbed",
    spans: Sequence[Span] = (SPAN,),
    **fields: Any,
) -> Trace:
    known: dict[str, Any] = {
        "route": "assistant",
        "started_at": NOW,
        "status": "ok",
        "caller": "anonymous",
        "model": "default:extractive",
        "prompt_digest": "d",
        "spec_hashes": {"route:assistant": "h"},
        "usage": Usage(input_tokens=3, output_tokens=5),
        "cost_usd": 0.125,
        "ttft_ms": 1.5,
        "duration_ms": 2.5,
    }
    return Trace(inference_id=inference_id, content_policy=policy, spans=tuple(spans), **{**known, **fields})
