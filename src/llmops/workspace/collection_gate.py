"""What a candidate collection has to prove: the same labelled queries on it and on what answers, and a verdict."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.config import digest
from llmops.datasets import Label, Labels, load_labels
from llmops.errors import ConfigurationError, NotFoundError, PromotionRefusedError
from llmops.evals.report import ExampleResult, Slice, SuiteReport
from llmops.evals.retrieval import PairedDifference, RetrievalRun, difference, run_labels
from llmops.ingestion.documents import DocumentLedger
from llmops.ingestion.spec import GateSpec, IngestionSpec
from llmops.metrics import Interval
from llmops.records import EVERYONE, Caller, Example, GateCheck, MetricValue, Verdict
from llmops.releases import CollectionShape
from llmops.retrieval import RetrievalSpec
from llmops.scoring import GateRule, decide, judge
from llmops.serving.spec import RouteSpec
from llmops.workspace.files import WorkspaceFiles
from llmops.workspace.ledger import Ledger

if TYPE_CHECKING:
    from llmops.workspace.opened import Workspace

MAX_DROP = 0.01
"""Where a pipeline has no gate."""

NDCG = "ndcg@10"
_LATEST = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What is compared, and how.

    Attributes:
        retrieval: how both collections are searched.
        route: the route that searches so, or "" where none is on this collection.
    """

    labels: Labels
    max_drop: float
    retrieval: RetrievalSpec
    route: str

    @property
    def digest(self) -> str:
        """SHA-256 (hex): other labels, another limit or another way to search need another verdict."""
        section = self.retrieval.model_dump(mode="json", exclude_defaults=True)
        return digest(["retrieval", self.labels.digest, self.max_drop, section])


def suite_name(pipeline: str) -> str:
    """What verdicts on a pipeline's candidates are called."""
    return f"retrieval:{pipeline}"


def gate_terms(files: WorkspaceFiles, spec: IngestionSpec, gate: GateSpec) -> Terms:
    """The terms of a pipeline's own gate.

    Raises:
        SpecError: the labels cannot be read.
        ConfigurationError: it is open which route counts.
    """
    labels = load_labels(Path(spec.file).parent / gate.labels)
    retrieval, route = retrieval_of(files, spec.name, gate.route)
    return Terms(labels=labels, max_drop=gate.max_drop, retrieval=retrieval, route=route)


def retrieval_of(files: WorkspaceFiles, pipeline: str, route: str | None) -> tuple[RetrievalSpec, str]:
    """How a collection is searched, and the route that says so; without any route the defaults, and "".

    Raises:
        ConfigurationError: the route does not search this collection, or several do and none was named.
    """
    on_it = {name: one for name, one in files.routes.items() if _searches(one, pipeline)}
    if route is None and not on_it:
        return RetrievalSpec(collection=pipeline), ""
    if route is None and len(on_it) > 1:
        names = ", ".join(sorted(on_it))
        raise ConfigurationError(
            f"{len(on_it)} routes search {pipeline!r} ({names}); name one: --route, or gate.route"
        )
    chosen = files.route(route) if route is not None else next(iter(on_it.values()))
    if chosen.retrieval is None or chosen.name not in on_it:
        raise ConfigurationError(
            f"route {chosen.name!r} does not search the collection {pipeline!r}; name one that does"
        )
    return chosen.retrieval, chosen.name


def _searches(route: RouteSpec, collection: str) -> bool:
    return route.retrieval is not None and route.retrieval.collection == collection


