"""The right to be forgotten: a document leaves points, ledger, traces and caches, and this is proved.

What proves it is a second look at everything that could still hold it, by the document's names and by runs of its
words, down to the bytes of the files of an embedded workspace.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Table, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import tables
from llmops.clients.protocols import Filter
from llmops.errors import ConfigurationError, NotFoundError, StorageError
from llmops.ingestion.documents import DocumentLedger
from llmops.ingestion.events import SourceEvent, SourceEvents
from llmops.ingestion.listing import document_id
from llmops.ingestion.spec import IngestionSpec
from llmops.releases.audit import record_event
from llmops.settings import state_directory
from llmops.workspace.opened import Workspace

ERASED = "<erased>"
_PROBE_WORDS = 8
_PROBES = 200
_WORD = re.compile(r"\S+")
_BATCH = 500
_LOOK = """
import json, pathlib, sys
asked = json.load(sys.stdin.buffer)
folder, runs = pathlib.Path(asked["folder"]), [run.encode() for run in asked["runs"]]
found = {}
for path in sorted(folder.rglob("*")):
    if path.is_file() and path.suffix not in (".onnx", ".lock"):
        try:
            raw = path.read_bytes()
        except OSError:
            continue
        n = sum(run in raw for run in runs)
        if n:
            found[path.relative_to(folder).as_posix()] = n
print(json.dumps(found))
"""
_SEARCHED = ("documents", "sync_items", "sync_steps", "syncs", "pushed_documents", "feedback")


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What an erasure did, and what a second look found.

    Attributes:
        document_id: digest of pipeline and uri, under which it must never come back.
        n_points: removed from all collections, also those that wait or were left.
        n_traces, n_feedback, n_reports: inferences, comments and eval reports whose texts were erased with it.
        n_unreadable: traces encrypted with a key that is not at hand; nobody can tell what they hold.
        left: where it was still found afterwards, with the number of finds; empty when the erasure is proved.
    """

    pipeline: str
    document_id: str
    at: datetime
    actor: str
    n_points: int
    n_traces: int
    n_feedback: int
    n_reports: int
    n_unreadable: int
    left: Mapping[str, int]

    @property
    def is_proved(self) -> bool:
        """Nothing was found any more, and nothing was unreadable."""
        return not self.left and not self.n_unreadable


@dataclass(frozen=True, kw_only=True, slots=True)
class _Probes:
    """What gives a document away: its names, and runs of its words."""

    names: re.Pattern[str]
    runs: tuple[str, ...]

    def are_in(self, text: str) -> bool:
        return self.names.search(text) is not None or any(run in text for run in self.runs)


def forget(workspace: Workspace, pipeline: str, uri: str, *, actor: str) -> Receipt:
    """Erase one document for good; it stays away even while its source goes on to list it.

    Raises:
        NotFoundError: nothing here knows the document.
        StorageError: something could not be erased; run it again, it goes on where it was.
    """
    spec = workspace.pipeline(pipeline)
    key = document_id(spec, uri)
    workspace.writer.flush()
    probes = _probes(workspace, spec, key, uri)
    _remember(workspace, spec.name, key, actor)
    n_points, collections = _remove(workspace, spec, key)
    _erase_syncs(workspace, spec.name, key, probes)
    inferences, n_unreadable = _erase_traces(workspace, probes)
    n_feedback = _erase_feedback(workspace, inferences)
    n_reports = _erase_reports(workspace, probes)
    workspace.drop_caches()
    # What a source keeps between syncs (a copy of a repository, pages on their way) is fetched again.
    shutil.rmtree(state_directory(workspace.root) / "sources" / spec.name, ignore_errors=True)
    for collection in collections:
        workspace.store.compact(collection)
    workspace.store.flush()
    workspace.database.compact()
    receipt = Receipt(
        pipeline=spec.name,
        document_id=key,
        at=datetime.now(UTC),
        actor=actor,
        n_points=n_points,
        n_traces=len(inferences),
        n_feedback=n_feedback,
        n_reports=n_reports,
        n_unreadable=n_unreadable,
        left=_still_there(workspace, spec, key, probes),
    )
    details = {name: value for name, value in asdict(receipt).items() if name not in ("at", "actor", "pipeline")}
    record_event(
        workspace.database, actor=actor, action="ingest.forget", subject=f"pipeline:{spec.name}", details=details
    )
    return receipt


