"""One thread writes all traces, in batches: the request path only puts a record into a bounded queue."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import delete, insert

from llmops.clients.database import Database
from llmops.clients.database.tables import traces
from llmops.errors import BusyError, LlmopsError
from llmops.pii import scrub
from llmops.records import Trace
from llmops.tracing.content import ContentVault

_FLUSH_EVERY_S = 0.1
_MAX_ROWS = 1_000
_RETRY_AFTER_S = 1.0
_PUSH_BACK_S = 5.0
_CLOSE_WITHIN_S = 10.0
_LENGTHS: dict[str, int | None] = {column.name: getattr(column.type, "length", None) for column in traces.c}
_log = logging.getLogger("llmops.tracing")


class TraceWriter:
    """Flushes every 100 ms or 1,000 rows, one transaction each, and once more on `close`.

    A full queue pushes back on new requests (`wait_for_room`). When the ledger cannot be written, rows
    stay queued and are tried again every second; `failing_since` then says since when (monotonic).
    """

    def __init__(self, database: Database, vault: ContentVault, *, capacity: int = 10_000) -> None:
        self._database, self._vault = database, vault
        self._queue: queue.SimpleQueue[Trace] = queue.SimpleQueue()
        self._capacity = capacity
        self._pending: list[Trace] = []
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._progress = threading.Condition()
        self._n_added = 0
        self._n_done = 0
        self._lock = threading.Lock()
        self.failing_since: float | None = None
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="trace-writer", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Traces not yet written."""
        return self._n_added - self._n_done

    def add(self, trace: Trace) -> None:
        """Queue a trace; never waits, so that an event loop can call it."""
        with self._lock:
            self._n_added += 1
        self._queue.put(trace)

    def wait_for_room(self, timeout_s: float = _PUSH_BACK_S) -> None:
        """Wait while the queue is full: called in a thread before a request is begun.

        Raises:
            BusyError: it stayed full: the ledger cannot keep up or cannot be written.
        """
        with self._progress:
            if not self._progress.wait_for(lambda: not self.is_full, timeout=timeout_s):
                problem = f"the trace queue is full ({self.last_error or 'the ledger cannot keep up'})"
                raise BusyError(f"{problem}; mend the ledger and try again")

    @property
    def is_full(self) -> bool:
        """True when as many traces wait as the writer holds; new requests have to wait then."""
        return self.depth >= self._capacity

    def flush(self, timeout_s: float = _CLOSE_WITHIN_S) -> bool:
        """Wait until everything added so far is in the ledger; False when that did not happen in time."""
        target = self._n_added
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: self._n_done >= target, timeout=timeout_s)

    def close(self) -> None:
        """Write what is queued and stop; what cannot be written in ten seconds is reported, with the reason."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=_CLOSE_WITHIN_S)
        if self.depth:
            _log.error("%d traces could not be written: %s", self.depth, self.last_error)

    def _run(self) -> None:
        while not (self._closing.is_set() and self._queue.empty() and not self._pending):
            self._wake.wait(_FLUSH_EVERY_S)
            self._wake.clear()
            self._collect()
            if not self._pending:
                continue
            if self._try_write():
                continue
            if self._closing.wait(_RETRY_AFTER_S) and not self._try_write():
                return

    def _collect(self) -> None:
        while len(self._pending) < _MAX_ROWS:
            try:
                self._pending.append(self._queue.get_nowait())
            except queue.Empty:
                return
        self._wake.set()  # more is waiting: come back without the pause

    def _try_write(self) -> bool:
        try:
            rows = [_row(trace, self._vault) for trace in self._pending]
            with self._database.begin() as connection:
                # A retry after a commit whose acknowledgement was lost must not fail on its own rows.
                connection.execute(
                    delete(traces).where(traces.c.inference_id.in_([r["inference_id"] for r in rows]))
                )
                connection.execute(insert(traces), rows)
        except LlmopsError as error:
            if self.failing_since is None:
                _log.error("traces cannot be written and are kept in memory: %s", error)
                self.failing_since = time.monotonic()
            self.last_error = str(error)
            return False
        self.failing_since, self.last_error = None, ""
        with self._progress:
            self._n_done += len(self._pending)
            self._progress.notify_all()
        self._pending.clear()
        return True


def _row(trace: Trace, vault: ContentVault) -> dict[str, Any]:
    row = {
        "inference_id": trace.inference_id,
        "route": trace.route,
        "started_at": trace.started_at,
        "status": trace.status,
        "caller": trace.caller,
        "model": trace.model,
        "prompt_digest": trace.prompt_digest,
        "spec_hashes": dict(trace.spec_hashes),
        "input_tokens": trace.usage.input_tokens,
        "output_tokens": trace.usage.output_tokens,
        "cost_usd": trace.cost_usd,
        "ttft_ms": trace.ttft_ms,
        "duration_ms": trace.duration_ms,
        "content_policy": trace.content_policy,
        "spans": _sealed(trace, vault),
        "error": scrub(trace.error),
        "findings": [asdict(finding) for finding in trace.findings],
    }
    # PostgreSQL refuses a text over its column's length, and with it the whole batch, for ever.
    return {name: value[: _LENGTHS[name]] if isinstance(value, str) else value for name, value in row.items()}


def _sealed(trace: Trace, vault: ContentVault) -> bytes:
    try:
        return vault.seal(trace.spans, trace.content_policy)
    except (TypeError, ValueError, RecursionError) as error:
        # One trace that is no JSON must not stop all others: its contents are left out.
        _log.error("the contents of trace %s cannot be stored and are left out: %r", trace.inference_id, error)
        return vault.seal([replace(span, input=None, output=None) for span in trace.spans], trace.content_policy)
