"""The registry as the rest of llmops sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llmops.clients.mlflow import prompts, runs
from llmops.clients.mlflow.failures import translated
from llmops.clients.mlflow.place import Place
from llmops.clients.mlflow.records import EvalRun, PromptContent, PromptVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from llmops.clients.mlflow.database import Store


class Registry:
    """An open registry; every error of MLflow leaves as one of ours. It may be shared by threads.

    Attributes:
        place: its URI without user and password.

    Raises:
        StorageError: (every method) the server cannot be reached, or the database failed.
        ConfigurationError: (every method) the server refused the credentials.
    """

    def __init__(self, client: MlflowClient, place: Place, stores: Sequence[Store] = ()) -> None:
        self._client, self._place, self._stores = client, place, stores
        self.place = place.shown

    def publish(self, content: PromptContent) -> tuple[PromptVersion, bool]:
        """The version of this content, and whether it is new; one digest is one version, for many publishers too.

        Raises:
            RequestError: the name, digest or a tag cannot be kept, or the name is taken by a model.
            TooLargeError: the text or message is longer than MLflow keeps.
        """
        with translated(self._place):
            return prompts.publish(self._client, content)

    def versions(self, name: str) -> list[PromptVersion]:
        """All versions of a prompt, oldest first.

        Raises:
            NotFoundError: there is no such prompt.
        """
        with translated(self._place):
            return prompts.versions(self._client, name)

    def version(self, name: str, version: int) -> PromptVersion:
        """One version of a prompt.

        Raises:
            NotFoundError: there is no such prompt or version.
        """
        with translated(self._place):
            return prompts.version(self._client, name, version)

    def names(self) -> list[str]:
        """All prompts, sorted."""
        with translated(self._place):
            return prompts.names(self._client)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let `alias` point to `version`, wherever it pointed before.

        Raises:
            NotFoundError: there is no such prompt or version.
            RequestError: MLflow does not take the alias: letters, digits, '_', '-'; not 'latest' nor 'v1'.
        """
        with translated(self._place):
            prompts.set_alias(self._client, name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove `alias`; nothing happens where there is none.

        Raises:
            NotFoundError: there is no such prompt.
        """
        with translated(self._place):
            prompts.delete_alias(self._client, name, alias)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias to version, sorted by alias.

        Raises:
            NotFoundError: there is no such prompt.
        """
        with translated(self._place):
            return prompts.aliases(self._client, name)

    def log_eval(self, run: EvalRun) -> str:
        """The new run's id; its experiment is made where there is none.

        Raises:
            RequestError: MLflow does not take a name or value.
            TooLargeError: a param or tag is longer than MLflow keeps.
            ConfigurationError: the experiment is deleted in MLflow.
        """
        with translated(self._place):
            return runs.log(self._client, self._place, run)

    def find_runs(
        self, experiment: str, tags: Mapping[str, str], limit: int = 20
    ) -> list[tuple[str, dict[str, str]]]:
        """Ended runs of an experiment that carry all of `tags`, newest first: run id and the tags we logged."""
        with translated(self._place):
            return list(runs.find(self._client, experiment, tags, limit))

    def artifact(self, run_id: str, name: str) -> str:
        """An artifact's text.

        Raises:
            NotFoundError: there is no such run or artifact.
        """
        with translated(self._place):
            return runs.artifact(self._client, self._place, run_id, name)

    def close(self) -> None:
        """Give back the connections to a database."""
        for store in self._stores:
            store.engine.dispose()
