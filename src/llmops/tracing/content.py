"""How the contents of a trace rest in the ledger: scrubbed, encrypted, or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

import orjson

from llmops.errors import ConfigurationError, StorageError
from llmops.pii import scrub, scrub_value
from llmops.records import Span

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

ContentPolicy = Literal["scrubbed", "encrypted", "none"]


class ContentVault:
    """Seals and opens the spans of traces.

    Args:
        key: a Fernet key (`LLMOPS_TRACE_KEY`), or "" to keep one in `key_file`, made on first use.
    """

    def __init__(self, key: str, key_file: Path) -> None:
        self._key, self._key_file = key, key_file

    def seal(self, spans: Sequence[Span], policy: ContentPolicy) -> bytes:
        """Bytes for the ledger."""
        rows = [asdict(span) for span in spans]
        match policy:
            case "scrubbed":
                return _json(scrub_value(rows), default=lambda value: scrub(str(value)))
            case "encrypted":
                return self._fernet.encrypt(_json(rows))
            case "none":
                return _json([{**row, "input": None, "output": None} for row in rows])
            case _:
                assert_never(policy)

    def open(self, sealed: bytes, policy: ContentPolicy) -> tuple[Span, ...]:
        """The spans as they were sealed.

        Raises:
            ConfigurationError: they were encrypted with another key.
        """
        from cryptography.fernet import InvalidToken

        try:
            raw = self._fernet.decrypt(sealed) if policy == "encrypted" else sealed
        except InvalidToken as error:
            problem = "this trace was encrypted with another key"
            raise ConfigurationError(f"{problem}; set LLMOPS_TRACE_KEY to the key of its time") from error
        return tuple(Span(**row) for row in orjson.loads(raw))

    @cached_property
    def _fernet(self) -> Fernet:
        from cryptography.fernet import Fernet

        key = self._key or self._key_from_file()
        try:
            return Fernet(key)
        except ValueError as error:
            where = "LLMOPS_TRACE_KEY" if self._key else f"what stands in {str(self._key_file)!r}"
            problem = f"{where} is not a Fernet key (32 bytes, URL-safe base64)"
            cure = "make one with python -c 'from cryptography.fernet import Fernet as F; print(F.generate_key())'"
            raise ConfigurationError(f"{problem}; {cure}") from error

    def _key_from_file(self) -> str:
        from cryptography.fernet import Fernet

        try:
            if not self._key_file.exists():
                # Linked into place whole: another process never reads half a key, and never replaces one.
                made = self._key_file.with_name(f"{self._key_file.name}.{uuid.uuid4().hex}")
                with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(Fernet.generate_key())
                with suppress(FileExistsError):
                    os.link(made, self._key_file)
                made.unlink()
            return self._key_file.read_text(errors="replace").strip()
        except OSError as error:
            problem = f"the trace key {self._key_file} cannot be read or made ({error.strerror})"
            raise StorageError(f"{problem}; mend its permissions or set LLMOPS_TRACE_KEY") from error


def _json(value: Any, default: Callable[[Any], str] = str) -> bytes:
    try:
        return orjson.dumps(value, default=default, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # a number over 64 bits, or half a surrogate pair
        return json.dumps(value, default=default, ensure_ascii=False).encode("utf-8", "replace")
