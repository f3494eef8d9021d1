"""Metrics by name: what each reads of one answer, and how the readings of many become one number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from llmops.errors import ConfigurationError
from llmops.metrics import (
    abstention_f1,
    abstention_precision,
    abstention_recall,
    answer_included,
    bootstrap_statistic,
    citation_precision,
    ndcg_at_k,
    recall_at_k,
    token_f1,
    token_recall,
)
from llmops.records import Citation, Example, MetricValue, Passage

Row = tuple[float, ...]
Rows = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What a system did with one example.

    Attributes:
        passages: the packed context, best first.
        groundedness: in [0, 1], or None when it states nothing.
    """

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    abstains: bool
    groundedness: float | None
    latency_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric by its name in a suite.

    Attributes:
        read: one example's reading, a row of numbers, or None where the metric does not apply.
        combine: rows `(n, m)` to the metric's value.
        is_better: whether more or less is better.
    """

    name: str
    read: Callable[[Example, Observed], Row | None]
    combine: Callable[[Rows], float]
    is_better: str = "more"


def metric_named(name: str) -> Metric:
    """The metric of this name; `recall@5` and `ndcg@10` carry their depth.

    Raises:
        ConfigurationError: there is none; names those there are.
    """
    if match := _AT_K.fullmatch(name):
        read = partial(_at_k, {"recall": recall_at_k, "ndcg": ndcg_at_k}[match["metric"]], int(match["k"]))
        return Metric(name=name, read=read, combine=_mean)
    if name not in _METRICS:
        raise ConfigurationError(f"there is no metric {name!r}; there is: {', '.join(METRIC_NAMES)}")
    return _METRICS[name]


def measure(metric: Metric, rows: Sequence[Row], *, n_errors: int = 0) -> MetricValue | None:
    """The metric with its 95 % bootstrap interval over examples; None when it applies to none of them."""
    if not rows:
        return None
    interval = bootstrap_statistic(np.asarray(rows, dtype=np.float64), metric.combine)
    return MetricValue(
        metric=metric.name,
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        n=len(rows),
        n_errors=n_errors,
    )


def holds(passage: Passage, evidence: str) -> bool:
    """Whether a passage holds a quote, white space aside; nothing holds an empty one."""
    quote = _flat(evidence)
    return bool(quote) and quote in _flat(passage.text)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _at_k(function: Callable[..., float], k: int, example: Example, observed: Observed) -> Row | None:
    """Quotes are alternatives: what is looked for is the first passage that holds any of them."""
    if not example.evidence:
        return None
    places = (
        rank for rank, p in enumerate(observed.passages) if any(holds(p, quote) for quote in example.evidence)
    )
    first = next(places, None)
    names = ["answer" if rank == first else f"passage {rank}" for rank in range(len(observed.passages))]
    return (function({"answer": 1.0}, names, k),)


def _citations(example: Example, observed: Observed) -> Row | None:
    """Right is a citation of a document on which a right answer stands.

    Only where there is one: an answer to a question that has none is counted by the abstention metrics, once.
    """
    if not observed.citations or not example.sources:
        return None
    return (citation_precision([citation.uri in example.sources for citation in observed.citations]),)


def _reference(
    function: Callable[[str, Sequence[str]], float], example: Example, observed: Observed
) -> Row | None:
    if not example.is_answerable:
        return None
    return (0.0 if observed.abstains else function(_without_markers(observed), example.answers),)


def _without_markers(observed: Observed) -> str:
    """The text without its citations; other brackets are part of the answer (`row[0]`)."""
    numbers = "|".join({str(citation.number) for citation in observed.citations})
    return re.sub(rf"\[(?:{numbers})\]", " ", observed.text) if numbers else observed.text


def _abstention(example: Example, observed: Observed) -> Row:
    return (float(observed.abstains), float(not example.is_answerable))


def _groundedness(_: Example, observed: Observed) -> Row | None:
    return None if observed.groundedness is None else (observed.groundedness,)


def _latency(_: Example, observed: Observed) -> Row:
    return (observed.latency_ms,)


def _mean(rows: Rows) -> float:
    return float(rows[:, 0].mean())


def _percentile(level: float, rows: Rows) -> float:
    """As `np.percentile` (linear), which takes ten times as long on the few values of a suite."""
    ordered = np.sort(rows[:, 0])
    place = (len(ordered) - 1) * level / 100
    below, share = int(place), place % 1
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (high - low) * share


def _of_abstention(function: Callable[[NDArray[np.bool_], NDArray[np.bool_]], float], rows: Rows) -> float:
    return function(rows[:, 0] > 0, rows[:, 1] > 0)


_AT_K = re.compile(r"(?P<metric>recall|ndcg)@(?P<k>[1-9]\d{0,2})")
_METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="token_f1", read=partial(_reference, token_f1), combine=_mean),
        Metric(name="token_recall", read=partial(_reference, token_recall), combine=_mean),
        Metric(name="answer_included", read=partial(_reference, answer_included), combine=_mean),
        Metric(name="citation_precision", read=_citations, combine=_mean),
        Metric(
            name="abstention_precision", read=_abstention, combine=partial(_of_abstention, abstention_precision)
        ),
        Metric(name="abstention_recall", read=_abstention, combine=partial(_of_abstention, abstention_recall)),
        Metric(name="abstention_f1", read=_abstention, combine=partial(_of_abstention, abstention_f1)),
        Metric(name="groundedness", read=_groundedness, combine=_mean),
        Metric(name="latency_p50_ms", read=_latency, combine=partial(_percentile, 50), is_better="less"),
        Metric(name="latency_p95_ms", read=_latency, combine=partial(_percentile, 95), is_better="less"),
    )
}
METRIC_NAMES = ("recall@K", "ndcg@K", *_METRICS)
"""Every metric a suite may name; K is a depth from 1 to 999."""
