"""The vectors of an embedded workspace as another local process reaches them: through their owner, on loopback."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from llmops import errors
from llmops.clients.protocols import Filter, SearchSettings, StoreSettings
from llmops.clients.vectors.clauses import clauses
from llmops.clients.vectors.travelling import (
    packed_filter,
    packed_point,
    packed_sparse,
    packed_vector,
    unpacked_hits,
    unpacked_point,
)
from llmops.errors import LlmopsError, StorageError
from llmops.records import Point, ScoredId, SparseVector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TIMEOUT_S = 60
_PAUSE_S = 0.25  # between two looks for an owner that is gone
Address = tuple[str, str]
_SLICE = 64  # points a request carries
_MAX_BYTES = 4_000_000  # of points in a request; the owner takes 10 MB
_MAX_IDS = 50_000  # likewise
_KNOWN = (
    "BusyError",
    "CollectionShapeError",
    "ConfigurationError",
    "DocumentError",
    "NotFoundError",
    "RequestError",
    "StorageError",
    "TooLargeError",
)


class OwnerStore:
    """A `VectorStore` over the admin API of a running `llmops up`; safe for use by several threads.

    Args:
        url, token: of the owner, as it announced them to processes of the same user.
        find: where the owner is now, when it does not answer there any more; None while there is none.
        patience_s: how long a call waits for an owner that is being started again.
    """

    remote = True

    def __init__(
        self,
        url: str,
        token: str,
        *,
        find: Callable[[], Address | None] = lambda: None,
        patience_s: float = 0,
    ) -> None:
        self._url, self._token = url, token
        self._find, self._patience_s = find, patience_s
        self._is_closed = False

    def create(
        self,
        collection: str,
        *,
        dimension: int,
        metadata: Mapping[str, Any],
        settings: StoreSettings | None = None,
    ) -> None:
        """Make an empty collection."""
        how = asdict(settings) if settings is not None else None
        self._ask("create", collection=collection, dimension=dimension, metadata=dict(metadata), settings=how)

    def drop(self, collection: str) -> None:
        """Remove a collection; one that is not there is no error."""
        self._ask("drop", collection=collection)

    def collections(self) -> list[str]:
        """Names, in order."""
        return [str(name) for name in self._ask("collections")]

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Store points, replacing those of the same id."""
        for packed in _requests(points):
            self._ask("upsert", collection=collection, points=packed)

    def set_access(self, collection: str, document_id: str, *, acl: Sequence[str]) -> None:
        """Let these principals read the document, and nobody else."""
        self._ask("set_access", collection=collection, document_id=document_id, acl=list(acl))

    def delete_document(self, collection: str, document_id: str, *, keep: Collection[str] = ()) -> None:
        """Remove the document's points except the ids in `keep`."""
        self._ask("delete_document", collection=collection, document_id=document_id, keep=list(keep))

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Remove all points of these documents."""
        for start in range(0, len(document_ids), _MAX_IDS):
            ids = list(document_ids[start : start + _MAX_IDS])
            self._ask("delete_documents", collection=collection, document_ids=ids)

    def fetch(
        self, collection: str, chunk_ids: Sequence[str], *, where: Filter, vectors: bool = True
    ) -> dict[str, Point]:
        """The points with these ids that `where` lets through, in the order asked."""
        found: dict[str, Point] = {}
        wanted = list(dict.fromkeys(chunk_ids))
        for start in range(0, len(wanted), _SLICE):
            ids = wanted[start : start + _SLICE]
            packed = self._ask("fetch", collection=collection, chunk_ids=ids, where=_asked(where), vectors=vectors)
            found.update((point["id"], unpacked_point(point)) for point in packed)
        return found

    def count(self, collection: str, *, where: Filter) -> int:
        """How many points `where` lets through."""
        return int(self._ask("count", collection=collection, where=_asked(where)))

    def document_ids(self, collection: str) -> dict[str, int]:
        """Every document with the number of its points."""
        return dict(self._ask("document_ids", collection=collection))

    def search(
        self,
        collection: str,
        *,
        dense: NDArray[np.float32] | None,
        sparse: SparseVector | None,
        limit: int,
        where: Filter,
        settings: SearchSettings | None = None,
    ) -> tuple[list[ScoredId], list[ScoredId]]:
        """The best by cosine and the best by BM25."""
        found = self._ask(
            "search",
            collection=collection,
            dense=packed_vector(dense) if dense is not None else None,
            sparse=packed_sparse(sparse) if sparse is not None else None,
            limit=limit,
            where=_asked(where),
            settings=asdict(settings) if settings is not None else None,
        )
        return unpacked_hits(found[0]), unpacked_hits(found[1])

    def scroll(self, collection: str, *, where: Filter, batch: int = 256, vectors: bool = True) -> Iterator[Point]:
        """Every point that `where` lets through, in the order of ids."""
        self.count(collection, where=where)  # what is wrong is said now, and not where the points are read
        asked = {"collection": collection, "where": _asked(where), "batch": batch, "vectors": vectors}
        return (unpacked_point(self._parsed(line)) for line in self._lines("scroll", asked))

    def compact(self, collection: str) -> None:
        """Write the collection anew, without what was deleted."""
        self._ask("compact", collection=collection)

    def flush(self) -> None:
        """Make all writes durable against power loss."""
        self._ask("flush")

    def close(self) -> None:
        """Take no more calls; nothing is held open between them."""
        self._is_closed = True

    def _ask(self, call: str, **arguments: Any) -> Any:
        return self._parsed(b"".join(self._send(call, arguments)), "result")

    def _parsed(self, answer: bytes, field: str = "") -> Any:
        """JSON, or a field of it; an owner that dies may end its answer anywhere."""
        try:
            said = orjson.loads(answer)
            return said[field] if field else said
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            problem = f"the vectors' owner at {self._url} answered {answer[:100]!r}"
            raise StorageError(f"{problem}; is `llmops up` still running?") from error

    def _lines(self, call: str, arguments: Mapping[str, Any]) -> Iterator[bytes]:
        rest = b""
        for piece in self._send(call, arguments):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines

    def _send(self, call: str, arguments: Mapping[str, Any]) -> Iterator[bytes]:
        connection, response = self._answered(call, orjson.dumps(arguments))
        try:
            if response.status != 200:
                raise _error_of(response.read())
            while piece := response.read1(65_536):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise self._silence(error) from error
        finally:
            connection.close()

    def _answered(self, call: str, body: bytes) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The beginning of an answer; an owner that is started again is looked for and asked anew.

        Every call but `create` may be done twice, so that an answer that was lost is no loss.
        """
        until = time.monotonic() + self._patience_s
        while True:
            if self._is_closed:
                raise StorageError(f"the vector store at {self._url!r} is closed: open it again")
            parts = urlsplit(self._url)
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=_TIMEOUT_S)
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            try:
                connection.request("POST", f"/api/vectors/{call}", body, headers)
                response = connection.getresponse()
                is_another = response.status == 401 and self._is_elsewhere()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                is_lost = not isinstance(error, ConnectionRefusedError) and call == "create"
                if is_lost or time.monotonic() >= until:
                    raise self._silence(error) from error
                time.sleep(_PAUSE_S)
                self._is_elsewhere()
                continue
            if not is_another:
                return connection, response
            connection.close()

    def _is_elsewhere(self) -> bool:
        """Look for the owner; whether it has another address or token by now."""
        found = self._find()
        if found is None or found == (self._url, self._token):
            return False
        self._url, self._token = found
        return True

    def _silence(self, error: Exception) -> StorageError:
        problem = f"the vectors' owner at {self._url} does not answer ({error!r})"
        return StorageError(f"{problem}; is `llmops up` still running?")


def _requests(points: Sequence[Point]) -> Iterator[list[dict[str, Any]]]:
    """The points packed, as many together as a request may carry."""
    packed: list[dict[str, Any]] = []
    n_bytes = 0
    for point in points:
        one = packed_point(point)
        size = len(orjson.dumps(one))
        if packed and (len(packed) >= _SLICE or n_bytes + size > _MAX_BYTES):
            yield packed
            packed, n_bytes = [], 0
        packed.append(one)
        n_bytes += size
    if packed:
        yield packed


def _asked(where: Filter) -> dict[str, Any]:
    """The filter, checked here: JSON would make something else of some values that no engine takes.

    Raises:
        RequestError: it asks for what cannot be compared.
    """
    clauses(where)
    return packed_filter(where)


def _error_of(body: bytes) -> LlmopsError:
    """The owner's error, as it would have been raised here."""
    try:
        said = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return StorageError(f"the vectors' owner answered {body[:100]!r}; look at its log")
    name = f"{said['code']}Error"
    kind: type[LlmopsError] = getattr(errors, name) if name in _KNOWN else StorageError
    return kind(said["message"])
