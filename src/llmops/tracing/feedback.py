"""Feedback on inferences: acknowledged only after its commit."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select

from llmops.clients.database import Database
from llmops.clients.database.tables import feedback, traces
from llmops.errors import NotFoundError, RequestError, StorageError
from llmops.pii import scrub
from llmops.records import Feedback
from llmops.tracing.writer import TraceWriter

_MAX_NAME = 128
_WAIT_FOR_TRACE_S = 3.0


class FeedbackBook:
    def __init__(self, database: Database, writer: TraceWriter) -> None:
        self._database, self._writer = database, writer

    def add(self, given: Feedback) -> str:
        """Store one piece of feedback and return its id; comment and correction are scrubbed of personal data.

        Raises:
            NotFoundError: no inference has this id.
            RequestError: the name is empty or longer than 128 characters, or the value is not a finite number.
            StorageError: the ledger cannot be written at the moment.
        """
        if not 1 <= len(given.name) <= _MAX_NAME:
            raise RequestError(f"the feedback's name {given.name[:40]!r} must have 1 to {_MAX_NAME} characters")
        if isinstance(given.value, float) and not math.isfinite(given.value):
            raise RequestError(f"the feedback's value {given.value!r} must be a finite number")
        if not self._knows(given.inference_id):
            written = self._writer.flush(_WAIT_FOR_TRACE_S)  # an answer's trace may still be on its way
            if not self._knows(given.inference_id):
                if not written:
                    problem = f"the trace of {given.inference_id!r} may not be written yet"
                    raise StorageError(f"{problem} ({self._writer.last_error or 'the ledger is slow'}); try again")
                raise NotFoundError(f"no inference {given.inference_id!r}; use the inference_id of an answer")
        feedback_id = f"fb_{uuid.uuid4().hex}"
        row = {
            "feedback_id": feedback_id,
            "inference_id": given.inference_id,
            "created_at": datetime.now(UTC),
            "name": given.name,
            "value": given.value,
            "comment": scrub(given.comment),
            "correction": scrub(given.correction),
            "caller": given.caller[:128],
        }
        with self._database.begin() as connection:
            connection.execute(insert(feedback).values(row))
        return feedback_id

    def of(self, inference_id: str) -> list[dict[str, Any]]:
        """All feedback on one inference, oldest first."""
        return feedback_on(self._database, inference_id)

    def _knows(self, inference_id: str) -> bool:
        query = select(traces.c.inference_id).where(traces.c.inference_id == inference_id)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None


def feedback_on(database: Database, inference_id: str) -> list[dict[str, Any]]:
    """All feedback on one inference, oldest first: for readers that write nothing."""
    query = select(feedback).where(feedback.c.inference_id == inference_id).order_by(feedback.c.created_at)
    with database.read() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]
