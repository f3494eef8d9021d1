"""Syncs on the ledger: what each run of a pipeline did, and where a listing that broke off goes on."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, delete, desc, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import Database
from llmops.clients.database.tables import sync_items, sync_steps, syncs
from llmops.errors import BusyError
from llmops.ingestion.moments import next_moment
from llmops.ingestion.sources.protocol import Checkpoint, Item

SyncState = Literal["running", "done", "part", "incomplete", "held", "failed"]
CHECKPOINT_LASTS = timedelta(hours=24)
_KEPT = 50
_ELSEWHERE_LASTS = timedelta(hours=1)
JOB = "job"
_ABSENT = -1  # in place of a batch's number


@dataclass(frozen=True, kw_only=True, slots=True)
class Sync:
    """One run of a pipeline.

    Attributes:
        state: "running" (or killed), "done", or "part" (only documents that were sent, done as well);
            "incomplete": something could not be listed or read; "held": it would have removed too much and removed
            nothing; "failed": it could not run.
        source_hash: of `listing.source_hash`: a listing goes on only where it still means the same.
        owner: while it runs: host and process, or "job" for one that any worker goes on with.
        checkpoint: of the last page taken in; of a sync that is done: since when the next one may list changes.
    """

    sync_id: str
    pipeline: str
    collection: str
    state: SyncState
    source_hash: str
    started_at: datetime
    ended_at: datetime | None
    checkpoint: Checkpoint | None
    reason: str
    report: Mapping[str, Any] | None
    owner: str = ""


class SyncBook:
    """Syncs of all pipelines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, pipeline: str, source_hash: str, *, collection: str = "") -> Sync:
        """A new sync, on the ledger before anything is done; `collection` is what it fills, "" for a new one."""
        with self._database.begin_alone() as connection:
            sync = Sync(
                sync_id=uuid.uuid4().hex,
                pipeline=pipeline,
                collection=collection,
                state="running",
                source_hash=source_hash,
                started_at=next_moment(connection, pipeline),
                ended_at=None,
                checkpoint=None,
                reason="",
                report=None,
                owner=this_process(),
            )
            connection.execute(insert(syncs).values({f.name: getattr(sync, f.name) for f in fields(Sync)}))
        return sync

    def check_free(self, pipeline: str, *, for_job: bool = False) -> None:
        """Refuse to sync a pipeline that another process, or a job, is syncing.

        A job whose planning is done again takes over what it had begun; so does a process from one that is dead.

        Raises:
            BusyError: a sync is under way elsewhere.
        """
        here = (syncs.c.pipeline == pipeline) & (syncs.c.state == "running")
        with self._database.read() as connection:
            rows = connection.execute(select(syncs.c.owner, syncs.c.started_at).where(here)).all()
        for row in rows:
            is_fresh = datetime.now(UTC) - row.started_at < CHECKPOINT_LASTS
            if row.owner == JOB and not for_job and is_fresh:
                raise BusyError(f"a job is syncing {pipeline!r}; wait for it, or `llmops ingest cancel` it")
            if row.owner != JOB and _is_alive(row.owner, row.started_at):
                raise BusyError(f"another process ({row.owner}) is syncing {pipeline!r}; wait for it")

    def belongs_to_job(self, sync: Sync) -> None:
        """From now on any worker goes on with this sync; what the job had begun before is over."""
        with self._database.begin() as connection:
            connection.execute(update(syncs).where(syncs.c.sync_id == sync.sync_id).values(owner=JOB))
            _abandon(connection, sync.pipeline, "was begun again", but=sync.sync_id)

    def abandon_jobs(self, pipeline: str, reason: str) -> None:
        """End the syncs of a job that was stopped."""
        with self._database.begin() as connection:
            _abandon(connection, pipeline, reason)

    def go_on(self, sync: Sync) -> None:
        """A sync that broke off is under way again, here."""
        with self._database.begin() as connection:
            values = {"state": "running", "ended_at": None, "reason": "", "report": None, "owner": this_process()}
            connection.execute(update(syncs).where(syncs.c.sync_id == sync.sync_id).values(values))

    def broken_off(self, pipeline: str, source_hash: str, *, collection: str = "") -> Sync | None:
        """The newest sync of this source into this collection, when it broke off not long ago and can go on."""
        newest = self.last(pipeline)
        if newest is None or newest.state == "done" or not newest.checkpoint:
            return None
        if (newest.source_hash, newest.collection) != (source_hash, collection):
            return None
        is_fresh = datetime.now(UTC) - newest.started_at < CHECKPOINT_LASTS
        return newest if is_fresh and self._has_items(newest.sync_id) else None

    def done_for(self, collection: str, source_hash: str) -> Sync | None:
        """The newest complete sync of a collection, whose checkpoint says since when changes are wanted."""
        here = (syncs.c.collection == collection) & (syncs.c.source_hash == source_hash)
        return self._newest(here & (syncs.c.state == "done"))

    def last(self, pipeline: str) -> Sync | None:
        """The newest sync of a pipeline."""
        return self._newest(syncs.c.pipeline == pipeline)

    def of(self, pipeline: str, *, limit: int = 20) -> list[Sync]:
        """Syncs of a pipeline, newest first."""
        query = select(syncs).where(syncs.c.pipeline == pipeline).order_by(desc(syncs.c.started_at)).limit(limit)
        with self._database.read() as connection:
            return [Sync(**row._mapping) for row in connection.execute(query)]

    def get(self, sync_id: str) -> Sync | None:
        """One sync."""
        return self._newest(syncs.c.sync_id == sync_id)

    def plan(
        self,
        sync_id: str,
        items: Mapping[str, Item],
        *,
        removed: Collection[str],
        absent: Collection[str],
        batches: Sequence[Sequence[str]],
    ) -> None:
        """Keep a whole listing with the batch of each document that has to be read, in one transaction.

        Args:
            removed: documents that the source says are gone.
            absent: documents that were known and that it does not name: they are no part of what it listed.
        """
        batch_of = {key: number for number, batch in enumerate(batches) for key in batch}
        batch_of.update(dict.fromkeys(absent, _ABSENT))
        gone = dict.fromkeys([*removed, *absent])
        rows = [
            {
                "sync_id": sync_id,
                "document_id": key,
                "position": n,
                "batch": batch_of.get(key),
                "item": item_json(item),
            }
            for n, (key, item) in enumerate([*items.items(), *gone.items()])
        ]
        with self._database.begin() as connection:
            connection.execute(delete(sync_items).where(sync_items.c.sync_id == sync_id))
            if rows:
                connection.execute(insert(sync_items), rows)

    def batch(self, sync_id: str, number: int) -> dict[str, Item]:
        """The documents of one batch, by id."""
        here = (sync_items.c.sync_id == sync_id) & (sync_items.c.batch == number)
        with self._database.read() as connection:
            rows = connection.execute(select(sync_items).where(here).order_by(sync_items.c.position)).all()
        return dict(items_of({row.document_id: item_of(row.item) for row in rows}))

    def batched(self, sync_id: str) -> set[str]:
        """The documents of all batches."""
        return self._ids(sync_id, sync_items.c.batch >= 0)

    def absent(self, sync_id: str) -> set[str]:
        """The documents that a listing of everything does not name, as planning found it."""
        return self._ids(sync_id, sync_items.c.batch == _ABSENT)

    def _ids(self, sync_id: str, condition: ColumnElement[bool]) -> set[str]:
        here = select(sync_items.c.document_id).where(sync_items.c.sync_id == sync_id, condition)
        with self._database.read() as connection:
            return set(connection.execute(here).scalars())

    def take(self, sync_id: str, items: Mapping[str, Item | None], checkpoint: Checkpoint) -> None:
        """A page of a listing with the place after it, in one transaction.

        Args:
            items: by document id; None for a document that the source says is gone.
        """
        dialect = sqlite if self._database.is_sqlite else postgresql
        statement = dialect.insert(sync_items)
        statement = statement.on_conflict_do_update(
            index_elements=["sync_id", "document_id"], set_={"item": statement.excluded["item"], "batch": None}
        )
        with self._database.begin() as connection:
            so_far = select(func.count()).select_from(sync_items).where(sync_items.c.sync_id == sync_id)
            first = connection.execute(so_far).scalar_one()
            rows = [
                {"sync_id": sync_id, "document_id": key, "position": first + n, "item": item_json(item)}
                for n, (key, item) in enumerate(items.items())
            ]
            if rows:
                connection.execute(statement, rows)
            here = syncs.c.sync_id == sync_id
            connection.execute(update(syncs).where(here).values(checkpoint=dict(checkpoint)))

    def taken(self, sync_id: str) -> dict[str, Item | None]:
        """What a listing has brought so far, in its order."""
        is_listed = sync_items.c.batch.is_(None) | (sync_items.c.batch >= 0)
        query = select(sync_items).where(sync_items.c.sync_id == sync_id, is_listed)
        with self._database.read() as connection:
            query = query.order_by(sync_items.c.position)
            return {row.document_id: item_of(row.item) for row in connection.execute(query)}

    def end(
        self,
        sync: Sync,
        state: SyncState,
        *,
        collection: str = "",
        reason: str = "",
        report: Mapping[str, Any] | None = None,
        checkpoint: Checkpoint | None = None,
        keeps_listing: bool = False,
    ) -> None:
        """Close a sync; what its listing brought is dropped unless a later one goes on with it."""
        values: dict[str, Any] = {"state": state, "reason": reason, "report": report}
        values["ended_at"] = datetime.now(UTC)
        if not keeps_listing:
            values["checkpoint"] = dict(checkpoint) if checkpoint else None
            values["collection"] = collection
        with self._database.begin() as connection:
            connection.execute(update(syncs).where(syncs.c.sync_id == sync.sync_id).values(values))
            connection.execute(delete(sync_steps).where(sync_steps.c.sync_id == sync.sync_id))
            if not keeps_listing:
                connection.execute(delete(sync_items).where(sync_items.c.sync_id == sync.sync_id))
            _forget_old(connection, sync.pipeline)

    def _newest(self, here: Any) -> Sync | None:
        query = select(syncs).where(here).order_by(desc(syncs.c.started_at)).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Sync(**row._mapping) if row is not None else None

    def _has_items(self, sync_id: str) -> bool:
        query = select(sync_items.c.document_id).where(sync_items.c.sync_id == sync_id).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None


