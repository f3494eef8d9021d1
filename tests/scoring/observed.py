"""What a system did with an example, written out by hand."""

from __future__ import annotations

from collections.abc import Sequence

from llmops.records import Chunk, Citation, Hit, Passage
from llmops.scoring import Observed


def passage(number: int, text: str, *, uri: str = "a.md") -> Passage:
    chunk = Chunk(
        chunk_id=f"chunk-{number}",
        document_id=uri,
        uri=uri,
        title=uri,
        ordinal=number,
        text=text,
        start=0,
        end=len(text),
        heading_path=(),
        locator="",
        n_tokens=1,
        acl=("everyone",),
    )
    return Passage(
        number=number, hit=Hit(chunk=chunk, rank=number, score=0.0, dense_score=None, sparse_score=None)
    )


def citation(number: int, uri: str = "a.md") -> Citation:
    return Citation(
        number=number, chunk_id=f"chunk-{number}", document_id=uri, uri=uri, title=uri, locator="", text=""
    )


def observed(
    text: str = "",
    *,
    cited: Sequence[Citation] = (),
    passages: Sequence[str] = (),
    abstains: bool = False,
    groundedness: float | None = None,
    latency_ms: float = 1.0,
) -> Observed:
    return Observed(
        text=text,
        citations=tuple(cited),
        passages=tuple(passage(number, words) for number, words in enumerate(passages, start=1)),
        abstains=abstains,
        groundedness=groundedness,
        latency_ms=latency_ms,
    )
