"""Lineage: everything that shaped one answer, from its trace to who released what on which evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any, cast, get_args

from llmops.errors import NotFoundError
from llmops.evals.corrections import question_of
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.pii import scrub
from llmops.records import ArtifactKind, Release, Trace
from llmops.tracing import feedback_on
from llmops.workspace.ledger import Ledger

_KINDS = frozenset(get_args(ArtifactKind))


def lineage(ledger: Ledger, inference_id: str) -> dict[str, Any]:
    """What shaped an answer, as JSON.

    `contents` is everything that has a digest on its trace, with the stored content where the ledger has it;
    `passages` what was found and cited, with what became of each document since; `releases` the change that put
    each released content in force, with the verdict behind it.

    Raises:
        NotFoundError: no inference has this id.
    """
    trace = ledger.traces.get(inference_id)
    return {
        "inference_id": trace.inference_id,
        "asked_at": trace.started_at.isoformat(),
        "route": trace.route,
        "caller": trace.caller,
        "status": trace.status,
        "model": trace.model,
        "question": question_of(trace) or _forwarded_question(trace),
        "answer": _answer(trace),
        "contents": _contents(ledger, trace),
        "parameters": _output(trace, "render", "parameters") or {},
        "passages": _passages(ledger, trace),
        "groundedness": _output(trace, "cite", "groundedness"),
        "guardrails": [asdict(finding) for finding in trace.findings],
        "releases": _releases(ledger, trace),
        "feedback": [
            {**{str(k): v for k, v in row.items()}, "created_at": row["created_at"].isoformat()}
            for row in feedback_on(ledger.database, inference_id)
        ],
    }


def _output(trace: Trace, station: str, name: str) -> Any:
    for span in trace.spans:
        if span.station == station and isinstance(span.output, dict):
            return span.output.get(name)
    return None


def _answer(trace: Trace) -> str:
    text = _output(trace, "generate", "text") or _output(trace, "forward", "text")
    match _output(trace, "forward", "choices"):
        case [{"message": {"content": str(said)}}, *_]:
            text = said
    return str(text or "")


def _forwarded_question(trace: Trace) -> str:
    """What the user said last on a route that forwards."""
    for span in trace.spans:
        if span.station == "forward" and isinstance(span.input, dict):
            for message in reversed(span.input.get("messages") or ()):
                match message:
                    case {"role": "user", "content": str(said)}:
                        return said
    return ""


def _contents(ledger: Ledger, trace: Trace) -> list[dict[str, Any]]:
    found = []
    for key, value in trace.spec_hashes.items():
        kind, _, name = key.partition(":")
        if kind not in _KINDS or kind == "collection":
            continue
        artifact = ledger.artifacts.get(cast(ArtifactKind, kind), name, value)
        found.append(
            {
                "kind": kind,
                "name": name,
                "digest": value,
                "version": artifact.version if artifact else None,
                "author": artifact.author if artifact else "",
                "commit": artifact.commit if artifact else "",
                "content": artifact.content if artifact else "",
            }
        )
    return found


def _passages(ledger: Ledger, trace: Trace) -> list[dict[str, Any]]:
    hits = next((s.output for s in trace.spans if s.station == "search" and isinstance(s.output, list)), [])
    packed = next((s.output for s in trace.spans if s.station == "pack" and isinstance(s.output, list)), [])
    # What the policy left out of the context has no number: the others were numbered anew.
    blocked = {f.where for f in trace.findings if f.stage == "context" and f.action == "block"}
    shown = [item for item in packed if item["chunk_id"] not in blocked]
    numbers = {
        chunk_id: number
        for number, item in enumerate(shown, start=1)
        for chunk_id in item.get("chunk_ids", [item["chunk_id"]])
    }
    cited = set(_output(trace, "cite", "cited") or ())
    rows = _documents(ledger, trace)
    found = []
    for hit in hits:
        row = rows.get(hit["uri"])
        number = numbers.get(hit["chunk_id"])
        found.append(
            {
                **hit,
                "number": number,
                "is_cited": number in cited,
                "document": _document(row, trace) if row is not None else None,
            }
        )
    return found


def _documents(ledger: Ledger, trace: Trace) -> dict[str, DocumentRow]:
    """The searched collection's documents by uri, as the trace writes it; a uri that two share is left out."""
    collection = _collection(trace)[1]
    rows = DocumentLedger(ledger.database, collection).rows().values() if collection else ()
    written = [scrub(row.uri) if trace.content_policy == "scrubbed" else row.uri for row in rows]
    n_of = Counter(written)
    return {uri: row for uri, row in zip(written, rows, strict=True) if n_of[uri] == 1}


def _document(row: DocumentRow, trace: Trace) -> dict[str, Any]:
    return {
        "title": row.title,
        "content_hash": row.content_hash,
        "updated_at": row.updated_at.isoformat(),
        "has_changed_since": row.updated_at > trace.started_at,
    }


def _collection(trace: Trace) -> tuple[str, str]:
    """Name and physical name of the collection that was searched, or two empty texts."""
    for key, value in trace.spec_hashes.items():
        kind, _, name = key.partition(":")
        if kind == "collection":
            return name, value
    return "", ""


def _releases(ledger: Ledger, trace: Trace) -> list[dict[str, Any]]:
    """For each released content of the answer, the change of its alias that was in force."""
    name, collection = _collection(trace)
    contents = {("collection", name): collection}
    for key, value in trace.spec_hashes.items():
        kind, _, of = key.partition(":")
        if kind == "prompt":
            contents[("prompt", of)] = value
    found = []
    for (kind, of), target in contents.items():
        # By its target: for a moment after a release a gateway still answers from what was there before.
        release = ledger.releases.at(cast(ArtifactKind, kind), of, trace.started_at, target=target)
        if release is not None:
            found.append(_release(ledger, release))
    return found


def _release(ledger: Ledger, release: Release) -> dict[str, Any]:
    shown = {**asdict(release), "at": release.at.isoformat(), "verdict": None}
    if release.verdict_id:
        try:
            verdict = ledger.verdicts.get(release.verdict_id)
        except NotFoundError:
            return shown
        shown["verdict"] = {**asdict(verdict), "at": verdict.at.isoformat()}
    return shown
