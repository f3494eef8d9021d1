"""Tokens of a text for a model behind an endpoint: by its own tokenizer, or estimated on the safe side."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from llmops.clients.embeddings.batches import whole_characters
from llmops.errors import ConfigurationError, MissingExtraError

_SPECIAL_TOKENS = 2
_PIECE = re.compile(r"[A-Za-z]+|[^\S\n]+|.", re.DOTALL)
_LETTERS_A_TOKEN = 4


class TokenCounts(Protocol):
    """Counts as the model would, and cuts where its window ends."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        ...

    def cut(self, text: str, max_tokens: int) -> str:
        """The longest beginning of the text that has no more tokens than these."""
        ...


def token_counts(tokenizer: str) -> TokenCounts:
    """By the `tokenizer.json` at this path, or estimated where there is none ("").

    Raises:
        ConfigurationError: the file cannot be read as a tokenizer.
        MissingExtraError: tokenizers is not installed.
    """
    return FileTokens(Path(tokenizer)) if tokenizer else EstimatedTokens()


class EstimatedTokens:
    """An upper estimate for tokenizers we do not have.

    A run of ASCII letters counts a token for every four; every digit, sign, line end and character beyond ASCII
    counts one, and one beyond the basic plane two; a run of blanks longer than one counts one. That is more than
    WordPiece and byte-pair encodings make of prose, so a chunk is rather too short than cut.
    """

    def count(self, texts: Sequence[str]) -> list[int]:
        """Estimated tokens of each text, special tokens included."""
        return [_SPECIAL_TOKENS + sum(map(_estimate, _PIECE.findall(text))) for text in texts]

    def cut(self, text: str, max_tokens: int) -> str:
        """The beginning that is estimated at no more than `max_tokens`; a word is not divided."""
        left = max_tokens - _SPECIAL_TOKENS
        for piece in _PIECE.finditer(text):
            left -= _estimate(piece.group())
            if left < 0:
                return text[: piece.start()] or piece.group()[: _LETTERS_A_TOKEN * (max_tokens - _SPECIAL_TOKENS)]
        return text


def _estimate(piece: str) -> int:
    first = piece[0]
    if first.isascii() and first.isalpha():
        return math.ceil(len(piece) / _LETTERS_A_TOKEN)
    if first.isspace() and first != "\n":
        return int(len(piece) > 1)
    return 1 + (ord(first) > 0xFFFF)


class FileTokens:
    """The model's own tokenizer, read from its file."""

    def __init__(self, path: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtraError("tokenizers", "ingest") from error
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises no other for an unreadable file
            raise ConfigurationError(f"the tokenizer {str(path)!r} cannot be read: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        clean = [whole_characters(text) for text in texts]
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(clean)]

    def cut(self, text: str, max_tokens: int) -> str:
        """The beginning of at most `max_tokens`, cut where a token ends."""
        clean = whole_characters(text)
        # A beginning may be tokenized otherwise than it was within its text: look again until it fits.
        for allowed in range(max_tokens, 1, -1):
            encoding = self._tokenizer.encode(clean)
            if len(encoding.ids) <= max_tokens:
                return clean
            ends = [end for _, end in encoding.offsets if end]
            n_special = len(encoding.ids) - len(ends)
            clean = clean[: ends[max(allowed - n_special, 1) - 1]]
        return clean
