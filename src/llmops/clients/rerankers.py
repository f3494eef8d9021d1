"""What a reranker promises, and the door to those behind HTTP (`POST /rerank` as Cohere, Jina and vLLM speak it).

Searches are synchronous and run in threads, so this door is synchronous too: httpx, where chat uses aiohttp.
"""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from llmops.errors import (
    EndpointProtocolError,
    EndpointRejectedError,
    EndpointTimeoutError,
    EndpointUnreachableError,
    MissingExtraError,
)
from llmops.records import Chunk

if TYPE_CHECKING:
    import httpx

_MAX_BODY_BYTES = 16_000_000
_CURES = {
    401: "set the variable that api_key_env names",
    403: "set the variable that api_key_env names",
    404: "are url and model right?",
    429: "try again later",
    503: "try again",
}


class Reranker(Protocol):
    """Says how well passages answer a question. Called from several threads.

    Attributes:
        name: what errors and traces call it.
    """

    name: str

    def score(self, query: str, chunks: Sequence[Chunk]) -> Sequence[float]:
        """One finite number a chunk, in the order given; a larger one is better.

        Raises:
            EndpointError: it cannot answer now.
        """
        ...


class EndpointReranker:
    """A rerank server.

    Args:
        url: the whole address.
        model: what the server calls its model.
        api_key: sent as a bearer token, or "".
        timeout_s: longest wait for the whole answer.

    Raises:
        MissingExtraError: httpx is not installed.
    """

    def __init__(self, *, url: str, model: str, api_key: str = "", timeout_s: float = 5.0) -> None:
        self.name, self._url, self._model, self._timeout_s = f"rerank:{model}", url, model, timeout_s
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._client = _client()

    def score(self, query: str, chunks: Sequence[Chunk]) -> list[float]:
        """As `Reranker.score`; passages that the server leaves out come after those it names, in their order.

        Raises:
            EndpointError: it cannot be reached, is too slow, refuses, or answers nonsense.
        """
        documents = [chunk.embedded_text for chunk in chunks]
        if not documents:
            return []
        body = {"model": self._model, "query": query, "documents": documents, "top_n": len(documents)}
        raw = self._post(orjson.dumps(body))
        scores = self._read(raw, len(documents))
        lowest = min(scores.values())
        return [scores.get(index, lowest - 1.0 - index) for index in range(len(documents))]

    def _post(self, body: bytes) -> bytes:
        """Each read may take the time that is left, and the whole no longer than `timeout_s` and one read."""
        deadline = time.monotonic() + self._timeout_s
        with (
            self._mapped(),
            self._client.stream(
                "POST", self._url, content=body, headers=self._headers, timeout=self._timeout_s
            ) as response,
        ):
            parts, size = [], 0
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > _MAX_BODY_BYTES:
                    raise self._nonsense(f"more than {_MAX_BODY_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise self._too_slow()
            raw = b"".join(parts)
            if response.status_code >= 300:
                raise self._rejected(response, raw)
            return raw

    def _read(self, raw: bytes, n: int) -> dict[int, float]:
        try:
            value = orjson.loads(raw)
            results = value["results"]
            scores: dict[int, float] = {}
            for result in results:
                index, score = result["index"], result["relevance_score"]
                is_number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
                if type(index) is not int or not 0 <= index < n or index in scores or not is_number:
                    raise self._nonsense(repr(result)[:80])
                scores[index] = float(score)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise self._nonsense(repr(raw[:80].decode("utf-8", "replace"))) from error
        if not scores:
            raise self._nonsense("no results")
        return scores

    def _nonsense(self, shown: str) -> EndpointProtocolError:
        problem = f"rerank endpoint {self._url!r} answered with something that is not a ranking: {shown}"
        return EndpointProtocolError(f"{problem}; does it speak POST /rerank?", endpoint=self.name)

    def _too_slow(self) -> EndpointTimeoutError:
        problem = f"rerank endpoint {self._url!r} did not answer within {self._timeout_s:g} s"
        return EndpointTimeoutError(f"{problem}; try again, or raise timeout_s", endpoint=self.name)

    def _rejected(self, response: httpx.Response, raw: bytes) -> EndpointRejectedError:
        status = response.status_code
        cure = _CURES.get(status, "look at its log" if status >= 500 else "")
        said = _said(raw) or response.reason_phrase or "no reason given"
        if status < 400:
            said, cure = f"it redirects to {response.headers.get('Location')!r}", "write that as its url"
        problem = f"rerank endpoint {self._url!r} refused the request ({status}): {said}"
        return EndpointRejectedError(
            f"{problem.rstrip('.')}; {cure}" if cure else problem,
            endpoint=self.name,
            status=status,
            retry_after=response.headers.get("Retry-After"),
        )

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """httpx's errors as ours, most specific first."""
        import httpx

        try:
            yield
        except httpx.TimeoutException as error:
            raise self._too_slow() from error
        except httpx.ConnectError as error:
            problem = f"rerank endpoint {self._url!r} cannot be reached ({error})"
            raise EndpointUnreachableError(f"{problem}; start it, or mend its url", endpoint=self.name) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            problem = f"rerank endpoint {self._url!r} has no valid url ({error})"
            raise EndpointUnreachableError(
                f"{problem}; mend it in the route's file", endpoint=self.name
            ) from error
        except httpx.HTTPError as error:
            problem = f"rerank endpoint {self._url!r} broke off ({str(error) or type(error).__name__})"
            raise EndpointProtocolError(f"{problem}; try again", endpoint=self.name) from error


_opening = threading.Lock()


def _client() -> httpx.Client:
    """One pool of connections for all rerankers of the process: a new one would cost each search milliseconds."""
    try:
        import httpx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("httpx", "ingest") from error
    with _opening:
        return _shared_client()


@cache
def _shared_client() -> httpx.Client:
    import httpx

    client = httpx.Client(trust_env=False, follow_redirects=False)
    atexit.register(client.close)
    return client


def _said(raw: bytes) -> str:
    """The message of an error body, as the servers that we know write it."""
    try:
        value: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw[:200].decode("utf-8", "replace").strip()
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return str(value)[:500]
