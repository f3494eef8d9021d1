"""Prometheus instruments, fed by finished traces; `.labels()` costs more than observing, so children are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from llmops.ingestion.syncs import Sync, SyncState
from llmops.records import Trace
from llmops.tracing import TraceWriter

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Syncs(Collector):
    """The newest sync of each pipeline as gauges, read from the ledger when they are asked for."""

    def __init__(self, last: Callable[[], Mapping[str, Sync]]) -> None:
        self._last = last

    def collect(self) -> Iterator[GaugeMetricFamily]:
        state = GaugeMetricFamily(
            "llmops_sync_state", "1 for the state of the last sync.", labels=("pipeline", "state")
        )
        began = GaugeMetricFamily("llmops_sync_started_seconds", "When it began, Unix time.", labels=("pipeline",))
        for name, sync in self._last().items():
            for one in get_args(SyncState):
                state.add_metric((name, one), float(sync.state == one))
            began.add_metric((name,), sync.started_at.timestamp())
        yield state
        yield began


class Instruments:
    """All instruments of one gateway, in a registry of their own."""

    def __init__(self, writer: TraceWriter) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "llmops_inferences", "Inferences by route and outcome.", ("route", "status"), registry=self.registry
        )
        self._duration = self._histogram("llmops_inference_duration_seconds", "Request to last byte.", "route")
        self._ttft = self._histogram("llmops_time_to_first_token_seconds", "Request to first text.", "route")
        self._station = self._histogram(
            "llmops_station_duration_seconds", "Time in each station of the line.", "route", "station"
        )
        self._tokens = Counter(
            "llmops_tokens", "Tokens by route and direction.", ("route", "direction"), registry=self.registry
        )
        self._cost = Counter("llmops_cost_usd", "By the price list.", ("route",), registry=self.registry)
        self._guard = Counter(
            "llmops_guard_findings",
            "What guardrails found, by stage, check and action.",
            ("route", "stage", "check", "action"),
            registry=self.registry,
        )
        self._feedback = Counter("llmops_feedback", "Feedback by name.", ("name",), registry=self.registry)
        depth = Gauge("llmops_trace_queue_depth", "Traces not yet in the ledger.", registry=self.registry)
        depth.set_function(lambda: writer.depth)
        failing = Gauge("llmops_trace_writer_failing", "1 while traces cannot be written.", registry=self.registry)
        failing.set_function(lambda: float(writer.failing_since is not None))
        self._children = cache(self._children_of)
        self._stations = cache(self._station.labels)

    def watch_syncs(self, last: Callable[[], Mapping[str, Sync]]) -> None:
        """Tell how the last sync of each pipeline ended, and when: what an operator's alert looks at.

        Args:
            last: the newest sync of each pipeline, by its name; asked when instruments are read.
        """
        self.registry.register(_Syncs(last))

    def observe(self, trace: Trace) -> None:
        """Count one finished inference."""
        duration, ttft, tokens_in, tokens_out, cost = self._children(trace.route)
        self._outcome(trace.route, trace.status).inc()
        duration.observe(trace.duration_ms / 1000)
        if trace.ttft_ms:
            ttft.observe(trace.ttft_ms / 1000)
        tokens_in.inc(trace.usage.input_tokens)
        tokens_out.inc(trace.usage.output_tokens)
        cost.inc(trace.cost_usd)
        for finding in trace.findings:
            self._guard.labels(trace.route, finding.stage, finding.check, finding.action).inc()
        for span in trace.spans:
            self._stations(trace.route, span.station).observe(span.duration_ms / 1000)

    def feedback(self, name: str) -> None:
        self._feedback.labels(name if name in ("thumb", "resolved", "converted") else "other").inc()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

    def _outcome(self, route: str, status: str) -> Counter:
        return self._requests.labels(route, status)

    def _children_of(self, route: str) -> tuple[Histogram, Histogram, Counter, Counter, Counter]:
        return (
            self._duration.labels(route),
            self._ttft.labels(route),
            self._tokens.labels(route, "input"),
            self._tokens.labels(route, "output"),
            self._cost.labels(route),
        )

    def _histogram(self, name: str, about: str, *labels: str) -> Histogram:
        return Histogram(name, about, labels, buckets=_SECONDS, registry=self.registry)
