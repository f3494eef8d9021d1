"""What can be asked of a workspace's sources: a body and a function each, for HTTP and the command line alike."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from llmops.errors import NotFoundError, RequestError
from llmops.gateway import collection_operations, wire
from llmops.gateway.bodies import first_problem
from llmops.ingestion.run import Options
from llmops.workspace import erasure, sources
from llmops.workspace.opened import Workspace
from llmops.workspace.provenance import current_user

Body = TypeVar("Body", bound=BaseModel)
Operation = Callable[[Workspace, Mapping[str, Any]], dict[str, Any]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DocumentBody(_Strict):
    """One document: `text`, or any format as `content_base64`."""

    uri: str = Field(min_length=1, max_length=2_000)
    text: str | None = None
    content_base64: str | None = None
    media_type: str = Field(
        default="", max_length=200, description="Default: by the uri's ending; Markdown for text."
    )
    title: str = Field(default="", max_length=500)
    url: str = Field(default="", max_length=2_000, pattern=r"^(https?://.*)?$")
    version: str = Field(default="", max_length=200, description="Default: a digest of the content.")
    acl: list[str] | None = Field(default=None, description="Who may read it; default the pipeline's.")
    metadata: dict[str, str | int | float | bool] = {}

    @model_validator(mode="after")
    def _has_content(self) -> DocumentBody:
        if (self.text is None) == (self.content_base64 is None):
            raise ValueError("give either text or content_base64")
        return self

    @property
    def raw(self) -> bytes:
        if self.text is not None:
            return self.text.encode("utf-8", "replace")
        try:
            return base64.b64decode(self.content_base64 or "", validate=True)
        except binascii.Error as error:
            raise RequestError(f"document {self.uri!r}: content_base64 is not base64 ({error})") from error


class DocumentsBody(_Strict):
    """Documents for a pipeline whose source is `push`."""

    pipeline: str
    documents: list[DocumentBody] = Field(min_length=1, max_length=sources.MAX_DOCUMENTS)


class EventBody(_Strict):
    """What happened at the source; `uri` names a document, `group` a group."""

    type: Literal["access", "deleted", "changed", "members"]
    uri: str = Field(default="", max_length=2_000)
    acl: list[str] | None = None
    group: str = Field(default="", max_length=256)
    members: list[str] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> EventBody:
        needed = {"access": ("uri", "acl"), "deleted": ("uri",), "changed": (), "members": ("group", "members")}
        for name in needed[self.type]:
            if getattr(self, name) in ("", None):
                raise ValueError(f"an event of type {self.type!r} needs {name!r}")
        return self

    @property
    def told(self) -> sources.Told:
        name, principals = (self.group, self.members) if self.type == "members" else (self.uri, self.acl)
        return sources.Told(kind=self.type, name=name, principals=tuple(principals or ()))


class EventsBody(_Strict):
    """What a source tells us between two syncs."""

    pipeline: str
    events: list[EventBody] = Field(min_length=1, max_length=10_000)


class OneDocumentBody(_Strict):
    """One document of a pipeline."""

    pipeline: str
    uri: str


class RetryBody(_Strict):
    """Failed documents of a pipeline, or one of them."""

    pipeline: str
    uri: str | None = None


def push(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """Store documents and make them searchable."""
    given = _checked(DocumentsBody, body)
    documents = [
        sources.PushedDocument(
            uri=document.uri,
            raw=document.raw,
            media_type=document.media_type or ("text/markdown" if document.text is not None else ""),
            title=document.title,
            url=document.url,
            version=document.version,
            acl=tuple(document.acl) if document.acl is not None else None,
            metadata=document.metadata,
        )
        for document in given.documents
    ]
    return wire.report(sources.push(workspace, given.pipeline, documents))


def take_events(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """Obey a source's events; one that needs a document to be read again runs the pipeline."""
    given = _checked(EventsBody, body)
    changed: list[str] = []
    told = [event.told for event in given.events]
    n_known = sources.take_events(workspace, given.pipeline, told, on_change=changed.append)
    return {"pipeline": given.pipeline, "n_events": len(told), "n_known": n_known, "sync": changed}


def retry(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """Try failed and parked documents again, now."""
    given = _checked(RetryBody, body)
    n_due = sources.retry(workspace, given.pipeline, given.uri)
    report = workspace.ingest(workspace.pipeline(given.pipeline), options=Options()) if n_due else None
    return {"n_tried": n_due, "report": wire.report(report) if report is not None else None}


def explain(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """Everything known of one document."""
    given = _checked(OneDocumentBody, body)
    found = sources.explain(workspace, given.pipeline, given.uri)
    row = asdict(found["document"])
    row["signature"] = row["signature"].hex()[:16] if row["signature"] else None
    return {**found, "document": {name: _plain(value) for name, value in row.items()}}


def forget(workspace: Workspace, body: Mapping[str, Any]) -> dict[str, Any]:
    """Erase one document for good."""
    given = _checked(OneDocumentBody, body)
    receipt = erasure.forget(workspace, given.pipeline, given.uri, actor=current_user())
    return {**asdict(receipt), "at": receipt.at.isoformat(), "is_proved": receipt.is_proved}


OPERATIONS: dict[str, Operation] = {
    "documents": push,
    "events": take_events,
    "retry": retry,
    "explain": explain,
    "forget": forget,
    "tune": collection_operations.tune,
    "compare": collection_operations.compare,
    "precision": collection_operations.precision,
}


def operation(name: str) -> Operation:
    """The operation of this name.

    Raises:
        NotFoundError: there is none.
    """
    if name not in OPERATIONS:
        raise NotFoundError(f"no operation {name!r}; there is: {', '.join(sorted(OPERATIONS))}")
    return OPERATIONS[name]


def _checked(kind: type[Body], body: Mapping[str, Any]) -> Body:
    try:
        return kind.model_validate(dict(body))
    except ValidationError as error:
        raise RequestError(first_problem(error)) from error


def _plain(value: Any) -> JsonValue:
    return value.isoformat() if isinstance(value, datetime) else value
