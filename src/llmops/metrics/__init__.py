"""Numbers that say how good something is: plain functions, never NaN; thresholds belong to gates."""

from llmops.metrics.intervals import Interval, bootstrap_interval
from llmops.metrics.ranking import ndcg_at_k, recall_at_k, reciprocal_rank

__all__ = ["Interval", "bootstrap_interval", "ndcg_at_k", "recall_at_k", "reciprocal_rank"]
