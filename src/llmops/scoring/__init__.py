"""Scoring: metrics over examples, the gate, and its verdict; one code for CI and for production."""

from llmops.scoring.gate import GateRule, decide, judge
from llmops.scoring.metrics import Metric, Observed, measure, metric_named

__all__ = ["GateRule", "Metric", "Observed", "decide", "judge", "measure", "metric_named"]