def compare(
    workspace: Workspace, spec: IngestionSpec, terms: Terms, *, candidate: str | None = None
) -> SuiteReport:
    """Ask every labelled query on what answers and on a candidate, and judge the difference.

    Args:
        candidate: its physical name; the newest one where it is None.

    Raises:
        NotFoundError: nothing answers yet, or no candidate waits.
        ConfigurationError: the labels are about other documents.
    """
    serving, chosen = compared(workspace.ledger, spec.name, candidate)
    labels = held_labels(workspace.ledger, terms.labels.labels, [serving, chosen])
    caller = reader_of(workspace.ledger, spec, [serving, chosen])
    started_at, began = datetime.now(UTC), time.perf_counter()
    contents = contents_of_both(workspace.ledger, serving, chosen)
    before, after = (
        run_labels(workspace.retriever(terms.retrieval, pinned=shape.collection), labels, caller)
        for shape in (serving, chosen)
    )
    gain = difference(after, before)
    check = _judged(gain, serving, terms.max_drop)
    return SuiteReport(
        report_id=f"ver_{uuid.uuid4().hex}",
        suite=suite_name(spec.name),
        suite_digest=terms.digest,
        route=terms.route,
        contents=contents,
        started_at=started_at,
        duration_s=time.perf_counter() - began,
        results=_results(labels, before, after),
        slices=(Slice(part=None, tag=None, n=len(labels), values=tuple(_values(before, after, gain))),),
        checks=(check,),
        outcome=decide([check]),
    )


def compared(ledger: Ledger, pipeline: str, candidate: str | None) -> tuple[CollectionShape, CollectionShape]:
    """What answers, and the candidate.

    Raises:
        NotFoundError: nothing answers yet, or no candidate waits.
    """
    serving = ledger.collections.serving(pipeline)
    if serving is None:
        raise NotFoundError(
            f"nothing answers as {pipeline!r} yet, so there is nothing to compare a candidate with"
        )
    shape = ledger.collections.get(candidate) if candidate else ledger.collections.candidate(pipeline)
    if shape is None or shape.name != pipeline or shape.collection == serving.collection:
        what = (
            f"{candidate!r} is no candidate of {pipeline!r}"
            if candidate
            else f"no candidate of {pipeline!r} waits"
        )
        raise NotFoundError(f"{what}; run `llmops ingest run {pipeline} --beside`")
    return serving, shape


def held_labels(ledger: Ledger, labels: Sequence[Label], shapes: Sequence[CollectionShape]) -> tuple[Label, ...]:
    """Labels that one of the collections can answer; the others say nothing of either.

    Raises:
        ConfigurationError: none is left.
    """
    rows = [row for shape in shapes for row in DocumentLedger(ledger.database, shape.collection).rows().values()]
    uris = {row.uri for row in rows if row.n_chunks}
    held = tuple(label for label in labels if any(uri in uris for one in label.relevant for uri in one.uris))
    if not held:
        asked, there_is = labels[0].relevant[0].uris[0], next(iter(sorted(uris)), "nothing")
        problem = f"none of the {len(labels)} labels names a document of {shapes[0].name!r}"
        raise ConfigurationError(f"{problem}: they name {asked!r}, it holds {there_is!r}; write uris as it does")
    return held


def reader_of(ledger: Ledger, spec: IngestionSpec, shapes: Iterable[CollectionShape]) -> Caller:
    """Somebody who may read everything that anybody may: permissions are not what is measured."""
    rows = (row for shape in shapes for row in DocumentLedger(ledger.database, shape.collection).rows().values())
    principals = {principal for row in rows for principal in row.acl or ()}
    return Caller(
        name="labels", role="admin", principals=tuple(sorted({*principals, EVERYONE})), tenant=spec.tenant
    )


def contents_of_both(ledger: Ledger, serving: CollectionShape, candidate: CollectionShape) -> dict[str, str]:
    """What a verdict speaks of: the content of both collections."""
    name = candidate.name
    return {
        f"collection:{name}": ledger.collection_digest(candidate.collection),
        f"stored-as:{name}": candidate.collection,
        f"answers:{name}": ledger.collection_digest(serving.collection),
        f"answers-from:{name}": serving.collection,
    }


