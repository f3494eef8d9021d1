"""A workspace brought to life: its files, its state, and the parts that work on them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from llmops.clients.embeddings.source import EncoderSource, OnnxSource
from llmops.clients.protocols import ChatModel, Embedder, MetadataCondition, VectorStore
from llmops.config import beside
from llmops.errors import BusyError, ConfigurationError, LlmopsError
from llmops.guardrails.guard import Guard
from llmops.ingestion.erasure import n_forgotten
from llmops.ingestion.report import IngestReport
from llmops.ingestion.run import OnProgress, Options, ingest
from llmops.ingestion.shape import Indexer
from llmops.ingestion.sources.protocol import Item
from llmops.ingestion.spec import IngestionSpec
from llmops.prompts import Prompt
from llmops.records import ArtifactKind, Caller, Hit, Trace
from llmops.releases import CollectionShape
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.retrieval.reranking import open_reranker
from llmops.retrieval.spec import ModelRewrite
from llmops.serving.route import Route
from llmops.serving.spec import Endpoint, ExtractiveEndpoint, OpenAIEndpoint, Price, RouteSpec
from llmops.settings import Settings, state_directory
from llmops.tracing import FeedbackBook, TraceWriter
from llmops.workspace.endpoints import effective_endpoint, model_digest, openai_chat
from llmops.workspace.files import WorkspaceFiles, load_files, load_pipelines, pipeline_marks, unfilled
from llmops.workspace.following import FollowingRetriever, spec_of
from llmops.workspace.ledger import Ledger, as_text
from llmops.workspace.ownership import Ownership, find_owner, take_ownership

_log = logging.getLogger("llmops.workspace")
_TURN_S = 60
_OWNER_COMES_BACK_S = 120  # what a worker waits for a gateway that is started again


class Workspace:
    """Everything a face needs, opened once and shared by its requests.

    Args:
        root: the workspace's folder.
        command: how this process is called, told to others who find it busy.
        joins: work beside the gateway that owns the embedded vectors, through it, instead of owning them.

    Raises:
        ConfigurationError: a committed file or a setting is wrong.
        WorkspaceBusyError: another process owns the embedded vectors.
        StorageError: ledger or vectors cannot be opened.
    """

    def __init__(self, root: Path, settings: Settings, *, command: str, joins: bool = False) -> None:
        self.root, self.settings = root, settings
        load_files(root)  # what is wrong in a file is said before anything is locked or made
        owns = not settings.qdrant_url and not joins
        self.ownership: Ownership | None = take_ownership(root, command) if owns else None
        try:
            self.ledger = Ledger(root, settings)
            self.store = _open_store(root, settings, owns=owns)
        except BaseException:
            if self.ownership is not None:
                self.ownership.release()
            raise
        self.files: WorkspaceFiles = self.ledger.files
        self.database, self.vault = self.ledger.database, self.ledger.vault
        self.collections, self.keys, self.groups = self.ledger.collections, self.ledger.keys, self.ledger.groups
        self.traces = self.ledger.traces
        self.writer = TraceWriter(self.database, self.vault)
        self.feedback = FeedbackBook(self.database, self.writer)
        self.observers: list[Callable[[Trace], None]] = []
        self._embedders: dict[EncoderSource, Embedder] = {}
        self._encoders: dict[tuple[str, str], Embedder] = {}
        self._models: dict[str, ChatModel] = {}
        self._guards: dict[str, Guard] = {}
        self._routes: dict[str, Route] = {}
        self._pipeline_marks = pipeline_marks(root)
        self._turns: dict[str, threading.Lock] = {}
        self._loading = threading.RLock()
        self._n_forgotten = n_forgotten(self.database)

    def embedder(self, source: EncoderSource) -> Embedder:
        """The encoder from this source, loaded once."""
        with self._loading:
            if source not in self._embedders:
                from llmops.clients.embeddings import load_embedder_for

                cache = state_directory(self.root) / "models"
                threads = self.settings.n_threads
                self._embedders[source] = load_embedder_for(source, cache_dir=cache, threads=threads)
            return self._embedders[source]

    def model(self, name: str) -> ChatModel:
        """The chat model behind an endpoint's name, made once."""
        with self._loading:
            if name not in self._models:
                self._models[name] = self._chat_model(name, self.files.models.endpoints[name])
            return self._models[name]

    def guard(self, name: str) -> Guard:
        """The policy of this name, made once."""
        with self._loading:
            if name not in self._guards:
                self._guards[name] = Guard(self.files.policy(name))
            return self._guards[name]

    def route(self, name: str) -> Route:
        """A route ready to answer.

        Raises:
            NotFoundError: no file in `serving/` has this name, or no version of its prompt was released.
        """
        if (built := self._routes.get(name)) is not None:
            return built  # a model that is being loaded must not hold up the others
        with self._loading:
            if name not in self._routes:
                spec = self.files.route(name)
                route = self.build_route(spec, self.ledger.prompt_for(spec))
                self._keep_contents(route)
                self._routes[name] = route
            return self._routes[name]

    def retriever(self, spec: RetrievalSpec, *, pinned: str | None = None, file: str = "") -> Retriever:
        """A retriever over the collection of a pipeline, or over the one that is pinned.

        Args:
            file: the route's, from which the folder of a reranker is found.
        """
        retriever = FollowingRetriever(
            spec=spec,
            store=self.store,
            encoder_of=partial(self.encoder_of, self.files.pipeline(spec.collection)),
            collections=self.collections,
            groups=self.groups,
            reranker=open_reranker(spec.rerank, file=file) if spec.rerank is not None else None,
            pinned=pinned,
        )
        if isinstance(spec.rewrite, ModelRewrite) and spec.rewrite.endpoint in self.files.models.endpoints:
            retriever.rewriter = self.model(spec.rewrite.endpoint)
        return retriever

    def encoder_of(self, pipeline: IngestionSpec, shape: CollectionShape | None) -> Embedder:
        """The encoder that a collection was made with, also when its pipeline's file names another by now."""
        if shape is None:
            return self.embedder(pipeline.encoder)
        key = (shape.collection, shape.embedder_digest)
        with self._loading:
            if key in self._encoders:
                return self._encoders[key]
            # What the file says comes first: it may have another prefix for questions, which changes no vector.
            made_by = spec_of(self.ledger.artifacts, shape, pipeline)
            for spec in (pipeline, made_by):
                with suppress(ConfigurationError):  # its folder may be gone, and the other one's be there
                    found = self.embedder(spec.encoder) if spec is not None else None
                    if found is not None and found.digest == shape.embedder_digest:
                        return self._encoders.setdefault(key, found)
            return self.embedder(pipeline.encoder)  # it does not fit, and who searches is told

    def search(
        self,
        query: str,
        *,
        spec: RetrievalSpec,
        caller: Caller,
        k: int | None = None,
        metadata: Mapping[str, MetadataCondition] | None = None,
    ) -> list[Hit]:
        """The best passages for a query that this caller may read."""
        retriever = self.retriever(spec)
        return retriever.search(retriever.embed(query), caller, k=k, metadata=metadata)

    def pipeline(self, name: str) -> IngestionSpec:
        """A pipeline as its file says now: who changes an `acl` must not have to restart anything.

        Raises:
            SpecError: a file in `ingestion/` is wrong now.
            NotFoundError: no pipeline has this name.
        """
        self.files = replace(self.files, pipelines=load_pipelines(self.root))
        return self.files.pipeline(name)

    def pipelines(self) -> list[IngestionSpec]:
        """All pipelines as their files say now; read again only when one of them changed."""
        marks = pipeline_marks(self.root)
        if marks != self._pipeline_marks:
            self.files = replace(self.files, pipelines=load_pipelines(self.root))
            self._pipeline_marks = marks
        return list(self.files.pipelines.values())

    def ingest(
        self,
        pipeline: IngestionSpec,
        *,
        options: Options,
        on_progress: OnProgress = lambda _: None,
        only: Callable[[], Sequence[Item]] | None = None,
    ) -> IngestReport:
        """Run one pipeline, or bring in just the documents that `only` looks up; one at a time for each pipeline.

        Raises:
            BusyError: another ingestion of it has gone on for too long to wait for.
        """
        with self._loading:
            turn = self._turns.setdefault(pipeline.name, threading.Lock())
        if not turn.acquire(timeout=_TURN_S):
            raise BusyError(f"an ingestion of {pipeline.name!r} is running; try again when it is done")
        try:
            return ingest(pipeline, self.indexer, options=options, on_progress=on_progress, only=only)
        finally:
            turn.release()

    @property
    def indexer(self) -> Indexer:
        """The parts that an ingestion works with."""
        return Indexer(
            database=self.database,
            store=self.store,
            collections=self.collections,
            load_embedder=lambda pipeline: self.embedder(pipeline.encoder),
            groups=self.groups,
            state=state_directory(self.root) / "sources",
        )

    def record(self, trace: Trace) -> None:
        """Where the line leaves a finished trace."""
        self.writer.add(trace)
        for observe in self.observers:
            observe(trace)

    def refresh(self) -> None:
        """Follow what other processes changed in the ledger: keys, collections, and released prompts."""
        self.ledger.refresh()
        if n_forgotten(self.database) != self._n_forgotten:
            self.drop_caches()
        with self._loading:
            built = list(self._routes.items())
        for name, route in built:
            try:
                if self._has_new_prompt(route) or self._has_new_recipe(route):
                    self._follow(name, route)
            except LlmopsError as error:
                _log.warning("route %r goes on with what it has: %s", name, error)

    def drop_caches(self) -> None:
        """Let go of texts and their vectors that answers were made with; routes are built again when asked for."""
        with self._loading:
            self._routes.clear()
            for name, endpoint in self.files.models.endpoints.items():
                if isinstance(effective_endpoint(endpoint, self.settings), ExtractiveEndpoint):
                    self._models.pop(name, None)
            self._n_forgotten = n_forgotten(self.database)

    def _has_new_prompt(self, route: Route) -> bool:
        released = route.spec.released_prompt
        now = self.ledger.releases.now("prompt", *released) if released is not None else None
        return now is not None and route.prompt is not None and now.target != route.prompt.digest

    def _has_new_recipe(self, route: Route) -> bool:
        """Whether the pipeline changed since, and the collection that answers is already made by it."""
        if route.spec.retrieval is None:
            return False
        pipeline = self.files.pipelines.get(route.spec.retrieval.collection)
        if pipeline is None or route.spec_hashes[f"ingestion:{pipeline.name}"] == pipeline.spec_hash:
            return False
        serving = self.collections.serving(pipeline.name)
        return serving is not None and serving.embedder_digest == self.embedder(pipeline.encoder).digest

    def _follow(self, name: str, route: Route) -> None:
        """Answer from the new content from the next request on."""
        fresh = self.build_route(route.spec, self.ledger.prompt_for(route.spec))
        self._keep_contents(fresh)
        with self._loading:
            self._routes[name] = fresh

    async def close_models(self) -> None:
        """Close the connections to model endpoints, in the event loop that used them."""
        for model in self._models.values():
            await model.close()

    def close(self) -> None:
        """Write what is queued and let go of the workspace."""
        self.writer.close()
        for embedder in self._embedders.values():
            if (end := getattr(embedder, "close", None)) is not None:
                end()
        self.store.close()
        self.ledger.close()
        if self.ownership is not None:
            self.ownership.release()

    def _chat_model(self, name: str, endpoint: Endpoint) -> ChatModel:
        endpoint = effective_endpoint(endpoint, self.settings)
        if isinstance(endpoint, OpenAIEndpoint):
            return openai_chat(name, endpoint, self.settings)
        from llmops.clients.extractive import ExtractiveChat

        encoder = OnnxSource(model=beside(self.files.models.file, endpoint.embedder))
        return ExtractiveChat(name=name, embedder=self.embedder(encoder))

    def build_route(self, spec: RouteSpec, prompt: Prompt | None, *, pinned: str | None = None) -> Route:
        """A route with this prompt, over the collection its name stands for or the one that is pinned."""
        endpoint = effective_endpoint(self.files.models.endpoints[spec.model], self.settings)
        if isinstance(endpoint, ExtractiveEndpoint) and prompt is None:
            problem = f"route {spec.name!r} has no prompt, and endpoint {spec.model!r} is extractive"
            raise ConfigurationError(f"{spec.file}: {problem}; give it a prompt, or an endpoint of type openai")
        if prompt is not None and (needed := unfilled(prompt)):
            problem = f"prompt {prompt.spec.name!r} needs {needed!r}, which a route cannot give"
            raise ConfigurationError(f"{spec.file}: {problem}; a route gives question and passages")
        named = (prompt.spec.name, prompt.digest) if prompt is not None else None
        hashes = route_hashes(self.files, self.settings, spec, prompt=named)
        if spec.retrieval is not None:
            pipeline = self.files.pipeline(spec.retrieval.collection)
            hashes[f"ingestion:{pipeline.name}"] = pipeline.spec_hash
        return Route(
            spec=spec,
            model=self.model(spec.model),
            price=endpoint.price if isinstance(endpoint, OpenAIEndpoint) else Price(),
            prompt=prompt,
            retriever=self.retriever(spec.retrieval, pinned=pinned, file=spec.file) if spec.retrieval else None,
            guard=self.guard(spec.guardrails) if spec.guardrails else None,
            spec_hashes=hashes,
        )

    def _keep_contents(self, route: Route) -> None:
        """Every hash on a trace can be read again: its content goes to the ledger once."""
        spec, hashes = route.spec, route.spec_hashes
        endpoint = effective_endpoint(self.files.models.endpoints[spec.model], self.settings)
        texts: dict[tuple[ArtifactKind, str], str] = {
            ("route", spec.name): as_text(spec.model_dump(mode="json")),
            ("model", spec.model): as_text(endpoint.model_dump(mode="json")),
        }
        if route.prompt is not None:
            texts[("prompt", route.prompt.spec.name)] = route.prompt.text
        if spec.guardrails is not None:
            policy = self.files.policy(spec.guardrails)
            texts[("guardrails", spec.guardrails)] = as_text(policy.model_dump(mode="json"))
        if spec.retrieval is not None:
            pipeline = self.files.pipeline(spec.retrieval.collection)
            texts[("ingestion", pipeline.name)] = as_text(pipeline.model_dump(mode="json"))
        self.ledger.keep({(k, n): (hashes[f"{k}:{n}"], text) for (k, n), text in texts.items()})


