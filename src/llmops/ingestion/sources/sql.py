"""A query as a source: each of its rows is a document."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import Row, Select, bindparam, case, column, func, null, select, text
from sqlalchemy.exc import DataError, ProgrammingError, SQLAlchemyError
from sqlalchemy.types import NullType

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError, SourceDeniedError, SourceError
from llmops.ingestion.sources.environment import secret
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.rows import digest_of, metadata_of, name_of, principals_of, too_large
from llmops.ingestion.sources.specs_data import SqlSource
from llmops.ingestion.sources.sql_connection import ReadOnly

_DENIED = ("28000", "28P01", "42501")  # PostgreSQL: authorization, password, privilege
_REFUSED = re.compile(r"authentication failed|role .* does not exist|[Aa]ccess denied|permission denied")


class SqlQuery:
    """Rows of one SELECT, which runs in read-only transactions.

    A listing asks for a page of rows at a time, in the order of their ids, so that no transaction stays open and a
    row that exists all the time is listed, whatever changes around it. With a version column it reads no text.

    Raises:
        ConfigurationError: the variable with the database's URL is not set, or holds no URL.
        MissingExtraError: the database's driver is not installed.
    """

    def __init__(self, spec: SqlSource, environment: Mapping[str, str] = os.environ) -> None:
        self._spec, self._columns = spec, spec.columns
        url = secret(environment, spec.url_env, "database's SQLAlchemy URL")
        self._database = ReadOnly(url, url_env=spec.url_env, timeout_s=spec.timeout_s)
        # A comment on the last line must not swallow what follows; every colon is the query's own.
        query = spec.query.strip().rstrip(";").replace(":", r"\:") + "\n"
        names = [spec.columns.id, spec.columns.text, *self._said(), *spec.columns.metadata]
        self._rows = text(query).columns(*map(column, dict.fromkeys(names))).subquery("document")
        self._id = self._rows.c[spec.columns.id]

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002 (a query is listed whole)
        """All rows, in the order of their ids.

        Raises:
            SourceError: the database is away, refuses us or is too slow.
            ConfigurationError: it does not understand the query.
        """
        after = checkpoint.get("after") if checkpoint else None
        problems = self._without_id() if after is None else []
        is_beyond = False
        while True:
            items, last, is_last = self._page(after, is_beyond, problems)
            is_beyond = last == after and not is_last
            if is_beyond:  # else it would go round in circles
                problems.append(f"more than {self._spec.page_rows} rows share the id {after!r}; mend source.query")
            after = last
            yield Page(items=tuple(items), problems=tuple(problems), checkpoint={"after": after})
            if is_last:
                return
            problems = []

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A row's text, and its version and principals as they are now.

        Raises:
            DocumentGoneError: the query does not return the row any more.
            DocumentError: its text is too large.
            SourceError: the database is away or refuses us.
        """
        query = self._select(max_bytes).where(self._id == _bound(item.handle["id"])).limit(1)
        rows = self._all(query)
        if not rows:
            raise DocumentGoneError("the query does not return this row any more")
        row = rows[0]
        raw = _raw(row.document_text)
        n_bytes = max(len(raw), row.document_length or 0)
        if n_bytes > max_bytes:
            raise DocumentError(too_large(n_bytes, max_bytes))
        fresh = self._item(row, raw)
        return Fetched(
            raw=raw,
            version=fresh.version,
            title=fresh.title,
            url=fresh.url,
            acl=() if fresh.acl is None and item.acl is not None else fresh.acl,  # None would keep the item's
            metadata=fresh.metadata,
        )

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: a query knows nobody."""
        return {}

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _said(self) -> list[str]:
        """Columns that are not the text and not metadata."""
        names = self._columns
        return [name for name in (names.title, names.url, names.version, names.acl) if name is not None]

    def _select(self, max_bytes: int | None) -> Select[Any]:
        """Rows; `max_bytes` None leaves the text out, else texts that are surely longer come as NULL."""
        columns = [self._rows.c[name] for name in dict.fromkeys([*self._said(), *self._columns.metadata])]
        content = self._rows.c[self._columns.text]
        if max_bytes is None:
            return select(self._id.label("document_id"), null().label("document_text"), *columns)
        length = func.length(content)
        kept = case((length <= max_bytes, content), else_=null()).label("document_text")
        return select(self._id.label("document_id"), kept, length.label("document_length"), *columns)

    def _without_id(self) -> list[str]:
        nameless = self._all(select(self._id).where(self._id.is_(None)).limit(1))
        return ["a row has no id (NULL); mend source.query"] if nameless else []

    def _page(self, after: Any, is_beyond: bool, problems: list[str]) -> tuple[list[Item], Any, bool]:
        """Documents that follow `after`, the last id that was read, and whether that was the last of all.

        Unless `is_beyond`, it begins with `after` itself: a collation may hold other ids for equal to it.
        """
        has_version = self._columns.version is not None
        query = self._select(None if has_version else self._spec.max_file_bytes)
        query = query.where(self._id.is_not(None)).order_by(self._id).limit(self._spec.page_rows + 1)
        if after is not None:
            query = query.where(self._id > _bound(after) if is_beyond else self._id >= _bound(after))
        items: dict[str, Item] = {}
        last, n_rows, n_known = after, 0, 0
        for row in self._stream(query):
            n_rows += 1
            last = _plain(row.document_id)
            n_known += last == after
            try:
                item = self._item(row, _raw(row.document_text))
            except ValueError as error:
                problems.append(f"{error}; mend source.query")
                continue
            if item.uri in items or (last == after and n_known > 1):
                problems.append(f"the id {item.uri!r} stands on more than one row; mend source.query")
            elif last != after or after is None:
                items[item.uri] = item
        return list(items.values()), last, n_rows <= self._spec.page_rows

    def _item(self, row: Row[Any], raw: bytes) -> Item:
        spec, names, values = self._spec, self._columns, row._mapping
        said = {name: values[name] for name in dict.fromkeys([*self._said(), *names.metadata])}
        if names.version is not None:
            version = _version(said[names.version])
        else:
            length = getattr(row, "document_length", None)
            shown = {key: value for key, value in said.items() if key != names.acl}
            version = digest_of(orjson.dumps([shown, length], default=str) + b"\0" + raw)
        return Item(
            uri=name_of(row.document_id),
            version=version,
            acl=tuple(sorted(spec.acl)) if spec.acl else principals_of(said[names.acl or ""]),
            title=str(said.get(names.title or "") or ""),
            url=str(said.get(names.url or "") or ""),
            media_type=spec.media_type,
            metadata={**spec.metadata, **metadata_of((name, said[name]) for name in names.metadata)},
            handle={"id": _plain(row.document_id)},
        )

    def _all(self, query: Select[Any]) -> list[Row[Any]]:
        return list(self._stream(query))

    def _stream(self, query: Select[Any]) -> Iterator[Row[Any]]:
        """Rows as they come, in a transaction of their own."""
        try:
            yield from self._database.rows(query)
        except SQLAlchemyError as error:
            raise _failure(error) from error


def _bound(value: Any) -> Any:
    """A parameter without a type, so that the database compares it as its column's."""
    return bindparam(None, value, type_=NullType())


def _plain(value: Any) -> int | str:
    """An id as JSON holds it."""
    return value if isinstance(value, int) else str(value)


def _version(value: Any) -> str:
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)


def _raw(value: Any) -> bytes:
    if value is None:
        return b""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else str(value).encode()


def _failure(error: SQLAlchemyError) -> SourceError | ConfigurationError:
    origin = getattr(error, "orig", None) or error
    said = str(origin).strip().splitlines()[0][:300] if str(origin).strip() else type(origin).__name__
    code = str(getattr(origin, "sqlstate", "") or "")
    if code in _DENIED or _REFUSED.search(said):
        return SourceDeniedError(f"the database refuses us: {said}")
    is_query = isinstance(error, ProgrammingError | DataError) or "no such" in said or "syntax error" in said
    if is_query:
        return ConfigurationError(f"the database does not understand source.query: {said}")
    return SourceError(f"the database cannot be read: {said}")
