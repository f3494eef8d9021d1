"""Feedback on inferences: acknowledged only after its commit."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select

from llmops.clients.database import Database
from llmops.clients.database.tables import feedback, traces
from llmops.errors import NotFoundError
from llmops.pii import scrub
from llmops.records import Feedback
from llmops.tracing.writer import TraceWriter


class FeedbackBook:
    def __init__(self, database: Database, writer: TraceWriter) -> None:
        self._database, self._writer = database, writer

    def add(self, given: Feedback) -> str:
        """Store one piece of feedback and return its id; comment and correction are scrubbed of personal data.

        Raises:
            NotFoundError: no inference has this id.
        """
        if not self._knows(given.inference_id):
            self._writer.flush()  # an answer's trace may still be on its way
            if not self._knows(given.inference_id):
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
            "caller": given.caller,
        }
        with self._database.begin() as connection:
            connection.execute(insert(feedback).values(row))
        return feedback_id

    def of(self, inference_id: str) -> list[dict[str, Any]]:
        """All feedback on one inference, oldest first."""
        query = select(feedback).where(feedback.c.inference_id == inference_id).order_by(feedback.c.created_at)
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def _knows(self, inference_id: str) -> bool:
        query = select(traces.c.inference_id).where(traces.c.inference_id == inference_id)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None
