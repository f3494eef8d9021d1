"""What a crawl remembers: every page's validators and links from sync to sync, and how far this crawl has come."""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

Outcome = Literal["waiting", "listed", "read", "hidden", "forbidden", "gone", "moved", "duplicate", "failed"]
"""What became of an address: "read" only for its links, "duplicate" of the canonical page in `target`, "moved" to
it; "failed" with the reason in `target`."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (
    url TEXT PRIMARY KEY, etag TEXT, modified TEXT, version TEXT, media_type TEXT, n_bytes INTEGER,
    told BLOB, lastmod TEXT, read_at REAL, body BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue (
    position INTEGER PRIMARY KEY, url TEXT UNIQUE, depth INTEGER, via TEXT, lastmod TEXT,
    outcome TEXT DEFAULT 'waiting', target TEXT DEFAULT '', batch INTEGER DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_outcome ON queue (outcome, position);
CREATE INDEX IF NOT EXISTS by_batch ON queue (batch, position);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is known of a page.

    Attributes:
        version: a digest of its content; "" when it was too large to be read.
        told: what it says to a crawler, as JSON.
        lastmod: what a sitemap said of it when it was read.
        read_at: seconds since the epoch, when its content was last transferred.
    """

    etag: str
    modified: str
    version: str
    media_type: str
    n_bytes: int | None
    told: Any
    lastmod: str
    read_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """An address of this crawl. `via` holds the addresses that led to it by redirects, or by being canonical."""

    url: str
    depth: int
    via: tuple[str, ...]
    lastmod: str
    outcome: Outcome
    target: str


class CrawlState:
    """A database in one file, which may be removed: all is then read anew. May be used from several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute("PRAGMA secure_delete = ON")  # what is forgotten is not left in the file
        self._database.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def begin(self, crawl: str) -> None:
        """Forget the last crawl, and the contents that nobody took."""
        with self.transaction():
            self._run("DELETE FROM queue")
            self._run("DELETE FROM about")
            self._run("UPDATE pages SET body = NULL WHERE body IS NOT NULL")
            self._run("INSERT INTO about VALUES ('crawl', ?)", crawl)

    def about(self, name: str) -> str:
        """A note on this crawl, or ""."""
        found = self._run("SELECT value FROM about WHERE name = ?", name)
        return str(found[0][0]) if found else ""

    def note(self, name: str, value: str) -> None:
        """Note something on this crawl."""
        self._run("INSERT OR REPLACE INTO about VALUES (?, ?)", name, value)

    def page(self, url: str) -> Known | None:
        """What is known of a page from earlier."""
        columns = "etag, modified, version, media_type, n_bytes, told, lastmod, read_at"
        found = self._run(f"SELECT {columns} FROM pages WHERE url = ?", url)
        if not found:
            return None
        values = dict(zip(columns.split(", "), found[0], strict=True))
        return Known(**{**values, "told": orjson.loads(values["told"])})

    def keep(self, url: str, known: Known, body: bytes | None) -> None:
        """Remember a page that was read; its body until it is taken."""
        packed = zlib.compress(body, 1) if body is not None else None
        told = orjson.dumps(known.told)
        self._run(
            "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(url, known.etag, known.modified, known.version, known.media_type, known.n_bytes),
            *(told, known.lastmod, known.read_at, packed),
        )

    def take_body(self, url: str, version: str) -> bytes | None:
        """The content of a page as this crawl read it, once."""
        with self.transaction():
            found = self._run("SELECT body FROM pages WHERE url = ? AND version = ?", url, version)
            if not found or found[0][0] is None:
                return None
            self._run("UPDATE pages SET body = NULL WHERE url = ?", url)
        return zlib.decompress(found[0][0])

    def forget(self, url: str) -> None:
        """Nothing is known of a page any more."""
        self._run("DELETE FROM pages WHERE url = ?", url)

    def add(self, url: str, *, depth: int, via: tuple[str, ...] = (), lastmod: str = "", limit: int) -> bool:
        """Put an address into the queue, unless it is there; False when there is no room for it."""
        with self._lock:
            if self._run("SELECT 1 FROM queue WHERE url = ?", url):
                return True
            if self.n_queued() >= limit:
                self.note("is_full", "yes")
                return False
            self._run(
                "INSERT INTO queue (url, depth, via, lastmod) VALUES (?, ?, ?, ?)",
                *(url, depth, orjson.dumps(via).decode(), lastmod),
            )
            return True

    def n_queued(self) -> int:
        """How many addresses this crawl has met."""
        return int(self._run("SELECT COALESCE(MAX(position), 0) FROM queue")[0][0])

    def next(self) -> Waiting | None:
        """The address to read next."""
        return next(iter(self._rows("outcome = 'waiting' ORDER BY position LIMIT 1")), None)

    def waiting(self, url: str) -> Waiting | None:
        """An address of this crawl."""
        return next(iter(self._rows("url = ?", url)), None)

    def settle(self, url: str, outcome: Outcome, target: str, batch: int) -> None:
        """Say what became of an address."""
        self._run("UPDATE queue SET outcome = ?, target = ?, batch = ? WHERE url = ?", outcome, target, batch, url)

    def rebatch(self, batch: int) -> list[Waiting]:
        """What was settled and is not known to have been taken in: it goes into the batch after `batch`.

        What failed is tried again.
        """
        self._run("UPDATE queue SET outcome = 'waiting', batch = 0 WHERE outcome = 'failed'")
        found = self._rows("batch > ? AND outcome <> 'waiting' ORDER BY position", batch)
        self._run("UPDATE queue SET batch = ? WHERE batch > ?", batch + 1, batch)
        return found

    def settled(self, outcome: Outcome) -> list[Waiting]:
        """Addresses that came to this."""
        return self._rows("outcome = ? ORDER BY position", outcome)

    def forget_others(self) -> None:
        """Forget pages that a crawl, which is complete, did not meet."""
        unmet = "DELETE FROM pages WHERE url NOT IN (SELECT url FROM queue) AND url NOT LIKE 'sitemap %'"
        self._run(unmet)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _rows(self, where: str, *values: Any) -> list[Waiting]:
        rows = self._run(f"SELECT url, depth, via, lastmod, outcome, target FROM queue WHERE {where}", *values)
        names = ("url", "depth", "via", "lastmod", "outcome", "target")
        given = (dict(zip(names, row, strict=True)) for row in rows)
        return [Waiting(**{**one, "via": tuple(orjson.loads(one["via"]))}) for one in given]

    def _run(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


def is_fresh(known: Known, *, days: float) -> bool:
    """Whether what is known may be confirmed instead of read anew; not after a clock ran backwards."""
    return 0 <= time.time() - known.read_at < days * 86_400
