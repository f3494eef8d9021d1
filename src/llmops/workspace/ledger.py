"""The part of a workspace that needs no vectors: files, ledger and registry; many processes may open it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.access import GroupBook
from llmops.clients.database import Database, open_database
from llmops.config import digest
from llmops.errors import NotFoundError, SpecError, StorageError
from llmops.ingestion.documents import DocumentLedger
from llmops.prompts import Prompt, parse_prompt
from llmops.records import ArtifactKind
from llmops.releases import Artifact, ArtifactBook, CollectionBook, ReleaseBook, VerdictBook
from llmops.serving.spec import RouteSpec
from llmops.settings import Settings, state_directory
from llmops.tracing import ContentVault, TraceReader
from llmops.workspace.files import WorkspaceFiles, load_files
from llmops.workspace.keys import KeyBook

if TYPE_CHECKING:
    from llmops.clients.mlflow import Registry


class Ledger:
    """An open ledger with the books that are kept in it.

    Raises:
        ConfigurationError: a committed file or a setting is wrong.
        StorageError: the ledger cannot be opened.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root, self.settings = root, settings
        self.files: WorkspaceFiles = load_files(root)
        self.state = state_directory(root)
        self.database: Database = open_database(settings.database_url, self.state / "ledger.sqlite3")
        self.vault = ContentVault(settings.trace_key, self.state / "trace.key")
        self.traces = TraceReader(self.database, self.vault)
        self.collections = CollectionBook(self.database)
        self.releases = ReleaseBook(self.database)
        self.artifacts = ArtifactBook(self.database)
        self.verdicts = VerdictBook(self.database)
        self.keys = KeyBook(self.database)
        self.groups = GroupBook(self.database)

    @cached_property
    def registry(self) -> Registry:
        """The MLflow registry, opened on first use: that takes seconds.

        Raises:
            MissingExtraError: MLflow is not installed.
            StorageError: it cannot be reached.
        """
        from llmops.clients.mlflow import open_registry

        return open_registry(self.settings.mlflow_tracking_uri, self.state)

    def released_prompt(self, name: str, alias: str) -> Prompt:
        """The prompt an alias stands for now.

        Raises:
            NotFoundError: it stands for nothing yet.
            StorageError: its content is not on the ledger.
        """
        now = self.releases.now("prompt", name, alias)
        if now is None:
            problem = f"no version of prompt {name!r} is {alias}"
            raise NotFoundError(f"{problem}; run `llmops prompt publish {name}`, {_how_to_point(name, alias)}")
        return self.stored_prompt(name, now.target)

    def stored_prompt(self, name: str, digest: str) -> Prompt:
        """A prompt whose content was published here.

        Raises:
            StorageError: it was not, or what is stored is another content than its digest says.
        """
        artifact = self.artifacts.get("prompt", name, digest)
        if artifact is None:
            cure = f"run `llmops prompt publish {name}` where the file is"
            raise StorageError(f"the content of prompt {name!r} ({digest[:12]}) is not on the ledger; {cure}")
        try:
            prompt = parse_prompt(artifact.content, f"{name}@{artifact.version or digest[:12]}")
        except SpecError as error:
            raise StorageError(f"the stored prompt {name!r} cannot be read ({error}); publish it again") from error
        if prompt.digest != digest:
            problem = f"the stored content of prompt {name!r} is not the one its digest {digest[:12]} names"
            raise StorageError(f"{problem}; publish the prompt again")
        return prompt

    def prompt_for(self, route: RouteSpec) -> Prompt | None:
        """The prompt with which a route answers now; None when it only forwards."""
        if route.released_prompt is not None:
            return self.released_prompt(*route.released_prompt)
        return self.files.prompt_of(route)

    def collection_digest(self, collection: str) -> str:
        """SHA-256 (hex) of a collection's content: its documents, and how they were cut and encoded."""
        shape = self.collections.get(collection)
        documents = DocumentLedger(self.database, collection).content_digest()
        return digest([documents, shape.embedder_digest, dict(shape.chunker)])

    def keep(self, contents: Mapping[tuple[ArtifactKind, str], tuple[str, str]]) -> None:
        """Store contents (digest and text) by kind and name, so that a hash on a trace can be read later."""
        self.artifacts.keep(
            [
                Artifact(kind=kind, name=name, digest=content_digest, content=content)
                for (kind, name), (content_digest, content) in contents.items()
            ]
        )

    def refresh(self) -> None:
        """Follow what other processes changed in the ledger."""
        self.collections.refresh()
        self.keys.refresh()
        self.groups.refresh()
        self.releases.refresh()

    def close(self) -> None:
        if "registry" in self.__dict__:
            self.registry.close()
        self.database.close()


def as_text(value: object) -> str:
    """A validated content as readable JSON, for the ledger."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _how_to_point(name: str, alias: str) -> str:
    if alias == "production":
        return f"then `llmops release promote prompt:{name}`"
    return f"then `llmops prompt alias {name} {alias} VERSION`"
