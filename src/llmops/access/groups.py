"""Group memberships of every source, in memory for searches, in the ledger for all processes.

A search asks for the caller's principals and every group they are in, however deep. A membership that is taken
away is gone from the next search of this process, and of the others as soon as they look (`refresh`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Connection

from llmops.clients.database import Database
from llmops.clients.database.tables import memberships
from llmops.errors import RequestError
from llmops.records import EVERYONE

MAX_PRINCIPALS = 10_000
_MAX_PRINCIPAL = 256


class GroupBook:
    """All groups of a workspace.

    Args:
        database: the ledger; what is there is read at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._groups_of: dict[str, frozenset[str]] = {}
        self._writing = threading.RLock()
        self._mark: tuple[Any, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Take up what other processes wrote; nothing is read where nothing changed."""
        with self._writing:
            self._refresh()

    def _refresh(self) -> None:
        counted = select(func.count(), func.max(memberships.c.at)).select_from(memberships)
        with self._database.read() as connection:
            mark = tuple(connection.execute(counted).one())
            if mark == self._mark:
                return
            rows = connection.execute(select(memberships.c.member, memberships.c.group_principal)).all()
        groups_of: dict[str, set[str]] = {}
        for member, group in rows:
            groups_of.setdefault(member, set()).add(group)
        self._groups_of = {member: frozenset(groups) for member, groups in groups_of.items()}
        self._mark = mark

    def expand(self, principals: Iterable[str]) -> tuple[str, ...]:
        """The principals and every group they are in, directly or through other groups; cycles are harmless.

        Raises:
            RequestError: more than 10,000 come together, which no search can carry.
        """
        groups_of = self._groups_of
        found = dict.fromkeys(principals)
        waiting = list(found)
        while waiting:
            for group in groups_of.get(waiting.pop(), ()):
                if group not in found:
                    found[group] = None
                    waiting.append(group)
        if len(found) > MAX_PRINCIPALS:
            raise RequestError(
                f"the caller has {len(found)} principals; at most {MAX_PRINCIPALS} can be searched for"
            )
        return tuple(found)

    def groups(self, origin: str) -> dict[str, tuple[str, ...]]:
        """Groups of one origin with their members."""
        query = select(memberships).where(memberships.c.origin == origin)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(memberships.c.group_principal, memberships.c.member)).all()
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row.group_principal, []).append(row.member)
        return {group: tuple(members) for group, members in found.items()}

    def replace(self, origin: str, groups: Mapping[str, Sequence[str]]) -> None:
        """Everything a source knows of its groups; what it knew before and not now is gone, in one transaction.

        Raises:
            RequestError: a principal is empty, too long, or may not be a group.
        """
        _check(groups)
        with self._writing:
            with self._database.begin_alone() as connection:
                connection.execute(delete(memberships).where(memberships.c.origin == origin))
                _insert(connection, origin, groups)
            self._refresh()

    def set_members(self, origin: str, group: str, members: Sequence[str]) -> None:
        """All members of one group; no members: the group is gone.

        Raises:
            RequestError: as `replace`.
        """
        _check({group: members})
        here = (memberships.c.origin == origin) & (memberships.c.group_principal == group)
        with self._writing:
            with self._database.begin_alone() as connection:
                connection.execute(delete(memberships).where(here))
                _insert(connection, origin, {group: members})
            self._refresh()

    def forget_member(self, member: str) -> int:
        """Take a person out of every group; returns out of how many."""
        with self._writing:
            with self._database.begin_alone() as connection:
                done = connection.execute(delete(memberships).where(memberships.c.member == member))
            self._refresh()
        return done.rowcount


def _insert(connection: Connection, origin: str, groups: Mapping[str, Sequence[str]]) -> None:
    now = datetime.now(UTC)
    rows = [
        {"origin": origin, "group_principal": group, "member": member, "at": now}
        for group, members in groups.items()
        for member in dict.fromkeys(members)
    ]
    if rows:
        connection.execute(insert(memberships), rows)


def _check(groups: Mapping[str, Sequence[str]]) -> None:
    for group, members in groups.items():
        if group == EVERYONE:
            raise RequestError(f"{EVERYONE!r} is no group: every caller holds it already; choose another name")
        for principal in (group, *members):
            if not 1 <= len(principal) <= _MAX_PRINCIPAL:
                raise RequestError(f"the principal {principal[:40]!r} must have 1 to {_MAX_PRINCIPAL} characters")
