"""What int8 loses against fp32 on labelled questions, written down, and whether a spec accepts it.

A measurement is a small file beside the spec, `ingestion/NAME.int8.json`, meant to be committed. It names both
encoders by their digests: other weights, another prefix or another way to quantise need a new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import AwareDatetime, Field, ValidationError

from llmops.clients.protocols import Embedder
from llmops.config import Section, digest, read_text
from llmops.errors import ConfigurationError, SpecError, StorageError
from llmops.ingestion.embed_spec import OnnxEmbed
from llmops.ingestion.spec import IngestionSpec
from llmops.metrics import bootstrap_interval, ndcg_at_k
from llmops.records import Chunk, Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEPTH = 10
_BLOCK = 256
"""Questions compared with all texts at once: with a million texts that is a gigabyte."""

OnProgress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledTexts:
    """Questions with the texts among which their answers are looked for.

    Attributes:
        questions: id to question.
        texts: what is embedded.
        owners: of each text, the judged thing it belongs to: itself, or the document it is a chunk of. A document
            stands where its best text does.
        relevances: id of a question to owner to relevance; a question has at least one above 0.
    """

    questions: Mapping[str, str]
    texts: Sequence[str]
    owners: Sequence[str]
    relevances: Mapping[str, Mapping[str, float]]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all of it."""
        judged = {question: dict(found) for question, found in self.relevances.items()}
        return digest([dict(self.questions), list(self.texts), list(self.owners), judged])