def _probes(workspace: Workspace, spec: IngestionSpec, key: str, uri: str) -> _Probes:
    """Read off what is stored before it goes.

    Raises:
        NotFoundError: nothing here knows the document.
    """
    names, texts, is_known = {uri}, [], False
    stored = set(workspace.store.collections())
    for shape in workspace.collections.all():
        if shape.name != spec.name:
            continue
        is_known = is_known or DocumentLedger(workspace.database, shape.collection).get(key) is not None
        if shape.collection in stored:
            here = Filter(principals=None, metadata={"document_id": key})
            for point in workspace.store.scroll(shape.collection, where=here):
                names.add(point.chunk.chunk_id)
                texts.append(point.chunk.text)
    with workspace.database.read() as connection:
        for table in (tables.pushed_documents, tables.forgotten):
            here_too = (table.c.pipeline == spec.name) & (table.c.document_id == key)
            is_known = (
                is_known or connection.execute(select(table.c.document_id).where(here_too)).first() is not None
            )
    if not (is_known or texts):
        raise NotFoundError(f"no document {uri!r} in {spec.name!r}; `llmops ingest status {spec.name}` lists them")
    runs: list[str] = []
    for text in texts:
        words = [match.span() for match in _WORD.finditer(text)]
        runs += [
            text[words[n][0] : words[n + _PROBE_WORDS - 1][1]]
            for n in range(0, len(words) - _PROBE_WORDS + 1, _PROBE_WORDS)
        ]
    step = max(1, len(runs) // _PROBES)
    # A name counts where it stands alone: docs/README.md is another document than README.md.
    alone = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return _Probes(names=re.compile(rf"(?<![\w/.-])(?:{alone})(?![\w/-])"), runs=tuple(runs[::step]))


def _remember(workspace: Workspace, pipeline: str, key: str, actor: str) -> None:
    """First of all, so that a sync that is under way does not bring it back."""
    dialect = sqlite if workspace.database.is_sqlite else postgresql
    values = {"pipeline": pipeline, "document_id": key, "at": datetime.now(UTC), "actor": actor}
    with workspace.database.begin() as connection:
        connection.execute(dialect.insert(tables.forgotten).values(values).on_conflict_do_nothing())


def _remove(workspace: Workspace, spec: IngestionSpec, key: str) -> tuple[int, list[str]]:
    """Points and rows of every collection of this name; how many points, and the collections."""
    here = Filter(principals=None, metadata={"document_id": key})
    stored = set(workspace.store.collections())
    mine = [s.collection for s in workspace.collections.all() if s.name == spec.name and s.collection in stored]
    n_points = sum(workspace.store.count(collection, where=here) for collection in mine)
    events = SourceEvents(workspace.database, workspace.store, workspace.collections, pipeline=spec.name)
    events.take(SourceEvent(kind="deleted", document_id=key))
    with workspace.database.begin() as connection:
        kept = tables.pushed_documents
        connection.execute(delete(kept).where(kept.c.pipeline == spec.name, kept.c.document_id == key))
        connection.execute(delete(tables.sync_items).where(tables.sync_items.c.document_id == key))
    return n_points, mine


def _erase_syncs(workspace: Workspace, pipeline: str, key: str, probes: _Probes) -> None:
    """Reports of syncs name documents that had a problem."""
    table = tables.syncs
    with workspace.database.begin() as connection:
        for row in connection.execute(select(table).where(table.c.pipeline == pipeline)).all():
            clean = {name: _without(row._mapping[name], probes) for name in ("reason", "report", "checkpoint")}
            if any(clean[name] != row._mapping[name] for name in clean):
                connection.execute(update(table).where(table.c.sync_id == row.sync_id).values(clean))
        steps = tables.sync_steps
        for row in connection.execute(select(steps)).all():
            outcome = _without(row.outcome, probes)
            if outcome != row.outcome:
                here = (steps.c.sync_id == row.sync_id) & (steps.c.number == row.number)
                connection.execute(update(steps).where(here).values(outcome=outcome))
        connection.execute(delete(tables.sync_items).where(tables.sync_items.c.document_id == key))


def _erase_traces(workspace: Workspace, probes: _Probes) -> tuple[list[str], int]:
    """Ids of inferences that saw the document, now without their texts; and how many could not be read."""
    erased: list[str] = []
    n_unreadable = 0
    table = tables.traces
    for row in _rows(workspace, table, table.c.inference_id):
        try:
            spans = workspace.vault.open(row.spans, row.content_policy)
        except ConfigurationError:
            n_unreadable += 1
            continue
        if not probes.are_in(_plain([[span.input, span.output] for span in spans]) + row.error):
            continue
        values = {"spans": workspace.vault.seal(spans, "none"), "content_policy": "none"}
        values["error"] = ERASED if row.error else ""
        with workspace.database.begin() as connection:
            connection.execute(update(table).where(table.c.inference_id == row.inference_id).values(values))
        erased.append(row.inference_id)
    return erased, n_unreadable


def _erase_feedback(workspace: Workspace, inferences: Iterable[str]) -> int:
    """Comments and corrections of those answers may repeat the document."""
    n_erased = 0
    table = tables.feedback
    with workspace.database.begin() as connection:
        for inference_id in inferences:
            said = (table.c.comment != "") | (table.c.correction != "")
            here = (table.c.inference_id == inference_id) & said
            values = {"comment": ERASED, "correction": ""}
            n_erased += connection.execute(update(table).where(here).values(values)).rowcount
    return n_erased


def _erase_reports(workspace: Workspace, probes: _Probes) -> int:
    """Reports of eval runs hold answers and passages."""
    n_erased = 0
    table = tables.verdicts
    for row in _rows(workspace, table, table.c.verdict_id):
        raw = zlib.decompress(row.report)
        if probes.are_in(raw.decode("utf-8", "replace")) or probes.are_in(_plain(orjson.loads(raw))):
            clean = zlib.compress(orjson.dumps(_without(orjson.loads(raw), probes)))
            with workspace.database.begin() as connection:
                connection.execute(update(table).where(table.c.verdict_id == row.verdict_id).values(report=clean))
            n_erased += 1
    return n_erased


def _still_there(workspace: Workspace, spec: IngestionSpec, key: str, probes: _Probes) -> dict[str, int]:
    """Where a second look finds the document still."""
    left: dict[str, int] = {}
    here = Filter(principals=None, metadata={"document_id": key})
    stored = set(workspace.store.collections())
    for shape in workspace.collections.all():
        if shape.name == spec.name and shape.collection in stored:
            left[f"collection {shape.collection}"] = workspace.store.count(shape.collection, where=here)
    for name in _SEARCHED:
        table = tables.metadata.tables[name]
        rows = _rows(workspace, table, *table.primary_key)
        left[f"table {name}"] = sum(probes.are_in(_plain(list(row))) for row in rows)
    left["table traces"] = sum(_holds(workspace, row, probes) for row in _traces(workspace))
    reports = _rows(workspace, tables.verdicts, tables.verdicts.c.verdict_id)
    left["table verdicts"] = sum(probes.are_in(_plain(orjson.loads(zlib.decompress(r.report)))) for r in reports)
    if workspace.ownership is not None:
        left |= _files_with(workspace, probes)
    return {place: n for place, n in left.items() if n}


def _traces(workspace: Workspace) -> Iterable[Any]:
    return _rows(workspace, tables.traces, tables.traces.c.inference_id)


def _holds(workspace: Workspace, row: Any, probes: _Probes) -> bool:
    try:
        spans = workspace.vault.open(row.spans, row.content_policy)
    except ConfigurationError:
        return False  # counted as unreadable
    return probes.are_in(_plain([[span.input, span.output] for span in spans]) + row.error)


def _files_with(workspace: Workspace, probes: _Probes) -> dict[str, int]:
    """Files of the embedded workspace whose bytes still hold a run of the document's words.

    A process of its own reads them: closing a database file here would drop SQLite's locks on it, and the next
    command that came and went would delete the log that this process goes on writing to.
    """
    state = state_directory(workspace.root)
    asked = orjson.dumps({"folder": str(state.resolve()), "runs": list(probes.runs)})
    try:
        done = subprocess.run([sys.executable, "-I", "-c", _LOOK], input=asked, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StorageError(f"the files in {str(state)!r} cannot be searched ({error}); run it again") from error
    found: dict[str, int] = orjson.loads(done.stdout)
    return {f"file {name}": n for name, n in found.items()}


def _rows(workspace: Workspace, table: Table, *order: Any) -> Iterable[Any]:
    """All rows of a table, some at a time."""
    offset = 0
    while True:
        with workspace.database.read() as connection:
            rows = connection.execute(select(table).order_by(*order).limit(_BATCH).offset(offset)).all()
        yield from rows
        if len(rows) < _BATCH:
            return
        offset += _BATCH


def _without(value: Any, probes: _Probes) -> Any:
    """A JSON value whose texts give nothing away."""
    match value:
        case str():
            return ERASED if probes.are_in(value) else value
        case Mapping():
            return {key: _without(item, probes) for key, item in value.items()}
        case list() | tuple():
            return [_without(item, probes) for item in value]
        case _:
            return value


def _plain(value: Any) -> str:
    """All texts of a JSON value, one after another, as they are and not as JSON writes them."""
    parts: list[str] = []

    def take(item: Any) -> None:
        match item:
            case str():
                parts.append(item)
            case bytes():
                parts.append(item.decode("utf-8", "replace"))
            case Mapping():
                for inner in item.values():
                    take(inner)
            case list() | tuple():
                for inner in item:
                    take(inner)
            case _:
                pass

    take(value)
    return "\n".join(parts)
