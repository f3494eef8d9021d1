"""Reading traces back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, desc, select

from llmops.clients.database import Database
from llmops.clients.database.tables import traces
from llmops.errors import ConfigurationError, NotFoundError
from llmops.records import GuardFinding, Span, Trace, Usage
from llmops.tracing.content import ContentVault


class TraceReader:
    def __init__(self, database: Database, vault: ContentVault) -> None:
        self._database, self._vault = database, vault

    def get(self, inference_id: str) -> Trace:
        """One trace with every station's input and output.

        Raises:
            NotFoundError: no inference has this id.
        """
        with self._database.read() as connection:
            row = connection.execute(select(traces).where(traces.c.inference_id == inference_id)).one_or_none()
        if row is None:
            raise NotFoundError(
                f"no inference {inference_id!r} in the ledger; `llmops trace list` shows the latest"
            )
        return self._trace(row)

    def latest(self, limit: int = 20, route: str | None = None) -> list[Trace]:
        """The newest traces, newest first; one that was encrypted with another key comes without its spans."""
        query = select(traces).order_by(desc(traces.c.started_at)).limit(limit)
        if route is not None:
            query = query.where(traces.c.route == route)
        with self._database.read() as connection:
            return [self._listed(row) for row in connection.execute(query)]

    def _listed(self, row: Row[Any]) -> Trace:
        try:
            return self._trace(row)
        except ConfigurationError:
            # The rest of the list must not be lost for it; `get` says what is wrong.
            return self._trace(row, spans=())

    def _trace(self, row: Row[Any], spans: tuple[Span, ...] | None = None) -> Trace:
        value = dict(row._mapping)
        usage = Usage(input_tokens=value.pop("input_tokens"), output_tokens=value.pop("output_tokens"))
        sealed = value.pop("spans")
        opened = self._vault.open(sealed, value["content_policy"]) if spans is None else spans
        value["findings"] = tuple(GuardFinding(**finding) for finding in value["findings"] or ())
        return Trace(**value, usage=usage, spans=opened)
