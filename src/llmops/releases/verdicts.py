"""Verdicts on the ledger: what each suite said about which contents."""

from __future__ import annotations

import zlib
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, desc, insert, select, update

from llmops.clients.database import Database
from llmops.clients.database.tables import verdicts
from llmops.errors import NotFoundError
from llmops.records import GateCheck, MetricValue, Verdict


class VerdictBook:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, verdict: Verdict, report: bytes) -> None:
        """Store a verdict with its whole report (JSON); a second time the same id changes nothing."""
        row = {**asdict(verdict), "checks": [asdict(check) for check in verdict.checks]}
        with self._database.begin_alone() as connection:
            here = verdicts.c.verdict_id == verdict.verdict_id
            if connection.execute(select(verdicts.c.verdict_id).where(here)).first() is None:
                connection.execute(insert(verdicts).values(**row, report=zlib.compress(report)))

    def logged(self, verdict_id: str, run_id: str) -> None:
        """Remember the MLflow run in which a verdict was logged."""
        with self._database.begin() as connection:
            connection.execute(update(verdicts).where(verdicts.c.verdict_id == verdict_id).values(run_id=run_id))

    def get(self, verdict_id: str) -> Verdict:
        """The verdict with this id, or whose id begins so when only one does.

        Raises:
            NotFoundError: there is none, or more than one.
        """
        return _verdict(self._row(verdict_id))

    def report(self, verdict_id: str) -> bytes:
        """The report (JSON) that belongs to a verdict."""
        return zlib.decompress(self._row(verdict_id).report)

    def latest(self, suite: str | None = None, limit: int = 20) -> list[Verdict]:
        """The newest verdicts, newest first."""
        columns = [column for column in verdicts.c if column.name != "report"]
        query = select(*columns).order_by(desc(verdicts.c.at)).limit(limit)
        if suite is not None:
            query = query.where(verdicts.c.suite == suite)
        with self._database.read() as connection:
            return [_verdict(row) for row in connection.execute(query)]

    def _row(self, verdict_id: str) -> Row[Any]:
        begins = verdicts.c.verdict_id.startswith(verdict_id, autoescape=True)
        with self._database.read() as connection:
            rows = connection.execute(select(verdicts).where(begins).limit(2)).all()
        if len(rows) != 1:
            many = "more than one verdict begins with" if rows else "no verdict"
            raise NotFoundError(f"{many} {verdict_id!r}; `llmops eval list` shows them")
        return rows[0]


def _verdict(row: Row[Any]) -> Verdict:
    values = {name: value for name, value in row._mapping.items() if name != "report"}
    return Verdict(**{**values, "checks": tuple(gate_check(check) for check in values["checks"])})


def gate_check(value: dict[str, Any]) -> GateCheck:
    """A check as it was stored."""
    measured = value["measured"]
    return GateCheck(**{**value, "measured": MetricValue(**measured) if measured else None})
