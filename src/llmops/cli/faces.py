"""One way to work with a workspace, whether this process opens it or a running `llmops up` owns it."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import anyio
import orjson

from llmops import errors
from llmops.clients.sse import EventSplitter, data_of
from llmops.errors import ConfigurationError, LlmopsError, RequestError, StorageError, WorkspaceBusyError
from llmops.evals.report import SuiteReport
from llmops.ingestion.report import Progress
from llmops.ingestion.run import Options
from llmops.records import EVERYONE, Answer, Caller, Delta
from llmops.serving.answer import Question, open_inference, stream_answer
from llmops.serving.conversation import Conversation
from llmops.settings import Settings
from llmops.workspace.evaluation import Prepared, Target, prepare
from llmops.workspace.files import load_files
from llmops.workspace.opened import Workspace
from llmops.workspace.ownership import Owner, find_owner

_LAST = ("citations", "groundedness", "guardrails", "usage")  # what the last events of a stream carry
OnText = Callable[[str], None]
OnProgress = Callable[[Progress], None]
OnAsked = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Eyes:
    """With whose permissions is asked."""

    principals: tuple[str, ...] = ()
    tenant: str = ""

    @property
    def caller(self) -> Caller:
        """The same for a workspace of this process."""
        principals = tuple(dict.fromkeys((*self.principals, EVERYONE)))
        return Caller(name="owner", role="admin", principals=principals, tenant=self.tenant)

    @property
    def headers(self) -> dict[str, str]:
        """The same for a gateway."""
        named = {"X-Llmops-Principals": ",".join(self.principals), "X-Llmops-Tenant": self.tenant}
        return {name: value for name, value in named.items() if value}


class Face(Protocol):
    """What the commands need; results are the JSON of the HTTP API."""

    def ask(self, question: str, *, route: str, eyes: Eyes, on_text: OnText) -> dict[str, Any]: ...

    def search(self, body: Mapping[str, Any], *, eyes: Eyes) -> dict[str, Any]: ...

    def ingest(self, pipeline: str, *, options: Options, on_progress: OnProgress) -> dict[str, Any]: ...

    def evaluate(self, suite: str, *, target: Target, on_progress: OnAsked) -> dict[str, Any]: ...

    def operate(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]: ...


@contextmanager
def open_face(root: Path) -> Iterator[Face]:
    """The owner's admin API when a gateway runs on this workspace, else the workspace itself.

    Raises:
        WorkspaceBusyError: another command is using it.
    """
    load_files(root)
    settings = Settings.from_environment()
    owner = None if settings.qdrant_url else find_owner(root)
    if owner is not None and owner.url:
        yield OwnerFace(owner)
        return
    workspace = Workspace(root, settings, command=" ".join(["llmops", *sys.argv[1:3]]))
    try:
        yield LocalFace(workspace)
    finally:
        workspace.close()


def queue_of(root: Path, method: str, path: str, body: Mapping[str, Any]) -> Any:
    """`/api/jobs` of the gateway on this workspace; without one, the same from the queues themselves.

    Raises:
        ConfigurationError: nothing takes embedded jobs while no gateway runs.
    """
    load_files(root)
    settings = Settings.from_environment()
    owner = None if settings.qdrant_url else find_owner(root)
    if owner is not None and owner.url:
        return OwnerFace(owner).queue(method, path, body)
    if not settings.qdrant_url:
        problem = f"no gateway runs on the workspace {str(root)!r}, and nothing else takes jobs there"
        raise ConfigurationError(f"{problem}; start `llmops up`, or use `llmops ingest run`")
    from llmops.gateway.jobs import job_json
    from llmops.workspace.queues import open_jobs

    workspace = Workspace(root, settings, command="llmops ingest")
    try:
        jobs = open_jobs(workspace, takes=())
        try:
            if method == "GET":
                return [job_json(job) for job in jobs.list()]
            if path.endswith("/cancel"):
                return job_json(jobs.cancel(path.strip("/").removesuffix("/cancel")))
            options = Options(**{name: value for name, value in body.items() if name != "pipeline"})
            return job_json(jobs.get(jobs.submit(workspace.pipeline(body["pipeline"]).name, options)))
        finally:
            jobs.close()
    finally:
        workspace.close()


def default_route(root: Path, asked: str | None) -> str:
    """The route asked for, or the only one that answers questions."""
    routes = load_files(root).routes
    if asked is not None:
        return asked
    answering = [route.name for route in routes.values() if route.prompt is not None]
    if len(answering) != 1:
        raise RequestError(f"name a route with --route: there is {', '.join(sorted(answering)) or 'none'}")
    return answering[0]


@dataclass(frozen=True, slots=True)
class LocalFace:
    """This process opened the workspace."""

    workspace: Workspace

    def ask(self, question: str, *, route: str, eyes: Eyes, on_text: OnText) -> dict[str, Any]:
        from llmops.gateway import wire

        return wire.completion(anyio.run(partial(self._ask, question, route, eyes.caller, on_text)))

    async def _ask(self, question: str, name: str, caller: Caller, on_text: OnText) -> Answer:
        route = self.workspace.route(name)
        asked = Question(conversation=Conversation(question=question, history=()), caller=caller, parameters={})
        try:
            async for item in stream_answer(route, asked, open_inference(route, caller), self.workspace.record):
                if isinstance(item, Delta):
                    on_text(item.text)
                else:
                    return item
        finally:
            await self.workspace.close_models()
        raise AssertionError("the line ended without an answer")

    def search(self, body: Mapping[str, Any], *, eyes: Eyes) -> dict[str, Any]:
        from llmops.gateway import wire
        from llmops.gateway.knowledge import search_spec

        spec = search_spec(self.workspace, route=body.get("route"), collection=body.get("collection"))
        hits = self.workspace.search(
            body["query"], spec=spec, caller=eyes.caller, k=body["k"], metadata=body.get("filter")
        )
        return {"collection": spec.collection, "hits": [wire.hit(hit) for hit in hits]}

    def ingest(self, pipeline: str, *, options: Options, on_progress: OnProgress) -> dict[str, Any]:
        from llmops.gateway import wire

        spec = self.workspace.files.pipeline(pipeline)
        return wire.report(self.workspace.ingest(spec, options=options, on_progress=on_progress))

    def operate(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One of the gateway's operations on documents, by its name."""
        from llmops.gateway import operations

        return operations.operation(operation)(self.workspace, body)

    def evaluate(self, suite: str, *, target: Target, on_progress: OnAsked) -> dict[str, Any]:
        prepared = prepare(self.workspace, suite, target)
        report = anyio.run(self._run, prepared, on_progress)
        return {"report": report.as_json(), "described": list(prepared.described)}

    async def _run(self, prepared: Prepared, on_progress: OnAsked) -> SuiteReport:
        try:
            return await prepared.run(on_progress)
        finally:
            await self.workspace.close_models()


