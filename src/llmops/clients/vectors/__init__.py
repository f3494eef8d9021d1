"""The door to Qdrant: Edge in this process, or a server; callers see one `VectorStore`."""

from __future__ import annotations

from pathlib import Path

from llmops.clients.protocols import VectorStore
from llmops.errors import MissingExtraError
from llmops.settings import Settings

__all__ = ["open_store"]


def open_store(settings: Settings, directory: Path) -> VectorStore:
    """The server at `settings.qdrant_url`, or Qdrant Edge in `directory` where none is set.

    Raises:
        MissingExtraError: the engine's package is not installed.
        ConfigurationError: the server's address cannot be used.
        WorkspaceBusyError: another process owns `directory`.
        StorageError: `directory` cannot be written.
    """
    package = "qdrant-client" if settings.qdrant_url else "qdrant-edge-py"
    try:
        if settings.qdrant_url:
            from llmops.clients.vectors.server import ServerStore

            return ServerStore(settings.qdrant_url, settings.qdrant_api_key)
        from llmops.clients.vectors.edge import EdgeStore

        return EdgeStore(directory)
    except ModuleNotFoundError as exc:
        if exc.name not in ("qdrant_client", "qdrant_edge"):
            raise
        raise MissingExtraError(package, "ingest") from exc
