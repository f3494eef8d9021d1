"""The Python face: `llmops.open(DIR)` gives a notebook the verbs of the command line, with typed results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from anyio.from_thread import start_blocking_portal

from llmops.clients.protocols import MetadataCondition
from llmops.errors import RequestError
from llmops.evals.report import SuiteReport
from llmops.ingestion.report import IngestReport
from llmops.ingestion.run import Options
from llmops.records import EVERYONE, Answer, Caller, Feedback, Hit, Trace
from llmops.retrieval import RetrievalSpec
from llmops.serving.answer import Question, answer
from llmops.serving.conversation import Conversation
from llmops.settings import Settings
from llmops.workspace.evaluation import Target, conclude, prepare
from llmops.workspace.opened import Workspace


class Notebook:
    """An open workspace; use it in a `with` block, or call `close`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._stack = ExitStack()
        self._stack.callback(workspace.close)
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.callback(lambda: self._portal.call(workspace.close_models))

    def ingest(self, pipeline: str, *, rebuild: bool = False, allow_empty: bool = False) -> IngestReport:
        """Bring a pipeline's collection in line with its source."""
        spec = self._workspace.files.pipeline(pipeline)
        return self._workspace.ingest(spec, options=Options(rebuild=rebuild, allow_empty=allow_empty))

    def search(
        self,
        query: str,
        *,
        collection: str,
        k: int = 8,
        principals: Sequence[str] = (),
        metadata: Mapping[str, MetadataCondition] | None = None,
    ) -> list[Hit]:
        """The best `k` passages that these principals may read, best first."""
        spec = RetrievalSpec(collection=self._workspace.files.pipeline(collection).name)
        return self._workspace.search(query, spec=spec, caller=_caller(principals), k=k, metadata=metadata)

    def ask(self, question: str, *, route: str | None = None, principals: Sequence[str] = ()) -> Answer:
        """An answer with its citations; `route` may be left out when there is only one."""
        names = [spec.name for spec in self._workspace.files.routes.values() if spec.prompt is not None]
        if route is None and len(names) != 1:
            raise RequestError(f"name a route: there is {', '.join(sorted(names)) or 'none'}")
        asked = Question(
            conversation=Conversation(question=question, history=()), caller=_caller(principals), parameters={}
        )
        built = self._workspace.route(route or names[0])
        return self._portal.call(partial(answer, built, asked, self._workspace.record))

    def evaluate(self, suite: str, *, prompt: str | None = None, collection: str | None = None) -> SuiteReport:
        """Run a suite and store its verdict.

        Args:
            prompt: a file, `name`, `name@3` or `name@alias` to measure; by default the route's file.
            collection: physical name of a collection to measure; by default the one that answers.
        """
        prepared = prepare(self._workspace, suite, Target(prompt=prompt, collection=collection))
        report = self._portal.call(prepared.run)
        conclude(self._workspace.ledger, report.as_json())
        return report

    def feedback(
        self, inference_id: str, value: bool | float | str, *, name: str = "thumb", comment: str = ""
    ) -> str:
        """Say what an answer was worth; returns the feedback's id once it is stored."""
        given = Feedback(inference_id=inference_id, name=name, value=value, comment=comment, caller="notebook")
        return self._workspace.feedback.add(given)

    def trace(self, inference_id: str) -> Trace:
        """Everything that happened for one answer."""
        self._workspace.writer.flush()
        return self._workspace.traces.get(inference_id)

    def close(self) -> None:
        """Write what is queued and let go of the workspace."""
        self._stack.close()

    def __enter__(self) -> Notebook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_notebook(directory: str | Path = ".") -> Notebook:
    """Open the workspace in `directory`.

    Raises:
        ConfigurationError: it is no workspace, or a file in it is wrong.
        WorkspaceBusyError: another process, such as `llmops up`, owns it.
    """
    return Notebook(Workspace(Path(directory), Settings.from_environment(), command="llmops.open"))


def _caller(principals: Sequence[str]) -> Caller:
    return Caller(name="notebook", role="admin", principals=tuple(dict.fromkeys((*principals, EVERYONE))))