def _open_store(root: Path, settings: Settings, *, owns: bool) -> VectorStore:
    """The server, the embedded engine, or the embedded engine of the gateway that runs on this workspace."""
    from llmops.clients.vectors import open_store
    from llmops.clients.vectors.owner import OwnerStore

    if owns or settings.qdrant_url:
        return open_store(settings, state_directory(root) / "vectors")

    def find() -> tuple[str, str] | None:
        owner = find_owner(root)
        return (owner.url, owner.token) if owner is not None and owner.url else None

    if (address := find()) is None:
        problem = f"no gateway runs on the workspace {str(root)!r}"
        raise ConfigurationError(f"{problem}; start `llmops up` first, or set LLMOPS_QDRANT_URL")
    return OwnerStore(*address, find=find, patience_s=_OWNER_COMES_BACK_S)


def route_hashes(
    files: WorkspaceFiles, settings: Settings, spec: RouteSpec, *, prompt: tuple[str, str] | None
) -> dict[str, str]:
    """What an answer of this route is made of besides documents, "kind:name" to digest.

    One rule for what a trace says, what a verdict measured and what a release needs evidence for.

    Args:
        prompt: its name and digest.
    """
    endpoint = effective_endpoint(files.models.endpoints[spec.model], settings)
    hashes = {f"route:{spec.name}": spec.shaping_hash, f"model:{spec.model}": model_digest(endpoint)}
    if prompt is not None:
        hashes[f"prompt:{prompt[0]}"] = prompt[1]
    if spec.guardrails is not None:
        hashes[f"guardrails:{spec.guardrails}"] = files.policy(spec.guardrails).spec_hash
    return hashes
