"""The best hits in a new order, by whoever the route names."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

from llmops.clients.rerankers import Reranker
from llmops.config import beside
from llmops.errors import ConfigurationError, EndpointProtocolError, LlmopsError
from llmops.records import Chunk
from llmops.retrieval.fusion import Fused, scaled_to_unit
from llmops.retrieval.spec import (
    RERANKERS,
    CrossEncoderRerank,
    EndpointRerank,
    LexicalRerank,
    PluginRerank,
    RerankSpec,
)

MakeReranker = Callable[[Mapping[str, Any]], Reranker]
"""What an entry point of `llmops.rerankers` is: it takes the section's `parameters`."""


def open_reranker(spec: RerankSpec, *, file: str = "") -> Reranker:
    """The reranker of a route; weights are loaded at its first question.

    Args:
        file: the route's file, from which a folder is found.

    Raises:
        ConfigurationError: folder, key or entry point are missing.
    """
    match spec:
        case LexicalRerank():
            from llmops.retrieval.lexical import LexicalReranker

            return LexicalReranker()
        case CrossEncoderRerank():
            from llmops.clients.local_models import CrossEncoderReranker

            folder = beside(file, spec.model)
            return CrossEncoderReranker(
                folder=folder, max_tokens=spec.max_tokens, batch=spec.batch, device=spec.device
            )
        case EndpointRerank():
            from llmops.clients.rerankers import EndpointReranker

            key = os.environ.get(spec.api_key_env, "") if spec.api_key_env else ""
            if spec.api_key_env and not key:
                problem = f"the rerank endpoint {spec.url!r} needs its key"
                raise ConfigurationError(f"{problem} in the environment variable {spec.api_key_env}")
            return EndpointReranker(url=spec.url, model=spec.model, api_key=key, timeout_s=spec.timeout_s)
        case PluginRerank():
            return _plugin(spec)
        case _:
            assert_never(spec)


def reranked(ranked: Fused, scores: Sequence[float], *, weight: float = 1.0) -> Fused:
    """The first `len(scores)` in the order of their new scores, ties as they stood; the others follow unchanged.

    Args:
        ranked: best first.
        weight: share of the new score; with less than 1, both are scaled to [0, 1] and added.

    Returns:
        Scores never rise: those of the others are lowered so that they follow on.
    """
    head, tail = ranked[: len(scores)], ranked[len(scores) :]
    if weight < 1:
        old = scaled_to_unit([score for _, score in head])
        scores = [
            weight * new + (1 - weight) * before for new, before in zip(scaled_to_unit(scores), old, strict=True)
        ]
    ordered = sorted(
        ((chunk_id, float(score)) for (chunk_id, _), score in zip(head, scores, strict=True)),
        key=lambda item: -item[1],
    )
    return followed(ordered, tail)


def followed(ordered: Fused, tail: Fused) -> Fused:
    """Both rankings as one, best first: the scores of the second are lowered so that they go on from the first."""
    if not ordered or not tail:
        return ordered + tail
    lowest, first = ordered[-1][1], tail[0][1]
    return ordered + [(chunk_id, lowest + (score - first)) for chunk_id, score in tail]


def scores_of(reranker: Reranker, query: str, chunks: Sequence[Chunk]) -> list[float]:
    """What a reranker says, held to its promise: one finite number a chunk.

    Raises:
        EndpointError: it failed, or broke its promise.
    """
    try:
        scores = [float(score) for score in reranker.score(query, chunks)]
    except LlmopsError:
        raise
    except Exception as error:
        problem = f"reranker {reranker.name!r} failed: {type(error).__name__}: {error}"
        raise EndpointProtocolError(problem, endpoint=reranker.name) from error
    if len(scores) != len(chunks) or not all(map(math.isfinite, scores)):
        problem = f"reranker {reranker.name!r} gave {len(scores)} scores for {len(chunks)} passages"
        raise EndpointProtocolError(f"{problem}, or not all of them finite", endpoint=reranker.name)
    return scores


def _plugin(spec: PluginRerank) -> Reranker:
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=RERANKERS)}
    if spec.type not in found:
        raise ConfigurationError(f"no installed package brings a reranker {spec.type!r}; install it")
    try:
        make: MakeReranker = found[spec.type].load()
        return make(spec.parameters)
    except LlmopsError:
        raise
    except Exception as error:
        problem = f"reranker {spec.type!r} cannot be made: {type(error).__name__}: {error}"
        raise ConfigurationError(f"{problem}; look at rerank.parameters") from error
