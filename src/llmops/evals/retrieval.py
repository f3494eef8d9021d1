"""Labelled queries through a retriever: how good its rankings are, and whether another's are better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from llmops.datasets import Label, Relevant
from llmops.metrics import Interval, bootstrap_interval, ndcg_at_k, recall_at_k, reciprocal_rank
from llmops.metrics.paired import paired_p_value
from llmops.records import Caller, Chunk
from llmops.retrieval import Retriever
from llmops.retrieval.queries import SearchText, forms_of

DEPTH = 100
"""Hits asked for."""

NDCG_AT, RECALL_AT = 10, (10, 100)
_AS_SERVED = 20

OnAsked = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryScore:
    """One query's ranking, scored; all in [0, 1].

    Attributes:
        recall: k to the share of what answers the query among the first k.
        found: uris of the first ten hits, best first.
    """

    label_id: str
    ndcg_at_10: float
    reciprocal_rank: float
    recall: Mapping[int, float]
    found: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalRun:
    """All labelled queries through one retriever, in the order of the labels."""

    scores: tuple[QueryScore, ...]

    @property
    def ndcg(self) -> list[float]:
        """nDCG@10, one a query."""
        return [score.ndcg_at_10 for score in self.scores]

    def intervals(self) -> dict[str, Interval]:
        """Every metric by its name, with its 95 % interval over queries."""
        columns = {
            f"ndcg@{NDCG_AT}": self.ndcg,
            **{f"recall@{k}": [score.recall[k] for score in self.scores] for k in RECALL_AT},
            "mrr": [score.reciprocal_rank for score in self.scores],
        }
        return {name: bootstrap_interval(values) for name, values in columns.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """One system less another, query by query.

    Attributes:
        interval: of the mean difference; above 0 the first one is better.
        p_value: of the two-sided randomisation test.
    """

    interval: Interval
    p_value: float
    n: int


def run_labels(
    retriever: Retriever, labels: Sequence[Label], caller: Caller, *, on_asked: OnAsked = lambda _done, _of: None
) -> RetrievalRun:
    """Ask every query once.

    Args:
        caller: documents that it may not read are not found; give it what all of them ask for.

    Raises:
        NotFoundError, CollectionShapeError: as `Retriever.search`.
    """
    scores = []
    for n, label in enumerate(labels, start=1):
        scores.append(score_ranking(label, ranking(retriever, label.query, caller)))
        on_asked(n, len(labels))
    return RetrievalRun(scores=tuple(scores))


def ranking(retriever: Retriever, query: str, caller: Caller) -> list[Chunk]:
    """The best 100 chunks as the route orders them, best first.

    Headings and differences put more hits into another order when more are asked for: there the first 20 are
    asked for as a route does it, and the others follow.
    """
    spec = retriever.spec
    search = SearchText(text=query)
    forms = forms_of(search, query, n=spec.multi_query) if spec.multi_query > 1 else ()
    vectors = retriever.embed(query, forms=forms)
    hits = retriever.search(vectors, caller, k=DEPTH)
    if spec.heading_weight or spec.mmr_lambda is not None:
        hits = [*retriever.search(vectors, caller, k=max(spec.k, _AS_SERVED)), *hits]
    return list({hit.chunk.chunk_id: hit.chunk for hit in hits}.values())


def difference(run: RetrievalRun, before: RetrievalRun) -> PairedDifference:
    """nDCG@10 of one run less that of another on the same labels.

    Raises:
        ValueError: the runs are not of the same labels.
    """
    if [score.label_id for score in run.scores] != [score.label_id for score in before.scores]:
        raise ValueError("the two runs are not of the same labels: a paired comparison needs the same queries")
    differences = list(np.subtract(run.ndcg, before.ndcg))
    return PairedDifference(
        interval=bootstrap_interval(differences), p_value=paired_p_value(differences), n=len(differences)
    )


def score_ranking(label: Label, chunks: Sequence[Chunk]) -> QueryScore:
    """Score chunks, best first.

    Where the label quotes, passages are ranked; a passage that holds what two labels ask for is worth both, and
    one that repeats what stood before it nothing. Where it only names documents, documents are ranked: each
    stands where its best chunk does.
    """
    units = list(chunks) if label.is_of_passages else _first_of_documents(chunks)
    missing = dict(enumerate(label.relevant))
    gains: dict[str, float] = {}
    targets: list[list[str]] = []
    for chunk in units:
        held = [index for index, one in missing.items() if is_relevant(one, chunk)]
        gains[chunk.chunk_id] = sum(missing.pop(index).gain for index in held)
        targets.append([str(index) for index in held])
    ranked = [chunk.chunk_id for chunk in units]
    judged = {**gains, **{f"missing {index}": one.gain for index, one in missing.items()}}
    wanted = {str(index): one.gain for index, one in enumerate(label.relevant)}
    return QueryScore(
        label_id=label.label_id,
        ndcg_at_10=ndcg_at_k(judged, ranked, NDCG_AT),
        reciprocal_rank=reciprocal_rank(gains, ranked),
        recall={k: _recall(wanted, targets[:k]) for k in RECALL_AT},
        found=tuple(chunk.uri for chunk in units[:NDCG_AT]),
    )


def is_relevant(one: Relevant, chunk: Chunk) -> bool:
    """Whether a chunk is what a label asks for: of one of its documents, and holding a quote where it has any."""
    if chunk.uri not in one.uris:
        return False
    if not one.quotes:
        return True
    texts = (_flat(chunk.text), _flat(chunk.handed_text))
    return any(_flat(quote) in text for quote in one.quotes for text in texts)


def _recall(wanted: Mapping[str, float], found: Iterable[Sequence[str]]) -> float:
    ids = [index for some in found for index in some]
    return recall_at_k(wanted, ids, max(1, len(ids)))


def _first_of_documents(chunks: Iterable[Chunk]) -> list[Chunk]:
    first: dict[str, Chunk] = {}
    for chunk in chunks:
        first.setdefault(chunk.document_id, chunk)
    return list(first.values())


@lru_cache(maxsize=20_000)
def _flat(text: str) -> str:
    return " ".join(text.split())
