"""One inference while it happens: stations open and close, and at the end there is a `Trace`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from llmops.records import Caller, GuardFinding, Span, Trace, Usage
from llmops.tracing.content import ContentPolicy


@dataclass(kw_only=True, slots=True)
class OpenSpan:
    """A station under way; set `output` before it closes."""

    station: str
    input: Any
    output: Any = None


@dataclass(kw_only=True, slots=True)
class Inference:
    """What is known so far. The serving line fills it in; `finish` makes the record."""

    route: str
    caller: Caller
    content_policy: ContentPolicy
    spec_hashes: Mapping[str, str]
    model: str = ""
    prompt_digest: str = ""
    inference_id: str = field(default_factory=lambda: f"inf_{uuid.uuid4().hex}")
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=0, output_tokens=0))
    cost_usd: float = 0.0
    ttft_ms: float = 0.0
    spans: list[Span] = field(default_factory=list)
    findings: list[GuardFinding] = field(default_factory=list)
    _clock: float = field(default_factory=time.perf_counter)

    @property
    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self._clock) * 1000

    @contextmanager
    def station(self, name: str, **given: Any) -> Iterator[OpenSpan]:
        """Time one station; its span is kept even when it raises."""
        span = OpenSpan(station=name, input=given)
        start_ms = self.elapsed_ms
        try:
            yield span
        except BaseException as error:
            span.output = {"error": f"{type(error).__name__}: {error}"} if span.output is None else span.output
            raise
        finally:
            duration_ms = self.elapsed_ms - start_ms
            self.spans.append(
                Span(
                    station=name, start_ms=start_ms, duration_ms=duration_ms, input=span.input, output=span.output
                )
            )

    def finish(self, status: Literal["ok", "error", "cancelled"], error: str = "") -> Trace:
        return Trace(
            inference_id=self.inference_id,
            route=self.route,
            started_at=self.started_at,
            status=status,
            caller=self.caller.name,
            model=self.model,
            prompt_digest=self.prompt_digest,
            spec_hashes=self.spec_hashes,
            usage=self.usage,
            cost_usd=self.cost_usd,
            ttft_ms=self.ttft_ms,
            duration_ms=self.elapsed_ms,
            content_policy=self.content_policy,
            spans=tuple(self.spans),
            error=error,
            findings=tuple(self.findings),
        )
