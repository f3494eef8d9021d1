"""A workspace brought to life: its files, its state, and the parts that work on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from llmops.clients.chat import OpenAIChat, Timeouts
from llmops.clients.database import open_database
from llmops.clients.protocols import ChatModel, Embedder, MetadataCondition
from llmops.config import beside
from llmops.errors import ConfigurationError
from llmops.ingestion.report import IngestReport
from llmops.ingestion.run import OnProgress, Options, ingest
from llmops.ingestion.shape import Indexer
from llmops.ingestion.spec import IngestionSpec
from llmops.records import Caller, Hit, Trace
from llmops.releases import CollectionBook
from llmops.retrieval import RetrievalSpec, Retriever
from llmops.serving.route import Route
from llmops.serving.spec import Endpoint, ExtractiveEndpoint, OpenAIEndpoint, Price, RouteSpec
from llmops.settings import Settings, state_directory
from llmops.tracing import ContentVault, FeedbackBook, TraceReader, TraceWriter
from llmops.workspace.files import WorkspaceFiles, load_files
from llmops.workspace.keys import KeyBook
from llmops.workspace.ownership import Ownership, take_ownership


class Workspace:
    """Everything a face needs, opened once and shared by its requests.

    Args:
        root: the workspace's folder.
        command: how this process is called, told to others who find it busy.

    Raises:
        ConfigurationError: a committed file or a setting is wrong.
        WorkspaceBusyError: another process owns the embedded vectors.
        StorageError: ledger or vectors cannot be opened.
    """

    def __init__(self, root: Path, settings: Settings, *, command: str) -> None:
        self.root, self.settings = root, settings
        self.files: WorkspaceFiles = load_files(root)
        state = state_directory(root)
        self.ownership: Ownership | None = None if settings.qdrant_url else take_ownership(root, command)
        try:
            self.database = open_database(settings.database_url, state / "ledger.sqlite3")
            self.vault = ContentVault(settings.trace_key, state / "trace.key")
            self.collections = CollectionBook(self.database)
            self.keys = KeyBook(self.database)
            from llmops.clients.vectors import open_store

            self.store = open_store(settings, state / "vectors")
        except BaseException:
            if self.ownership is not None:
                self.ownership.release()
            raise
        self.writer = TraceWriter(self.database, self.vault)
        self.feedback = FeedbackBook(self.database, self.writer)
        self.traces = TraceReader(self.database, self.vault)
        self.observers: list[Callable[[Trace], None]] = []
        self._embedders: dict[str, Embedder] = {}
        self._models: dict[str, ChatModel] = {}
        self._routes: dict[str, Route] = {}
        self._loading = threading.RLock()

    def embedder(self, model: str) -> Embedder:
        """The encoder of this name, loaded once."""
        with self._loading:
            if model not in self._embedders:
                from llmops.clients.embeddings import load_embedder

                cache = state_directory(self.root) / "models"
                self._embedders[model] = load_embedder(model, cache_dir=cache, threads=self.settings.n_threads)
            return self._embedders[model]

    def model(self, name: str) -> ChatModel:
        """The chat model behind an endpoint's name, made once."""
        with self._loading:
            if name not in self._models:
                self._models[name] = self._chat_model(name, self.files.models.endpoints[name])
            return self._models[name]

    def route(self, name: str) -> Route:
        """A route ready to answer.

        Raises:
            NotFoundError: no file in `serving/` has this name.
        """
        with self._loading:
            if name not in self._routes:
                self._routes[name] = self._build_route(self.files.route(name))
            return self._routes[name]

    def retriever(self, spec: RetrievalSpec) -> Retriever:
        """A retriever over the collection of a pipeline."""
        pipeline = self.files.pipeline(spec.collection)
        embedder = self.embedder(pipeline.encoder)
        return Retriever(spec=spec, store=self.store, embedder=embedder, collections=self.collections)

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
            SpecError: a file in the workspace is wrong now.
            NotFoundError: no pipeline has this name.
        """
        self.files = replace(self.files, pipelines=load_files(self.root).pipelines)
        return self.files.pipeline(name)

    def ingest(
        self, pipeline: IngestionSpec, *, options: Options, on_progress: OnProgress = lambda _: None
    ) -> IngestReport:
        """Run one pipeline."""
        indexer = Indexer(
            database=self.database, store=self.store, collections=self.collections, load_embedder=self.embedder
        )
        return ingest(pipeline, indexer, options=options, on_progress=on_progress)

    def record(self, trace: Trace) -> None:
        """Where the line leaves a finished trace."""
        self.writer.add(trace)
        for observe in self.observers:
            observe(trace)

    def refresh(self) -> None:
        """Follow what other processes changed in the ledger."""
        self.collections.refresh()
        self.keys.refresh()

    async def close_models(self) -> None:
        """Close the connections to model endpoints, in the event loop that used them."""
        for model in self._models.values():
            await model.close()

    def close(self) -> None:
        """Write what is queued and let go of the workspace."""
        self.writer.close()
        self.store.close()
        self.database.close()
        if self.ownership is not None:
            self.ownership.release()

    def _chat_model(self, name: str, endpoint: Endpoint) -> ChatModel:
        endpoint = effective_endpoint(endpoint, self.settings)
        if isinstance(endpoint, OpenAIEndpoint):
            return openai_chat(name, endpoint, self.settings)
        from llmops.clients.extractive import ExtractiveChat

        return ExtractiveChat(name=name, embedder=self.embedder(beside(self.files.models.file, endpoint.embedder)))

    def _build_route(self, spec: RouteSpec) -> Route:
        prompt = self.files.prompt_of(spec)
        endpoint = effective_endpoint(self.files.models.endpoints[spec.model], self.settings)
        if isinstance(endpoint, ExtractiveEndpoint) and prompt is None:
            problem = f"route {spec.name!r} has no prompt, and endpoint {spec.model!r} is extractive"
            raise ConfigurationError(f"{spec.file}: {problem}; give it a prompt, or an endpoint of type openai")
        hashes = {f"route:{spec.name}": spec.spec_hash, "models:models": self.files.models.spec_hash}
        if prompt is not None:
            hashes[f"prompt:{prompt.spec.name}"] = prompt.digest
        if spec.retrieval is not None:
            pipeline = self.files.pipeline(spec.retrieval.collection)
            hashes[f"ingestion:{pipeline.name}"] = pipeline.spec_hash
        return Route(
            spec=spec,
            model=self.model(spec.model),
            price=endpoint.price if isinstance(endpoint, OpenAIEndpoint) else Price(),
            prompt=prompt,
            retriever=self.retriever(spec.retrieval) if spec.retrieval else None,
            spec_hashes=hashes,
        )


def effective_endpoint(endpoint: Endpoint, settings: Settings) -> Endpoint:
    """The endpoint after the environment: `LLMOPS_CHAT_URL` answers in place of the extractive model."""
    if not isinstance(endpoint, ExtractiveEndpoint) or not settings.chat_url:
        return endpoint
    if not settings.chat_model:
        raise ConfigurationError("LLMOPS_CHAT_URL is set but LLMOPS_CHAT_MODEL is not; set it to the model's name")
    if not settings.chat_url.startswith(("http://", "https://")):
        raise ConfigurationError(f"LLMOPS_CHAT_URL {settings.chat_url!r} must begin with http:// or https://")
    return OpenAIEndpoint(
        type="openai", base_url=settings.chat_url, model=settings.chat_model, api_key_env="LLMOPS_CHAT_API_KEY"
    )


def openai_chat(name: str, endpoint: OpenAIEndpoint, settings: Settings) -> OpenAIChat:
    """The client of an OpenAI-compatible endpoint; its key comes from the environment."""
    variable = endpoint.api_key_env
    key = settings.chat_api_key if variable == "LLMOPS_CHAT_API_KEY" else os.environ.get(variable, "")
    if variable and not key and variable != "LLMOPS_CHAT_API_KEY":
        raise ConfigurationError(f"endpoint {name!r} needs its key in the environment variable {variable}")
    timeouts = Timeouts(**endpoint.timeouts.model_dump())
    return OpenAIChat(name=name, base_url=endpoint.base_url, model=endpoint.model, api_key=key, timeouts=timeouts)
