"""From feedback to data: a thumb down with a correction becomes an example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, desc, select

from llmops.clients.database import Database
from llmops.clients.database.tables import feedback
from llmops.datasets import MAX_QUESTION_CHARACTERS
from llmops.errors import ConfigurationError, NotFoundError
from llmops.records import Example, Trace
from llmops.tracing import TraceReader

CORRECTION = "correction"
"""The tag of examples that come from people's corrections; a gate may have a rule of its own for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corrections:
    """Examples, newest first, and why other thumbs down gave none: reason to count."""

    examples: tuple[Example, ...]
    left_out: dict[str, int]


def corrections(database: Database, traces: TraceReader, *, known: Iterable[Example] = ()) -> Corrections:
    """Every thumb down with a correction as an example; personal data was scrubbed when it was stored.

    One question gives one example: the newest correction of it wins, and one that is `known` is left out. The
    sources stay empty, since a correction says what is right, not where it stands: retrieval metrics skip it.
    """
    known = tuple(known)
    known_origins = {example.origin for example in known}
    known_questions = {_key(example.question) for example in known}
    seen: set[str] = set()
    left_out: Counter[str] = Counter()
    found = []
    query = select(feedback).where(feedback.c.name == "thumb").order_by(desc(feedback.c.created_at))
    with database.read() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        if not _is_down(row.value):
            continue
        example, reason = _example(row, traces, known_origins)
        if example is not None and _key(example.question) in known_questions:
            example, reason = None, "a question already in the file"
        if example is not None and _key(example.question) in seen:
            example, reason = None, "an older correction of the same question"
        if example is None:
            left_out[reason] += 1
        else:
            seen.add(_key(example.question))
            found.append(example)
    return Corrections(examples=tuple(found), left_out=dict(left_out))


def _is_down(value: object) -> bool:
    """False, 0, or less: programs send -1 as well."""
    return isinstance(value, bool | int | float) and value <= 0


def _example(row: Row[Any], traces: TraceReader, known_origins: Collection[str]) -> tuple[Example | None, str]:
    """The example that one thumb down gives, or None and why it gives none."""
    origin, answer = f"feedback:{row.feedback_id}", row.correction.strip()
    if not answer:
        return None, "without a correction"
    if origin in known_origins:
        return None, "already in the file"
    try:
        question = question_of(traces.get(row.inference_id)).replace("\0", "\ufffd").strip()
    except NotFoundError:
        question = ""
    except ConfigurationError:
        return None, "with a trace that this key does not open"
    if not question:
        return None, "without a stored question"
    if len(question) > MAX_QUESTION_CHARACTERS:
        return None, "with a question too long for a dataset"
    found = Example(
        example_id=f"correction-{row.feedback_id.removeprefix('fb_')[:12]}",
        question=question,
        answers=(answer,),
        tags=(CORRECTION,),
        origin=origin,
    )
    return found, ""


def question_of(trace: Trace) -> str:
    """What was asked, as the trace keeps it; "" where the route keeps no contents."""
    for span in trace.spans:
        if span.station in ("embed", "render") and isinstance(span.input, dict):
            return str(span.input.get("question") or "")
    return ""


def _key(question: str) -> str:
    """White space, capitals and the mark at the end make no other question; C++ and C# do."""
    return " ".join(question.casefold().split()).rstrip(" ?!.")
