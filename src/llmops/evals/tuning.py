"""Which fusion finds best, told by labels: all on the same searches, and a change only when it is proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import ValidationError

from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.protocols import Embedder, Filter, SearchSettings, VectorStore
from llmops.metrics import Interval, bootstrap_interval
from llmops.metrics.paired import adjusted_p_values
from llmops.records import ScoredId, SparseVector
from llmops.retrieval import RetrievalSpec
from llmops.retrieval.spec import EQUAL_WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

BELOW_SINGLE = 0.005
"""A fusion that is more than this below the better single search is never chosen."""

SIGNIFICANT = 0.05
_RRF_K = 60

Fusion = Literal["dbsf", "rrf", "minmax", "dense", "sparse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to make one ranking of two; `rrf_k` counts for rrf alone."""

    fusion: Fusion
    rrf_k: int = _RRF_K
    dense_weight: float = EQUAL_WEIGHTS

    @property
    def name(self) -> str:
        k = f" k={self.rrf_k}" if self.fusion == "rrf" else ""
        weight = f" dense_weight={self.dense_weight:g}" if self.dense_weight != EQUAL_WEIGHTS else ""
        return f"{self.fusion}{k}{weight}"

    @property
    def is_single(self) -> bool:
        return self.fusion in ("dense", "sparse")

    def on(self, spec: RetrievalSpec) -> RetrievalSpec | None:
        """The section with this setting; None where its other steps forbid it."""
        values = {"fusion": self.fusion, "rrf_k": self.rrf_k, "dense_weight": self.dense_weight}
        try:
            return RetrievalSpec.model_validate({**spec.model_dump(), **values})
        except ValidationError:
            return None


def setting_of(spec: RetrievalSpec) -> Setting:
    """What a route does now."""
    rrf_k = spec.rrf_k if spec.fusion == "rrf" else _RRF_K
    return Setting(fusion=spec.fusion, rrf_k=rrf_k, dense_weight=spec.dense_weight)


