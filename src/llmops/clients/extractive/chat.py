"""The embedded chat model: it answers with the best supported sentences of its context, and cannot invent."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from llmops.clients.embeddings.text_vectors import VectorCache
from llmops.clients.extractive.coefficients import THRESHOLD
from llmops.clients.extractive.context import asked_sentences, read_context
from llmops.clients.extractive.reading import choose, read
from llmops.clients.extractive.sentences import Sentence
from llmops.clients.protocols import Embedder
from llmops.errors import EndpointRejectedError
from llmops.records import Delta, Message, Usage

UNKNOWN_ANSWER = "I don't know: the passages I was given do not answer this."
MODEL = "extractive"
# A source's own footnote mark would be taken for one of our citations. Code and links keep their brackets.
_FOOTNOTE = re.compile(r"(?P<code>`[^`]*`)|[ \t]*\[\d{1,4}(?: ?, ?\d{1,4}){0,5}\](?!\()")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingParameters:
    """What the model reads of a request's parameters; temperature and the like mean nothing to it.

    Attributes:
        max_sentences: unless the system part asks for another number in words, which then counts.
        threshold: the least P(answerable), in [0, 1], at which it answers.
        max_tokens: word pieces of the answer, or None for no limit.
    """

    max_sentences: int = 3
    unknown_answer: str = UNKNOWN_ANSWER
    threshold: float = THRESHOLD
    max_tokens: int | None = None


class ExtractiveChat:
    """Answers from the passages in the messages, each sentence verbatim with its citation.

    Args:
        name: the endpoint's name in `serving/models.yaml`.
        embedder: compares the question with each sentence; its vectors are kept between requests.
    """

    def __init__(self, *, name: str, embedder: Embedder) -> None:
        self.name, self.model = name, MODEL
        self._embedder = embedder
        self._vectors = VectorCache(embedder)

    async def stream(
        self, messages: Sequence[Message], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Delta, None]:
        """Deltas of one answer, a sentence each, as `ChatModel.stream`.

        Raises:
            EndpointRejectedError: a parameter that the model reads is not of its type or range.
        """
        read_parameters = self._parameters(parameters)
        pieces, is_cut, usage = await to_thread.run_sync(self._answer, tuple(messages), read_parameters)
        for piece in pieces:
            yield Delta(text=piece)
        yield Delta(finish_reason="length" if is_cut else "stop", usage=usage)

    async def close(self) -> None:
        """Nothing is held open; the embedder belongs to whoever made it."""

    def _answer(self, messages: Sequence[Message], parameters: ReadingParameters) -> tuple[list[str], bool, Usage]:
        context = read_context(messages)
        reading = read(context, self._vectors)
        if reading is None or reading.probability < parameters.threshold:
            pieces = [parameters.unknown_answer]
        else:
            pieces = list(quote(choose(reading, asked_sentences(messages) or parameters.max_sentences)))
        kept = self._within(pieces, parameters.max_tokens)
        text = "".join(kept)
        usage = Usage(
            input_tokens=sum(self._embedder.count_tokens([m.content for m in messages])),
            output_tokens=self._embedder.count_tokens([text])[0] if text else 0,
        )
        return kept, len(kept) < len(pieces), usage

    def _within(self, pieces: list[str], max_tokens: int | None) -> list[str]:
        if max_tokens is None:
            return pieces
        beginnings = ["".join(pieces[: n + 1]) for n in range(len(pieces))]
        counts = self._embedder.count_tokens(beginnings)
        return pieces[: sum(count <= max_tokens for count in counts)]

    def _parameters(self, given: Mapping[str, Any]) -> ReadingParameters:
        stated = {
            name: given[name] for name in ReadingParameters.__dataclass_fields__ if given.get(name) is not None
        }
        for name, value in stated.items():
            if cure := _wrong(name, value):
                raise EndpointRejectedError(
                    f"parameter {name!r} of model endpoint {self.name!r} is {value!r}; give {cure}",
                    endpoint=self.name,
                    status=400,
                )
        return ReadingParameters(**stated)


def _wrong(name: str, value: Any) -> str:
    """What the parameter should be, or "" when it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match name:
        case "unknown_answer":
            return "" if isinstance(value, str) and value.strip() else "a text"
        case "threshold":
            return "" if is_number and 0 <= value <= 1 else "a probability from 0 to 1"
        case _:
            return "" if is_number and isinstance(value, int) and value >= 1 else "a whole number from 1"


def quote(sentences: Sequence[Sentence]) -> Iterator[str]:
    """Each sentence followed by its citation; lists, rows and code stand on lines of their own."""
    before: Sentence | None = None
    for sentence in sentences:
        separator = "" if before is None else " " if _runs_on(before, sentence) else "\n"
        yield separator + _quoted(sentence)
        before = sentence


def _runs_on(before: Sentence, sentence: Sentence) -> bool:
    """Whether a sentence goes on in the line of the one before: prose after prose, or within one list item."""
    if sentence.kind in ("item", "row", "code") or before.kind in ("row", "code"):
        return False
    is_next = sentence.passage == before.passage and sentence.position == before.position + 1
    return before.kind != "item" or (is_next and sentence.announced_by is not None)


def _quoted(sentence: Sentence) -> str:
    marker = f"[{sentence.passage.number}]"
    if sentence.kind == "code":
        # its lead carries the marker; inside a fence it would become code
        return sentence.text if sentence.announced_by is not None else f"{sentence.text}\n{marker}"
    text = _FOOTNOTE.sub(lambda m: m["code"] or "", sentence.text)
    return f"{text} {marker}"