def this_process() -> str:
    """Host and process id: whom a running sync belongs to."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_alive(owner: str, started_at: datetime) -> bool:
    """Whether a process goes on; of another machine it is believed for an hour."""
    host, _, pid = owner.rpartition(":")
    if owner == this_process() or not pid.isdecimal():
        return False
    if host != socket.gethostname():
        return datetime.now(UTC) - started_at < _ELSEWHERE_LASTS
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _abandon(connection: Any, pipeline: str, reason: str, *, but: str = "") -> None:
    here = (syncs.c.pipeline == pipeline) & (syncs.c.state == "running") & (syncs.c.owner == JOB)
    here &= syncs.c.sync_id != but
    connection.execute(delete(sync_steps).where(sync_steps.c.sync_id.in_(select(syncs.c.sync_id).where(here))))
    values = {"state": "failed", "ended_at": datetime.now(UTC), "reason": reason, "checkpoint": None}
    connection.execute(update(syncs).where(here).values(values))


def _forget_old(connection: Any, pipeline: str) -> None:
    """Keep the newest runs of a pipeline, and every collection's newest complete one."""
    newest = select(syncs.c.sync_id).where(syncs.c.pipeline == pipeline).order_by(desc(syncs.c.started_at))
    kept = {row.sync_id for row in connection.execute(newest.limit(_KEPT))}
    done = select(syncs.c.sync_id, syncs.c.collection).where(syncs.c.pipeline == pipeline, syncs.c.state == "done")
    seen: set[str] = set()
    for row in connection.execute(done.order_by(desc(syncs.c.started_at))):
        if row.collection not in seen:
            seen.add(row.collection)
            kept.add(row.sync_id)
    running = (syncs.c.pipeline == pipeline) & (syncs.c.state == "running")
    kept |= {row.sync_id for row in connection.execute(select(syncs.c.sync_id).where(running))}
    old = [row.sync_id for row in connection.execute(newest) if row.sync_id not in kept]
    for sync_id in old:
        for table in (sync_items, sync_steps, syncs):
            connection.execute(delete(table).where(table.c.sync_id == sync_id))


def item_json(item: Item | None) -> dict[str, Any] | None:
    """An item as JSON, for the ledger."""
    if item is None:
        return None
    values = asdict(item)
    values["acl"] = list(item.acl) if item.acl is not None else None
    values["modified_at"] = item.modified_at.isoformat() if item.modified_at else None
    return {key: value for key, value in values.items() if value not in ("", None, {}) or key in ("uri", "acl")}


def item_of(stored: Mapping[str, Any] | None) -> Item | None:
    """The item that `item_json` stored."""
    if stored is None:
        return None
    values = dict(stored)
    values["acl"] = tuple(values["acl"]) if values["acl"] is not None else None
    if values.get("modified_at"):
        values["modified_at"] = datetime.fromisoformat(values["modified_at"])
    return Item(**values)


def items_of(stored: Mapping[str, Item | None]) -> Iterable[tuple[str, Item]]:
    """Documents that exist, with their ids."""
    return ((key, item) for key, item in stored.items() if item is not None)