class OwnerError(LlmopsError):
    """What the owner answered.

    Args:
        code: the error's name over HTTP; with it come the kind and exit code the error would have had here.
    """

    def __init__(self, message: str, code: str | None) -> None:
        super().__init__(message)
        kind = getattr(errors, f"{code}Error", LlmopsError)
        self.kind: str = kind.__name__
        self.exit_code = kind.exit_code  # type: ignore[misc]  # per error, as the owner said


@dataclass(frozen=True, slots=True)
class OwnerFace:
    """A running `llmops up` owns the workspace and does the work."""

    owner: Owner

    def ask(self, question: str, *, route: str, eyes: Eyes, on_text: OnText) -> dict[str, Any]:
        body = {"model": route, "messages": [{"role": "user", "content": question}], "stream": True}
        body["stream_options"] = {"include_usage": True}
        result: dict[str, Any] = {}
        text: list[str] = []
        splitter = EventSplitter()
        for piece in self._post("/v1/chat/completions", body, eyes):
            for event in splitter.feed(piece):
                data = data_of(event)
                if not data or data == b"[DONE]":
                    continue
                chunk = orjson.loads(data)
                if "error" in chunk:
                    raise _owner_error(chunk)
                result |= {key: chunk[key] for key in ("id", "created", "model", "inference_id")}
                result |= {key: chunk[key] for key in _LAST if key in chunk}
                for choice in chunk["choices"]:
                    text.append(choice["delta"].get("content", ""))
                    on_text(text[-1])
                    result["finish_reason"] = choice["finish_reason"]
        message = {"role": "assistant", "content": "".join(text)}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": result.pop("finish_reason", None),
            "logprobs": None,
        }
        return {**result, "object": "chat.completion", "choices": [choice]}

    def search(self, body: Mapping[str, Any], *, eyes: Eyes) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(b"".join(self._post("/v1/search", body, eyes)))
        return found

    def ingest(self, pipeline: str, *, options: Options, on_progress: OnProgress) -> dict[str, Any]:
        body = {"pipeline": pipeline, **asdict(options)}
        for value in self._told("/api/ingest", body):
            if "progress" in value:
                on_progress(Progress(**value["progress"]))
            else:
                report: dict[str, Any] = value["report"]
                return report
        raise StorageError("the gateway stopped before the ingestion was done; run the command again")

    def operate(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `LocalFace.operate`, done by the owner."""
        done: dict[str, Any] = orjson.loads(b"".join(self._post(f"/api/ingest/{operation}", body)))
        return done

    def evaluate(self, suite: str, *, target: Target, on_progress: OnAsked) -> dict[str, Any]:
        body = {"suite": suite, **asdict(target)}
        for value in self._told("/api/eval", body):
            if "progress" in value:
                on_progress(value["progress"]["done"], value["progress"]["of"])
            else:
                done: dict[str, Any] = value
                return done
        raise StorageError("the gateway stopped before the suite was done; run the command again")

    def queue(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """A call of `/api/jobs`."""
        sent = orjson.dumps(body) if method == "POST" else b""
        return orjson.loads(b"".join(self._send(method, f"/api/jobs{path}", sent, {})))

    def lineage(self, inference_id: str) -> dict[str, Any]:
        """What shaped an answer, be its trace still on its way to the ledger."""
        found: dict[str, Any] = orjson.loads(b"".join(self._get(f"/api/lineage/{quote(inference_id, safe='')}")))
        return found

    def _told(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The objects that long work tells line by line; an error among them is raised."""
        buffer = b""
        for piece in self._post(path, body):
            *lines, buffer = (buffer + piece).split(b"\n")
            for line in lines:
                value = orjson.loads(line)
                if "error" in value:
                    raise _owner_error(value)
                yield value

    def trace(self, inference_id: str) -> dict[str, Any]:
        """One trace with its feedback, be it still on its way to the ledger."""
        found: dict[str, Any] = orjson.loads(b"".join(self._get(f"/api/traces/{quote(inference_id, safe='')}")))
        return found

    def _get(self, path: str) -> Iterator[bytes]:
        return self._send("GET", path, b"", {})

    def _post(self, path: str, body: Mapping[str, Any], eyes: Eyes | None = None) -> Iterator[bytes]:
        return self._send("POST", path, orjson.dumps(body), eyes.headers if eyes is not None else {})

    def _send(self, method: str, path: str, body: bytes, extra: Mapping[str, str]) -> Iterator[bytes]:
        parts = urlsplit(self.owner.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=600)
        headers = {"Authorization": f"Bearer {self.owner.token}", "Content-Type": "application/json", **extra}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _owner_error(orjson.loads(response.read()))
            while piece := response.read1(65_536):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            problem = f"the gateway at {self.owner.url} (process {self.owner.pid}) does not answer ({error})"
            raise WorkspaceBusyError(f"{problem}; wait for it, or stop it") from error
        finally:
            connection.close()


def _owner_error(body: Mapping[str, Any]) -> OwnerError:
    return OwnerError(body["error"]["message"], body["error"]["code"])