def settings_to_try(current: Setting) -> tuple[Setting, ...]:
    """The current setting first, then both searches alone, RRF with several k, DBSF and min-max with weights."""
    tried = [current, Setting(fusion="dense"), Setting(fusion="sparse")]
    tried += [Setting(fusion="rrf", rrf_k=k) for k in (2, 5, 10, 20, 60, 100)]
    tried += [Setting(fusion="rrf", dense_weight=weight) for weight in (0.3, 0.7)]
    tried += [Setting(fusion="dbsf", dense_weight=weight) for weight in (0.5, 0.2, 0.35, 0.65, 0.8)]
    tried += [Setting(fusion="minmax", dense_weight=tenths / 10) for tenths in range(1, 10)]
    return tuple(dict.fromkeys(tried))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """One setting on the labels.

    Attributes:
        ndcg_at_10: mean over queries.
        gain: its mean less the current setting's, paired; of no width for the current setting itself.
        p_value: that it is better than the current setting, adjusted for how many were tried.
        over_single: its mean less the better single search's, paired; None where neither was tried.
    """

    setting: Setting
    ndcg_at_10: Interval
    gain: Interval
    p_value: float
    over_single: Interval | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What the labels say.

    Attributes:
        tried: the current setting first.
        reason: why, in a sentence.
    """

    chosen: Setting
    tried: tuple[Tried, ...]
    reason: str

    @property
    def current(self) -> Setting:
        return self.tried[0].setting

    @property
    def better_single(self) -> Setting | None:
        """Dense or sparse search, whichever found better; None when neither was tried."""
        singles = [one for one in self.tried if one.setting.is_single]
        return max(singles, key=lambda one: one.ndcg_at_10.mean).setting if singles else None


def choose(scores: Mapping[Setting, Sequence[float]]) -> Choice:
    """The setting to use from now on.

    The best of those that are proven better than the current one (p < 0.05 in a paired test that knows how many
    were tried) and proven not to be more than 0.005 below the better single search (the lower end of the paired
    95 % interval). Without such a one the current setting stays, unless its own mean is more than 0.005 below that
    search: then the best of those whose mean is not is taken, proven or not.

    Args:
        scores: nDCG@10 of the same queries in the same order, one list a setting; the current setting first.

    Raises:
        ValueError: there are no settings, or no queries.
    """
    names = list(scores)
    rows = np.array([scores[name] for name in names], dtype=np.float64).T
    gains = rows - rows[:, :1]
    p_values = adjusted_p_values(gains)
    singles = [index for index, name in enumerate(names) if name.is_single]
    single = max(singles, key=lambda index: float(rows[:, index].mean()), default=None)
    tried = tuple(
        Tried(
            setting=name,
            ndcg_at_10=bootstrap_interval(list(rows[:, index])),
            gain=bootstrap_interval(list(gains[:, index])),
            p_value=p_values[index],
            over_single=bootstrap_interval(list(rows[:, index] - rows[:, single])) if single is not None else None,
        )
        for index, name in enumerate(names)
    )
    return _decided(tried)


def _decided(tried: tuple[Tried, ...]) -> Choice:
    current = tried[0]
    proven = [one for one in tried if one.p_value < SIGNIFICANT and _is_above(one, lambda over: over.low)]
    if proven:
        best = max(proven, key=lambda one: one.ndcg_at_10.mean)
        reason = f"{best.setting.name} is better than {current.setting.name}: p = {best.p_value:.4f}"
        return Choice(chosen=best.setting, tried=tried, reason=reason)
    allowed = [one for one in tried if _is_above(one, lambda over: over.mean)]
    if current in allowed:
        reason = f"nothing is proven better than {current.setting.name}, so it stays"
        return Choice(chosen=current.setting, tried=tried, reason=reason)
    best = max(allowed, key=lambda one: one.ndcg_at_10.mean)
    reason = (
        f"{current.setting.name} is more than {BELOW_SINGLE} below one search alone; {best.setting.name} is not"
    )
    return Choice(chosen=best.setting, tried=tried, reason=reason)


def _is_above(one: Tried, bound: Callable[[Interval], float]) -> bool:
    return one.over_single is None or bound(one.over_single) >= -BELOW_SINGLE


class SearchesOnce:
    """A store whose answers are kept: each query's dense and sparse list is searched once for all settings."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._lists: dict[Any, list[ScoredId]] = {}
        self._points: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def search(
        self,
        collection: str,
        *,
        dense: NDArray[np.float32] | None,
        sparse: SparseVector | None,
        limit: int,
        where: Filter,
        settings: SearchSettings | None = None,
    ) -> tuple[list[ScoredId], list[ScoredId]]:
        """As the store's."""
        place = (collection, limit, repr(where), settings)
        dense_key = (place, dense.tobytes()) if dense is not None else None
        sparse_key = (place, sparse) if sparse is not None else None
        wants_dense = dense_key is not None and dense_key not in self._lists
        wants_sparse = sparse_key is not None and sparse_key not in self._lists
        if wants_dense or wants_sparse:
            found = self._store.search(
                collection,
                dense=dense if wants_dense else None,
                sparse=sparse if wants_sparse else None,
                limit=limit,
                where=where,
                settings=settings,
            )
            self._lists.update({dense_key: found[0]} if wants_dense else {})
            self._lists.update({sparse_key: found[1]} if wants_sparse else {})
        return self._lists.get(dense_key, []), self._lists.get(sparse_key, [])

    def fetch(
        self, collection: str, chunk_ids: Sequence[str], *, where: Filter, vectors: bool = True
    ) -> dict[str, Any]:
        """As the store's."""
        place = (collection, repr(where), vectors)
        missing = [chunk_id for chunk_id in chunk_ids if (place, chunk_id) not in self._points]
        if missing:
            fetched = self._store.fetch(collection, missing, where=where, vectors=vectors)
            self._points.update({(place, chunk_id): fetched.get(chunk_id) for chunk_id in missing})
        found = {chunk_id: self._points[place, chunk_id] for chunk_id in chunk_ids}
        return {chunk_id: point for chunk_id, point in found.items() if point is not None}


class EncodesOnce:
    """An encoder whose vectors of questions and headings are kept."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self._texts = embedder, VectorCache(embedder)
        self._queries: dict[str, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """As the encoder's."""
        vectors = self._texts.embed(texts)
        if on_progress is not None:
            on_progress(len(texts))
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """As the encoder's."""
        if text not in self._queries:
            self._queries[text] = self._embedder.embed_query(text)
        return self._queries[text]


def searching_once(store: VectorStore) -> VectorStore:
    """The store for settings that are compared: whatever a retriever asks for twice is answered from memory."""
    return cast(VectorStore, SearchesOnce(store))  # what it has not itself, the store behind it has


def encoding_once(embedder: Embedder) -> Embedder:
    """The encoder for settings that are compared."""
    return cast(Embedder, EncodesOnce(embedder))  # likewise
