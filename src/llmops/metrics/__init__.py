"""Numbers that say how good something is: plain functions, never NaN; thresholds belong to gates."""

from llmops.metrics.answers import (
    abstains,
    abstention_f1,
    abstention_precision,
    abstention_recall,
    answer_included,
    citation_precision,
    lexical_groundedness,
    normalized_words,
    token_f1,
    token_recall,
)
from llmops.metrics.intervals import Interval, bootstrap_interval, bootstrap_statistic
from llmops.metrics.ranking import ndcg_at_k, recall_at_k, reciprocal_rank

__all__ = [
    "Interval",
    "abstains",
    "abstention_f1",
    "abstention_precision",
    "abstention_recall",
    "answer_included",
    "bootstrap_interval",
    "bootstrap_statistic",
    "citation_precision",
    "lexical_groundedness",
    "ndcg_at_k",
    "normalized_words",
    "recall_at_k",
    "reciprocal_rank",
    "token_f1",
    "token_recall",
]