def required_verdict(ledger: Ledger, name: str, target: str) -> Verdict | None:
    """The passing verdict that a gate asks for; None where there is no gate, or nothing to be worse than.

    Args:
        target: the collection that is to answer.

    Raises:
        PromotionRefusedError: it is missing, or did not pass; says why, and the command that makes one.
    """
    spec, serving = ledger.files.pipelines.get(name), ledger.collections.serving(name)
    if spec is None or spec.gate is None or serving is None or serving.collection == target:
        return None
    terms = gate_terms(ledger.files, spec, spec.gate)
    wanted = contents_of_both(ledger, serving, ledger.collections.get(target))
    found = ledger.verdicts.latest(suite_name(name), limit=_LATEST)
    current = [verdict for verdict in found if verdict.suite_digest == terms.digest]
    matching = [verdict for verdict in current if _is_of(verdict, wanted, name)]
    if not matching:
        why = _why_none(found, current, wanted, name)
        command = f"llmops ingest compare {name} --candidate {target}"
        problem = f"the gate of {name!r} has no verdict for exactly {target} against {serving.collection}: {why}"
        raise PromotionRefusedError(f"{problem}; run `{command}`")
    if matching[0].outcome != "pass":
        why = "; ".join(check.reason for check in matching[0].checks)
        raise PromotionRefusedError(
            f"{target} finds worse than {serving.collection}, and the gate of {name!r} lets nDCG@10 drop by "
            f"{spec.gate.max_drop:g} at most ({why}); `llmops eval show {matching[0].verdict_id[:12]}` says more"
        )
    return matching[0]


def _is_of(verdict: Verdict, wanted: Mapping[str, str], name: str) -> bool:
    """By content: another ledger may have given the collections other names."""
    return all(
        verdict.contents.get(f"{kind}:{name}") == wanted[f"{kind}:{name}"] for kind in ("collection", "answers")
    )


def _why_none(found: Sequence[Verdict], current: Sequence[Verdict], wanted: Mapping[str, str], name: str) -> str:
    if not found:
        return "they were never compared"
    if not current:
        return "its verdicts are on other labels, another limit or another way to search"
    stale = {"collection": "the candidate", "answers": "what answers"}
    changed = [
        said
        for kind, said in stale.items()
        if current[0].contents.get(f"{kind}:{name}") != wanted[f"{kind}:{name}"]
    ]
    return (
        f"{' and '.join(changed)} changed since the last one" if changed else "its verdicts are for other content"
    )


def _judged(gain: PairedDifference, serving: CollectionShape, max_drop: float) -> GateCheck:
    measured = _value(f"{NDCG} less that of {serving.collection}", gain.interval, gain.n)
    return judge(GateRule(metric=measured.metric, threshold=0.0 - max_drop), measured)


def _values(before: RetrievalRun, after: RetrievalRun, gain: PairedDifference) -> list[MetricValue]:
    n = gain.n
    values = [_value(name, interval, n) for name, interval in after.intervals().items()]
    values += [_value(f"{name} of what answers", interval, n) for name, interval in before.intervals().items()]
    return [*values, _value(f"{NDCG} difference", gain.interval, n)]


def _value(metric: str, interval: Interval, n: int) -> MetricValue:
    return MetricValue(metric=metric, value=interval.mean, low=interval.low, high=interval.high, n=n)


def _results(labels: Sequence[Label], before: RetrievalRun, after: RetrievalRun) -> tuple[ExampleResult, ...]:
    return tuple(
        ExampleResult(
            example=Example(
                example_id=label.label_id,
                question=label.query,
                sources=tuple(dict.fromkeys(uri for one in label.relevant for uri in one.uris)),
                evidence=tuple(quote for one in label.relevant for quote in one.quotes),
            ),
            part=label.part,
            abstains=True,  # nothing was answered: only searched
            retrieved=new.found,
            readings={NDCG: (new.ndcg_at_10,), f"{NDCG} of what answers": (old.ndcg_at_10,)},
        )
        for label, old, new in zip(labels, before.scores, after.scores, strict=True)
    )
