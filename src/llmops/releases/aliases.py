"""What each name stands for now, and everything it stood for before."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Row, delete, desc, func, insert, select
from sqlalchemy.engine import Connection

from llmops.clients.database import Database
from llmops.clients.database.tables import aliases, releases
from llmops.records import ArtifactKind, Release
from llmops.releases.audit import append_event

PRODUCTION = "production"
"""The alias that only a release moves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """A name at this moment: `target` is a prompt's digest or a collection's physical name."""

    kind: ArtifactKind
    name: str
    alias: str
    target: str
    version: int | None
    since: datetime

    @property
    def subject(self) -> str:
        return f"{self.kind}:{self.name}@{self.alias}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A change of an alias that is about to happen, and why it may."""

    kind: ArtifactKind
    name: str
    target: str
    action: Literal["promote", "rollback", "alias", "ingest"]
    actor: str
    alias: str = PRODUCTION
    version: int | None = None
    verdict_id: str = ""
    is_forced: bool = False
    reason: str = ""


def move_alias(connection: Connection, move: Move) -> Release:
    """Point an alias elsewhere, with its history and an audit event, inside `Database.begin_alone`."""
    here = (aliases.c.kind == move.kind) & (aliases.c.name == move.name) & (aliases.c.alias == move.alias)
    before = connection.execute(select(aliases).where(here)).one_or_none()
    now = datetime.now(UTC)
    release = Release(
        release_id=f"rel_{uuid.uuid4().hex}",
        at=now,
        kind=move.kind,
        name=move.name,
        alias=move.alias,
        target=move.target,
        version=move.version,
        previous=before.target if before is not None else "",
        previous_version=before.version if before is not None else None,
        action=move.action,
        actor=move.actor[:128],
        verdict_id=move.verdict_id,
        is_forced=move.is_forced,
        reason=move.reason,
    )
    connection.execute(delete(aliases).where(here))
    row = {"kind": move.kind, "name": move.name, "alias": move.alias, "target": move.target}
    connection.execute(insert(aliases).values(**row, version=move.version, since=now))
    last = connection.execute(select(func.max(releases.c.sequence))).scalar() or 0
    connection.execute(insert(releases).values(**asdict(release), sequence=last + 1))
    told = {key: value for key, value in asdict(release).items() if key not in ("at", "actor", "action")}
    append_event(
        connection,
        actor=move.actor,
        action=f"release.{move.action}",
        subject=f"{move.kind}:{move.name}@{move.alias}",
        details=told,
    )
    return release


class ReleaseBook:
    """Aliases are read from memory (`refresh` brings them up to date); changes go to the ledger first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._aliases: Mapping[tuple[str, str, str], Alias] = {}
        self.refresh()

    def refresh(self) -> None:
        with self._database.read() as connection:
            found = [Alias(**row._mapping) for row in connection.execute(select(aliases))]
        self._aliases = {(alias.kind, alias.name, alias.alias): alias for alias in found}

    def now(self, kind: ArtifactKind, name: str, alias: str = PRODUCTION) -> Alias | None:
        return self._aliases.get((kind, name, alias))

    def aliases(self, kind: ArtifactKind | None = None, name: str | None = None) -> list[Alias]:
        found = [a for a in self._aliases.values() if kind in (None, a.kind) and name in (None, a.name)]
        return sorted(found, key=lambda a: a.subject)

    def move(self, moves: Sequence[Move]) -> list[Release]:
        """All moves or none, in one transaction."""
        with self._database.begin_alone() as connection:
            done = [move_alias(connection, move) for move in moves]
        self.refresh()
        return done

    def history(
        self,
        kind: ArtifactKind | None = None,
        name: str | None = None,
        alias: str | None = None,
        *,
        limit: int = 50,
    ) -> list[Release]:
        """Changes of aliases, newest first."""
        query = select(releases).order_by(desc(releases.c.sequence)).limit(limit)
        for column, wanted in ((releases.c.kind, kind), (releases.c.name, name), (releases.c.alias, alias)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._database.read() as connection:
            return [_release(row) for row in connection.execute(query)]

    def at(
        self,
        kind: ArtifactKind,
        name: str,
        moment: datetime,
        alias: str = PRODUCTION,
        *,
        target: str | None = None,
    ) -> Release | None:
        """The release that decided what this alias stood for at a moment; the last one before it to a `target`."""
        query = (
            select(releases)
            .where(releases.c.kind == kind, releases.c.name == name, releases.c.alias == alias)
            .where(releases.c.at <= moment)
            .order_by(desc(releases.c.sequence))
            .limit(1)
        )
        if target is not None:
            query = query.where(releases.c.target == target)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _release(row) if row is not None else None


def _release(row: Row[Any]) -> Release:
    return Release(**{key: value for key, value in row._mapping.items() if key != "sequence"})
