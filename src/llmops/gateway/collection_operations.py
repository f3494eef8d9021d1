"""What can be asked of a workspace's collections: tuning on labels, and a candidate against what answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmops.datasets import Label, Labels, Relevant, labels_of
from llmops.errors import RequestError
from llmops.gateway.bodies import first_problem
from llmops.workspace import collection_gate, tuning
from llmops.workspace.files import load_files
from llmops.workspace.opened import Workspace

Body = TypeVar("Body", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RelevantBody(_Strict):
    """As `llmops.datasets.Relevant`."""

    uris: list[str] = Field(min_length=1)
    quotes: list[str] = []
    gain: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class LabelBody(_Strict):
    """As `llmops.datasets.Label`."""

    id: str = Field(min_length=1, max_length=128)
    query: str = Field(min_length=1, max_length=8_000)
    relevant: list[RelevantBody] = Field(min_length=1)


class LabelledBody(_Strict):
    """A pipeline with labels."""

    pipeline: str
    labels: list[LabelBody] = Field(min_length=1)

    @property
    def read(self) -> Labels:
        """The labels as records."""
        return labels_of(
            tuple(
                Label(
                    label_id=label.id,
                    query=label.query,
                    relevant=tuple(
                        Relevant(uris=tuple(one.uris), quotes=tuple(one.quotes), gain=one.gain)
                        for one in label.relevant
                    ),
                )
                for label in self.labels
            )
        )


class TuneBody(LabelledBody):
    """Which route's fusion is chosen."""

    route: str | None = None


class CompareBody(LabelledBody):
    """Which candidate is compared, and how much worse it may be."""

    route: str | None = None
    candidate: str | None = None
    max_drop: float = Field(default=collection_gate.MAX_DROP, ge=0, le=1)


class PrecisionBody(LabelledBody):
    """Which precision's loss is measured."""

    precision: Literal["int8"] = "int8"


def tune(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fusion that labels choose."""
    given = _checked(TuneBody, body)
    return tuning.tune(workspace, workspace.pipeline(given.pipeline), given.read, given.route)


def compare(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """A candidate against what answers: the report from which a verdict is made."""
    given = _checked(CompareBody, body)
    spec = workspace.pipeline(given.pipeline)
    retrieval, route = collection_gate.retrieval_of(load_files(workspace.root), spec.name, given.route)
    terms = collection_gate.Terms(labels=given.read, max_drop=given.max_drop, retrieval=retrieval, route=route)
    workspace.collections.refresh()
    return collection_gate.compare(workspace, spec, terms, candidate=given.candidate).as_json()


def precision(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """What int8 loses, as its file holds it."""
    given = _checked(PrecisionBody, body)
    measured = tuning.int8_loss(workspace, workspace.pipeline(given.pipeline), given.read)
    found: dict[str, Any] = orjson.loads(measured.model_dump_json())
    return found


def _checked(kind: type[Body], body: Mapping[str, Any]) -> Body:
    try:
        return kind.model_validate(dict(body))
    except ValidationError as error:
        raise RequestError(first_problem(error)) from error