class MeasuredRange(Section):
    """A mean over questions with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class MeasuredLoss(Section):
    """The content of `NAME.int8.json`.

    `loss` is nDCG@10 of fp32 less that of int8, question by question: above 0, int8 is worse. `neighbours` is the
    share of fp32's ten nearest texts that are among int8's ten.
    """

    encoder: str
    fp32_digest: str
    int8_digest: str
    labels_digest: str = Field(description="Of questions, texts and judgements.")
    n_questions: int = Field(ge=1)
    n_texts: int = Field(ge=1)
    ndcg_at_10_fp32: float
    ndcg_at_10_int8: float
    loss: MeasuredRange
    neighbours: MeasuredRange
    measured_at: AwareDatetime

    def __str__(self) -> str:
        loss, near = self.loss, self.neighbours
        return (
            f"nDCG@10 {self.ndcg_at_10_fp32:.3f} in fp32 and {self.ndcg_at_10_int8:.3f} in int8 on "
            f"{self.n_questions} questions: loss {loss.mean:+.4f} [{loss.low:+.4f}, {loss.high:+.4f}]; "
            f"{near.mean:.1%} of the nearest ten are the same"
        )


def labelled_texts(examples: Iterable[Example], chunks: Iterable[Chunk]) -> LabelledTexts:
    """Examples of a dataset over the chunks of a pipeline.

    Relevant is a chunk that holds one of the quotes or, where there are none, a chunk of one of the sources.
    Examples of which no chunk is relevant are left out.

    Raises:
        ConfigurationError: none is left.
    """
    kept = list(chunks)
    flat = [" ".join(chunk.text.split()) for chunk in kept]
    questions, relevances = {}, {}
    for example in examples:
        quotes = [quote for quote in (" ".join(evidence.split()) for evidence in example.evidence) if quote]
        relevant = {
            chunk.chunk_id: 1.0
            for chunk, text in zip(kept, flat, strict=True)
            if (any(quote in text for quote in quotes) if quotes else chunk.uri in example.sources)
        }
        if relevant:
            questions[example.example_id], relevances[example.example_id] = example.question, relevant
    if not questions:
        raise ConfigurationError(
            "no labelled question is answered by a chunk of this pipeline: check evidence and sources"
        )
    owners = [chunk.chunk_id for chunk in kept]
    texts = [chunk.embedded_text for chunk in kept]
    return LabelledTexts(questions=questions, texts=texts, owners=owners, relevances=relevances)


def measure_loss(
    labels: LabelledTexts, *, fp32: Embedder, int8: Embedder, on_progress: OnProgress | None = None
) -> MeasuredLoss:
    """Embed everything twice and rank it exactly, by cosine alone.

    Args:
        on_progress: told of each `n` more texts embedded, twice `len(labels.texts)` in all.
    """
    exact = _ranked(labels, fp32, on_progress)
    coarse = _ranked(labels, int8, on_progress)
    ndcg_exact, ndcg_coarse = (_ndcg(labels, ranked) for ranked in (exact, coarse))
    shared = [
        len(set(a[:_DEPTH]) & set(b[:_DEPTH])) / max(len(a[:_DEPTH]), 1)
        for a, b in zip(exact, coarse, strict=True)
    ]
    return MeasuredLoss(
        encoder=fp32.name,
        fp32_digest=fp32.digest,
        int8_digest=int8.digest,
        labels_digest=labels.digest,
        n_questions=len(labels.questions),
        n_texts=len(labels.texts),
        ndcg_at_10_fp32=math.fsum(ndcg_exact) / len(ndcg_exact),
        ndcg_at_10_int8=math.fsum(ndcg_coarse) / len(ndcg_coarse),
        loss=_range([a - b for a, b in zip(ndcg_exact, ndcg_coarse, strict=True)]),
        neighbours=_range(shared),
        measured_at=datetime.now(UTC),
    )


def loss_file(spec: IngestionSpec) -> Path:
    """Where the measurement for this spec stands."""
    return Path(spec.file).parent / f"{spec.name}.int8.json"


def write_loss(path: Path, measured: MeasuredLoss) -> None:
    """Write the measurement.

    Raises:
        StorageError: the folder takes no files.
    """
    try:
        path.write_text(measured.model_dump_json(indent=2) + "\n", "utf-8")
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be written ({error.strerror}); check its folder") from error


def read_loss(path: Path) -> MeasuredLoss:
    """Read a measurement.

    Raises:
        SpecError: it is missing or is none.
    """
    text = read_text(path, kind="measurement")
    try:
        return MeasuredLoss.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or None
        raise SpecError(
            str(path), f"is no measurement of int8: {first['msg']}; measure again", field=field
        ) from error


def check_accepted(spec: IngestionSpec, embedder_digest: str) -> None:
    """Let an int8 encoder begin only when its measured loss is within what the spec accepts.

    What counts is the upper end of the loss's interval: a few questions prove nothing, and are told so. Encoders
    that are not int8 pass.

    Args:
        embedder_digest: of the encoder that is about to be used.

    Raises:
        ConfigurationError: nothing was measured, another encoder was, or the loss is or may be too large.
    """
    embed = spec.embed
    if not isinstance(embed, OnnxEmbed) or embed.precision == "fp32" or embed.accepts_loss_of is None:
        return
    path, accepted = loss_file(spec), embed.accepts_loss_of
    again = f"measure it on labelled questions, or set precision to fp32 in {spec.file}"
    if not path.is_file():
        raise ConfigurationError(f"what int8 loses was never measured: there is no {str(path)!r}; {again}")
    measured = read_loss(path)
    if measured.int8_digest != embedder_digest:
        raise ConfigurationError(f"{str(path)!r} was measured with other weights, prefix or quantisation; {again}")
    loss = measured.loss
    if loss.mean > accepted:
        raise ConfigurationError(f"int8 loses more than the {accepted:g} that {spec.file} accepts: {measured}")
    if loss.high > accepted:
        raise ConfigurationError(
            f"whether int8 loses more than the {accepted:g} that {spec.file} accepts is open: {measured}; "
            f"{_deciding(measured, accepted)}"
        )


def _deciding(measured: MeasuredLoss, accepted: float) -> str:
    """How many questions would narrow the interval enough, if the mean stays what it is."""
    margin, half = accepted - measured.loss.mean, measured.loss.high - measured.loss.mean
    if margin <= 0:
        return "accept more, or use fp32"
    return f"about {math.ceil(measured.n_questions * (half / margin) ** 2)} questions would decide"


def _ranked(labels: LabelledTexts, embedder: Embedder, on_progress: OnProgress | None) -> list[list[int]]:
    """Rows of texts for each question, nearest first, as many as hold ten owners if there are so many."""
    vectors = embedder.embed(labels.texts, on_progress)
    questions = np.stack([embedder.embed_query(question) for question in labels.questions.values()])
    deepest = max(np.unique(labels.owners, return_counts=True)[1])
    depth = min(_DEPTH * int(deepest), len(labels.texts))
    ranked: list[list[int]] = []
    for start in range(0, len(questions), _BLOCK):
        cosines = questions[start : start + _BLOCK] @ vectors.T
        ranked.extend(_nearest(row, depth) for row in cosines)
    return ranked


def _nearest(cosines: NDArray[np.float32], depth: int) -> list[int]:
    best = np.argpartition(-cosines, depth - 1)[:depth]
    rows: list[int] = best[np.lexsort((best, -cosines[best]))].tolist()
    return rows


def _ndcg(labels: LabelledTexts, ranked: Sequence[Sequence[int]]) -> list[float]:
    return [
        ndcg_at_k(labels.relevances[question], list(dict.fromkeys(labels.owners[row] for row in rows)), _DEPTH)
        for question, rows in zip(labels.questions, ranked, strict=True)
    ]


def _range(values: Sequence[float]) -> MeasuredRange:
    interval = bootstrap_interval(values)
    return MeasuredRange(mean=interval.mean, low=interval.low, high=interval.high)
