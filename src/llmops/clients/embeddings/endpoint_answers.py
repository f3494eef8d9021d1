"""What an embeddings endpoint answered, held against what was asked; nothing is taken on trust."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from llmops.errors import ConfigurationError, EndpointProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BYTES_A_NUMBER = 40
"""Of a number in JSON, blanks included: more is no answer to our question."""


def largest_answer(n_texts: int, dimension: int) -> int:
    """Bytes beyond which an answer is not read."""
    return 65_536 + n_texts * (1_024 + dimension * _BYTES_A_NUMBER)


def vectors_of(body: bytes, *, n_texts: int, dimension: int, endpoint: str, said: str) -> NDArray[np.float32]:
    """`(n_texts, dimension)` unit vectors in the order of the texts.

    Args:
        endpoint: the endpoint's name, for the error.
        said: how an error begins, such as "embedding endpoint 'bge' at http://…".

    Raises:
        EndpointProtocolError: no JSON of the API's shape, another number of vectors, or a vector of no direction.
        ConfigurationError: the vectors have another dimension than the spec says.
    """

    def wrong(problem: str) -> EndpointProtocolError:
        return EndpointProtocolError(f"{said} {problem}", endpoint=endpoint)

    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise wrong(f"answered what is not JSON ({error})") from error
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise wrong("answered JSON without a list 'data': is base_url that of an embeddings API?")
    if len(data) != n_texts:
        raise wrong(f"answered {len(data)} vectors for {n_texts} texts")
    places = [item.get("index", place) for place, item in enumerate(data)]
    if sorted(map(str, places)) != sorted(map(str, range(n_texts))):
        raise wrong(f"answered vectors whose 'index' are {places[:8]!r}, not each of 0 to {n_texts - 1} once")
    rows = [_row(item.get("embedding")) for item in data]
    if any(row is None for row in rows):
        raise wrong("answered an 'embedding' that is neither a list of numbers nor base64 of them")
    lengths = {len(row) for row in rows if row is not None}
    if lengths != {dimension}:
        problem = f"answers vectors of dimension {sorted(lengths)}, and embed.dimension says {dimension}"
        raise ConfigurationError(f"{said} {problem}: correct it")
    vectors = np.empty((n_texts, dimension), np.float64)
    vectors[[int(place) for place in places]] = rows
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise wrong("answered a vector that is not finite or is all zeros")
    unit: NDArray[np.float32] = (vectors / norms).astype(np.float32)
    return unit


def _row(embedding: Any) -> NDArray[np.float64] | None:
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float64)
        if isinstance(embedding, list) and all(type(number) in (float, int) for number in embedding):
            return np.asarray(embedding, np.float64)
    except (binascii.Error, ValueError, OverflowError):
        return None
    return None
