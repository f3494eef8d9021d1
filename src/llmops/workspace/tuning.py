"""`llmops ingest tune`: the fusion that labels choose for a route, and what int8 loses on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from llmops.clients.embeddings.source import OnnxSource
from llmops.clients.protocols import Filter
from llmops.datasets import Label, Labels
from llmops.errors import ConfigurationError, NotFoundError
from llmops.evals.retrieval import RetrievalRun, difference, is_relevant, run_labels
from llmops.evals.tuning import (
    Choice,
    Setting,
    choose,
    encoding_once,
    searching_once,
    setting_of,
    settings_to_try,
)
from llmops.ingestion.precision import LabelledTexts, MeasuredLoss, measure_loss
from llmops.ingestion.spec import IngestionSpec
from llmops.metrics import bootstrap_interval
from llmops.records import Caller, Chunk
from llmops.releases import CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever, open_reranker
from llmops.workspace.collection_gate import held_labels, reader_of, retrieval_of
from llmops.workspace.files import load_files
from llmops.workspace.opened import Workspace

MIN_LABELS = 5
"""In each part; with fewer nothing can be said at all, and with fewer than some fifty hardly anything proven."""

_EVERYTHING = Filter(principals=None)


def tune(workspace: Workspace, spec: IngestionSpec, labels: Labels, route: str | None) -> dict[str, Any]:
    """Every fusion on the labels of "dev", the choice, and what it does on "dev-test"; as JSON.

    Raises:
        NotFoundError: nothing answers yet.
        ConfigurationError: there are too few labels, or it is open which route is meant.
    """
    files = load_files(workspace.root)  # a route may have been edited since the gateway started
    retrieval, named = retrieval_of(files, spec.name, route)
    shape = _serving(workspace, spec)
    held = held_labels(workspace.ledger, labels.labels, [shape])
    parts = {part: tuple(label for label in held if label.part == part) for part in ("dev", "dev-test")}
    for part, some in parts.items():
        if len(some) < MIN_LABELS:
            problem = f"only {len(some)} labels of the part {part!r} name a document of {shape.collection!r}"
            raise ConfigurationError(
                f"{problem}; at least {MIN_LABELS} are needed, and some fifty to prove anything"
            )
    trying = _Trying(workspace, spec, shape, retrieval, file=files.routes[named].file if named else "")
    current = setting_of(retrieval)
    runs = {setting: trying.run(setting, parts["dev"]) for setting in settings_to_try(current)}
    choice = choose({setting: run.ndcg for setting, run in runs.items() if run is not None})
    wanted = (current, choice.chosen, choice.better_single)
    reported = {one: trying.run(one, parts["dev-test"]) for one in wanted if one is not None}
    return {
        "pipeline": spec.name,
        "collection": shape.collection,
        "route": named or None,
        "n_labels": {part: len(some) for part, some in parts.items()},
        "n_left_out": len(labels.labels) - len(held),
        **_choice_json(choice, {one: run for one, run in reported.items() if run is not None}),
    }


class _Trying:
    """One collection, searched once for all settings."""

    def __init__(
        self,
        workspace: Workspace,
        spec: IngestionSpec,
        shape: CollectionShape,
        retrieval: RetrievalSpec,
        *,
        file: str,
    ) -> None:
        self._workspace, self._shape, self._retrieval = workspace, shape, retrieval
        self._store = searching_once(workspace.store)
        self._embedder = encoding_once(workspace.encoder_of(spec, shape))
        self._reranker = open_reranker(retrieval.rerank, file=file) if retrieval.rerank is not None else None
        self._caller: Caller = reader_of(workspace.ledger, spec, [shape])

    def run(self, setting: Setting, labels: Sequence[Label]) -> RetrievalRun | None:
        """The labels under a setting; None where the route's other steps forbid it."""
        section = setting.on(self._retrieval)
        if section is None:
            return None
        retriever = Retriever(
            spec=section,
            store=self._store,
            embedder=self._embedder,
            collections=self._workspace.collections,
            groups=None,
            pinned=self._shape.collection,
            reranker=self._reranker,
        )
        return run_labels(retriever, labels, self._caller)


def _choice_json(choice: Choice, reported: Mapping[Setting, RetrievalRun]) -> dict[str, Any]:
    singles = choice.better_single
    chosen = reported[choice.chosen]
    compared = {"current": choice.current, "better_single": singles}
    return {
        "tried": [
            {
                "name": one.setting.name,
                **asdict(one.setting),
                "ndcg_at_10": asdict(one.ndcg_at_10),
                "gain": asdict(one.gain),
                "p_value": one.p_value,
                "over_single": asdict(one.over_single) if one.over_single is not None else None,
            }
            for one in choice.tried
        ],
        "current": choice.current.name,
        "chosen": {"name": choice.chosen.name, **asdict(choice.chosen)},
        "better_single": singles.name if singles is not None else None,
        "reason": choice.reason,
        "is_changed": choice.chosen != choice.current,
        "reported": {
            one.name: {"ndcg_at_10": asdict(bootstrap_interval(run.ndcg))} for one, run in reported.items()
        },
        "on_dev_test": {
            name: asdict(difference(chosen, reported[one]))
            for name, one in compared.items()
            if one is not None and one in reported
        },
    }


def int8_loss(workspace: Workspace, spec: IngestionSpec, labels: Labels) -> MeasuredLoss:
    """What a pipeline's encoder loses in int8 on the labels, over the chunks of what answers.

    Raises:
        NotFoundError: nothing answers yet.
        ConfigurationError: the encoder has no int8, or the labels name none of its chunks.
    """
    shape = _serving(workspace, spec)
    source = spec.encoder
    if not isinstance(source, OnnxSource):
        raise ConfigurationError(f"{spec.file}: int8 is a precision of embed.type 'onnx'; leave --precision out")
    points = workspace.store.scroll(shape.collection, where=_EVERYTHING, vectors=False)
    texts = labelled_chunks(labels.labels, [point.chunk for point in points])
    fp32, int8 = (workspace.embedder(replace(source, precision=one)) for one in ("fp32", "int8"))
    return measure_loss(texts, fp32=fp32, int8=int8)


def labelled_chunks(labels: Sequence[Label], chunks: Sequence[Chunk]) -> LabelledTexts:
    """Labels over chunks, each chunk judged for itself; labels that no chunk answers are left out.

    Raises:
        ConfigurationError: none is left.
    """
    by_uri: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_uri.setdefault(chunk.uri, []).append(chunk)
    questions: dict[str, str] = {}
    relevances: dict[str, dict[str, float]] = {}
    for label in labels:
        relevant: dict[str, float] = {}
        for one in label.relevant:
            for chunk in (chunk for uri in dict.fromkeys(one.uris) for chunk in by_uri.get(uri, ())):
                if is_relevant(one, chunk):
                    relevant[chunk.chunk_id] = relevant.get(chunk.chunk_id, 0.0) + one.gain
        if relevant:
            questions[label.label_id], relevances[label.label_id] = label.query, relevant
    if not questions:
        raise ConfigurationError("no label is answered by a chunk of this pipeline: check its uris and quotes")
    owners = [chunk.chunk_id for chunk in chunks]
    embedded = [chunk.embedded_text for chunk in chunks]
    return LabelledTexts(questions=questions, texts=embedded, owners=owners, relevances=relevances)


def _serving(workspace: Workspace, spec: IngestionSpec) -> CollectionShape:
    shape = workspace.collections.serving(spec.name)
    if shape is None:
        raise NotFoundError(f"nothing has been ingested as {spec.name!r}; run `llmops ingest run {spec.name}`")
    return shape
