"""Labels for retrieval in JSONL files: queries, and which documents or quotes answer them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from llmops.config import Section, digest, read_text
from llmops.datasets.examples import MAX_QUESTION_CHARACTERS, ExampleLine, Text, part_of, read_line
from llmops.errors import SpecError

LabelPart = Literal["dev", "dev-test"]
_MAX_LABELS_BYTES = 64_000_000
_HELD_OUT = 0.5


class RelevantLine(Section):
    """One document, or one quote in it, that answers the query."""

    uri: Text
    quote: Text | None = Field(
        default=None, description="A passage is relevant when it holds this, white space aside."
    )
    gain: float = Field(default=1.0, gt=0, le=1_000, description="How relevant; more is better.")


class LabelLine(Section):
    """One line of a label file."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")
    query: Text = Field(max_length=MAX_QUESTION_CHARACTERS)
    relevant: tuple[RelevantLine, ...] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Relevant:
    """One thing that answers a query, wherever it stands.

    Attributes:
        uris: documents in which it may stand.
        quotes: a passage of theirs is relevant when it holds any of these; () when any passage is.
        gain: above 0; more is better.
    """

    uris: tuple[str, ...]
    quotes: tuple[str, ...] = ()
    gain: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A query with everything that answers it."""

    label_id: str
    query: str
    relevant: tuple[Relevant, ...]

    @property
    def part(self) -> LabelPart:
        """Which half it is in, by the SHA-256 of its id: tuning reads the first, reporting the second."""
        return "dev" if part_of(self.label_id, _HELD_OUT) == "dev" else "dev-test"

    @property
    def is_of_passages(self) -> bool:
        """Whether single passages are judged, and not whole documents."""
        return any(one.quotes for one in self.relevant)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """The labels of a file.

    Attributes:
        digest: SHA-256 (hex) of their content in order of ids.
        n_unanswerable: examples that no document answers: they say nothing about retrieval, and are left out.
    """

    labels: tuple[Label, ...]
    digest: str
    n_unanswerable: int = 0

    def part(self, part: LabelPart) -> tuple[Label, ...]:
        """The labels of one part, in the order of the file."""
        return tuple(label for label in self.labels if label.part == part)


def load_labels(path: Path) -> Labels:
    """Read a label file; examples of a suite (`question`, `sources`, `evidence`) may stand in it as well.

    Raises:
        SpecError: the file is missing or holds no label, a line is none, or two share an id; names the line.
    """
    text = read_text(path, max_bytes=_MAX_LABELS_BYTES, kind="label file")
    found: dict[str, tuple[Label | None, int]] = {}
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if not line.strip():
            continue
        label_id, label = _label(line.rstrip("\n"), str(path), number)
        if label_id in found:
            first = found[label_id][1]
            raise SpecError(
                str(path), f"the id {label_id!r} is already that of line {first}; give it another", line=number
            )
        found[label_id] = (label, number)
    labels = tuple(label for label, _ in found.values() if label is not None)
    if not labels:
        raise SpecError(str(path), "holds no labels; write one JSON object a line (id, query, relevant)")
    return labels_of(labels, n_unanswerable=len(found) - len(labels))


def labels_of(labels: tuple[Label, ...], *, n_unanswerable: int = 0) -> Labels:
    """Labels with the digest of their content."""
    rows = [label_json(label) for label in sorted(labels, key=lambda label: label.label_id)]
    return Labels(labels=labels, digest=digest(rows), n_unanswerable=n_unanswerable)


def label_json(label: Label) -> dict[str, Any]:
    """A label as JSON, such as a request carries it."""
    relevant = [{"uris": list(one.uris), "quotes": list(one.quotes), "gain": one.gain} for one in label.relevant]
    return {"id": label.label_id, "query": label.query, "relevant": relevant}


def _label(line: str, file: str, number: int) -> tuple[str, Label | None]:
    if _is_example(line):
        example = read_line(ExampleLine, line, file, number)
        return example.id, _label_of_example(example, file, number)
    given = read_line(LabelLine, line, file, number)
    relevant = tuple(
        Relevant(uris=(one.uri,), quotes=(one.quote,) if one.quote is not None else (), gain=one.gain)
        for one in given.relevant
    )
    return given.id, Label(label_id=given.id, query=given.query, relevant=relevant)


def _is_example(line: str) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False  # what is wrong with it is said by whoever reads it
    return isinstance(value, dict) and "question" in value and "query" not in value


def _label_of_example(example: ExampleLine, file: str, number: int) -> Label | None:
    """Its quotes are alternatives, one thing to be found; without quotes each of its sources is one."""
    if not example.answers:
        return None
    if not example.sources:
        problem = f"the example {example.id!r} names no sources"
        raise SpecError(
            file, f"{problem}; add the uris of the documents that answer it", line=number, field="sources"
        )
    relevant = (
        (Relevant(uris=example.sources, quotes=example.evidence),)
        if example.evidence
        else tuple(Relevant(uris=(uri,)) for uri in example.sources)
    )
    return Label(label_id=example.id, query=example.question, relevant=relevant)
