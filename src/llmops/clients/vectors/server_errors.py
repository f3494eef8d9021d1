"""What a Qdrant server or the way to it says when something is wrong, as one of our errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from llmops.clients.vectors.names import unknown_collection
from llmops.errors import (
    BusyError,
    CollectionShapeError,
    ConfigurationError,
    LlmopsError,
    NotFoundError,
    StorageError,
)

_DIMENSION = re.compile(r"expected dim: (\d+), got (\d+)")
_MISSING = re.compile(r"Collection .* (?:doesn't exist|not found)")


class Server:
    """Where a server is, and what its failures mean.

    Args:
        url: as set; a user and password in it are never shown.
        known: asks for the collections there are.

    Raises:
        ConfigurationError: `url` is not an address.
    """

    def __init__(self, url: str, timeout_s: float, known: Callable[[], list[str]]) -> None:
        try:
            parts = urlsplit(url)
        except ValueError as exc:
            raise ConfigurationError(
                f"LLMOPS_QDRANT_URL is not an address ({exc}): write it like http://HOST:6333"
            ) from exc
        self.shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._timeout_s, self._known = timeout_s, known

    @contextmanager
    def calling(self, collection: str = "") -> Iterator[None]:
        """Around every call of the client: its errors become ours."""
        try:
            yield
        except ResponseHandlingException as exc:
            raise self._unreachable(exc.source) from exc
        except ResourceExhaustedResponse as exc:
            raise self._busy(f" in {exc.retry_after_s} s") from exc
        except UnexpectedResponse as exc:
            text = exc.content.decode("utf-8", "replace")
            raise self._refused(collection, exc.status_code or 0, text) from exc
        except json.JSONDecodeError as exc:
            raise self._not_qdrant() from exc
        except ValueError as exc:
            # the client's in-process form says in a ValueError what a server says in a 400 or 404
            raise self._refused(collection, 0, str(exc)) from exc

    def _unreachable(self, source: Exception) -> LlmopsError:
        kind = type(source).__name__
        if "Timeout" in kind:
            return StorageError(
                f"Qdrant at {self.shown!r} did not answer within {self._timeout_s:g} s: "
                "check the server, and LLMOPS_QDRANT_URL"
            )
        if kind == "ValidationError":
            return self._not_qdrant()
        return StorageError(
            f"Qdrant at {self.shown!r} cannot be reached ({source}): start it, or mend LLMOPS_QDRANT_URL"
        )

    def _not_qdrant(self) -> StorageError:
        return StorageError(f"{self.shown!r} does not answer like Qdrant: check LLMOPS_QDRANT_URL")

    def _busy(self, when: str) -> BusyError:
        return BusyError(f"Qdrant at {self.shown!r} is over its limit: try again{when}")

    def _refused(self, collection: str, status: int, text: str) -> LlmopsError:
        if status in (401, 403):
            return ConfigurationError(
                f"Qdrant at {self.shown!r} refused the key (status {status}): "
                "set LLMOPS_QDRANT_API_KEY to one that may read and write"
            )
        if status == 429:
            return self._busy("")
        if _MISSING.search(text):
            return NotFoundError(unknown_collection(collection, self._known()))
        if found := _DIMENSION.search(text):
            return CollectionShapeError(
                f"collection {collection!r} holds vectors of {found[1]} numbers, not {found[2]}: "
                "build a new collection for another embedder with `llmops ingest run NAME --rebuild`"
            )
        if "already exists" in text:
            return ConfigurationError(f"collection {collection!r} exists already: drop it first")
        if status == 404:
            return self._not_qdrant()
        said = " ".join(text.split())[:300]
        return StorageError(
            f"Qdrant at {self.shown!r} cannot serve collection {collection!r} (status {status}: {said}): "
            "see the server's log"
        )
