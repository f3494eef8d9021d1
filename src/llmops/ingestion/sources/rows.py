"""What lines, rows and loaded documents have in common: names, principals, metadata, and which names were seen."""

from __future__ import annotations

import hashlib
import math
import re
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from llmops.ingestion.sources.protocol import Acl

_MAX_NAME = 2_000
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_INTEGER = 2**63


def name_of(value: Any) -> str:
    """An id as the name of a document.

    Raises:
        ValueError: it is none; says why.
    """
    if isinstance(value, bool | float) or value is None or isinstance(value, Mapping | list | bytes):
        raise ValueError(f"{value!r} is no id; a text or a whole number is one"[:200])
    name = str(value)
    if not name.strip() or len(name) > _MAX_NAME or _CONTROL.search(name):
        raise ValueError(
            f"{name[:80]!r} is no id: empty, over {_MAX_NAME:,} characters, or with control characters"
        )
    return name


def principals_of(value: Any) -> Acl:
    """Principals from a list, a JSON list, or a text with commas; None (hidden) when they cannot be read."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Sequence | set | frozenset) or isinstance(value, bytes):
        return None
    if not all(isinstance(one, str) for one in value):
        return None
    return tuple(sorted({one.strip() for one in value if one.strip()}))


def metadata_of(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Values as the filters know them: text, numbers, true or false, lists of text. What is null is left out."""
    found = ((name, _value_of(value)) for name, value in pairs)
    return {name: value for name, value in found if value is not None}


def _value_of(value: Any) -> str | int | float | bool | list[str] | None:
    match value:
        case None:
            return None
        case bool() | str():
            return value
        case int():
            return value if -_MAX_INTEGER <= value < _MAX_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple() | set() | frozenset():
            return sorted(str(one) for one in value) if isinstance(value, set | frozenset) else [*map(str, value)]
        case dict():
            return orjson.dumps(value, default=str).decode()
        case _:
            return value.isoformat() if hasattr(value, "isoformat") else str(value)


def too_large(n_bytes: int, max_bytes: int) -> str:
    """What is said of a document over the limit."""
    return f"is larger than {max_bytes:,} bytes (it has {n_bytes:,}); raise source.max_file_bytes to have it read"


def digest_of(raw: bytes) -> str:
    """A short digest (32 hex digits), to tell versions apart."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


class NamesSeen:
    """Names and where they were first seen, in a temporary database that ends with the process, not in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE seen (name TEXT PRIMARY KEY, n INTEGER, place TEXT) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def count(self, name: str, place: str = "") -> int:
        """How often a name was counted, this time included."""
        add = "INSERT INTO seen VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n"
        with self._lock:
            return int(self._database.execute(add, (name, place)).fetchall()[0][0])

    def place(self, name: str) -> str | None:
        """Where a name was first seen."""
        with self._lock:
            found = self._database.execute("SELECT place FROM seen WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else None

    def close(self) -> None:
        """Drop it."""
        with self._lock:
            self._database.close()
