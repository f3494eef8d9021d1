"""Documents that applications send: the ledger keeps what the policy lets pass, so that it can be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import Database
from llmops.clients.database.tables import pushed_documents
from llmops.errors import DocumentError, DocumentExpiredError, DocumentGoneError, DocumentRefusedError
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.spec import PushSource

_PAGE = 1_000
_WITHHELD: Mapping[str, type[DocumentError]] = {"refused": DocumentRefusedError, "expired": DocumentExpiredError}


class Pushed:
    """The pushed documents of one pipeline, as a source and as the place they are kept."""

    def __init__(self, spec: PushSource, pipeline: str, database: Database) -> None:
        self._spec, self._pipeline, self._database = spec, pipeline, database

    def put(self, document_id: str, item: Item, raw: bytes, *, withheld: tuple[str, str] | None = None) -> None:
        """Keep a document, replacing its earlier version; durable on return.

        Args:
            withheld: state and reason of a document of which nothing may be kept.
        """
        version = item.version or hashlib.sha256(raw).hexdigest()
        listed = {
            **({"withheld": withheld} if withheld is not None else {}),
            "version": version,
            "title": item.title,
            "url": item.url,
            "media_type": item.media_type,
            "acl": list(item.acl) if item.acl is not None else None,
            "metadata": dict(item.metadata),
            "n_bytes": len(raw),
        }
        values = {
            "pipeline": self._pipeline,
            "document_id": document_id,
            "uri": item.uri,
            "item": listed,
            "raw": raw,
            "at": datetime.now(UTC),
        }
        dialect = sqlite if self._database.is_sqlite else postgresql
        statement = dialect.insert(pushed_documents).values(values)
        changed = {name: statement.excluded[name] for name in ("uri", "item", "raw", "at")}
        with self._database.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["pipeline", "document_id"], set_=changed)
            )

    def set_acl(self, document_id: str, acl: tuple[str, ...]) -> None:
        """Who may read a kept document from now on, also after a rebuild."""
        here = self._here(document_id)
        with self._database.begin_alone() as connection:
            kept = connection.execute(select(pushed_documents.c.item).where(here)).scalar_one_or_none()
            if kept is not None:
                values = {"item": {**kept, "acl": list(acl)}}
                connection.execute(pushed_documents.update().where(here).values(values))

    def withhold(self, reasons: Mapping[str, tuple[str, str]]) -> None:
        """Let go of what is kept of documents whose date has come, or that the policy refuses by now.

        Args:
            reasons: state and reason by document id.
        """
        kept, ids = pushed_documents.c, list(reasons)
        for start in range(0, len(ids), _PAGE):
            some = kept.document_id.in_(ids[start : start + _PAGE])
            query = select(kept.document_id, kept.item).where(
                kept.pipeline == self._pipeline, some, kept.raw != b""
            )
            with self._database.begin_alone() as connection:
                for row in connection.execute(query).all():
                    why = list(reasons[row.document_id])
                    item = {**row.item, "title": "", "metadata": {}, "withheld": why}
                    here = self._here(row.document_id)
                    connection.execute(pushed_documents.update().where(here).values(item=item, raw=b""))

    def remove(self, document_id: str) -> bool:
        """Forget a document's bytes; False when there were none."""
        with self._database.begin() as connection:
            return bool(connection.execute(delete(pushed_documents).where(self._here(document_id))).rowcount)

    def items(self, document_ids: Sequence[str]) -> list[Item]:
        """Kept documents as they would be listed now, as far as they are kept."""
        found: list[Item] = []
        columns = (pushed_documents.c.document_id, pushed_documents.c.uri, pushed_documents.c.item)
        with self._database.read() as connection:
            for key in document_ids:
                row = connection.execute(select(*columns).where(self._here(key))).one_or_none()
                if row is not None:
                    found.append(self._item(row.uri, row.item, row.document_id))
        return found

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002 (the ledger is listed whole)
        """All kept documents."""
        after = ""
        columns = (pushed_documents.c.document_id, pushed_documents.c.uri, pushed_documents.c.item)
        while True:
            here = (pushed_documents.c.pipeline == self._pipeline) & (pushed_documents.c.document_id > after)
            query = select(*columns).where(here).order_by(pushed_documents.c.document_id).limit(_PAGE)
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            yield Page(items=tuple(self._item(row.uri, row.item, row.document_id) for row in rows))
            if len(rows) < _PAGE:
                return
            after = rows[-1].document_id

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A kept document.

        Raises:
            DocumentError: it is over the limit, which was lowered since, or nothing of it was kept.
            DocumentGoneError: it was removed.
        """
        columns = (pushed_documents.c.raw, pushed_documents.c.item)
        with self._database.read() as connection:
            row = connection.execute(select(*columns).where(self._here(item.handle["id"]))).one_or_none()
        if row is None:
            raise DocumentGoneError("was removed by the application that sent it")
        if "withheld" in row.item:
            state, reason = row.item["withheld"]
            raise _WITHHELD.get(state, DocumentError)(reason)
        if len(row.raw) > max_bytes:
            raise DocumentError(
                f"has {len(row.raw):,} bytes; at most {max_bytes:,} are read (source.max_file_bytes)"
            )
        return Fetched(raw=row.raw, version=row.item["version"])

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: groups are sent as events."""
        return {}

    def close(self) -> None:
        """Nothing is held open."""

    def _item(self, uri: str, kept: Mapping[str, object], document_id: str) -> Item:
        acl = kept["acl"]
        own = tuple(str(principal) for principal in acl) if isinstance(acl, list) else self._spec.acl
        metadata = kept["metadata"] if isinstance(kept["metadata"], dict) else {}
        n_bytes = kept["n_bytes"]
        return Item(
            uri=uri,
            acl=own,
            version=str(kept["version"]),
            n_bytes=n_bytes if isinstance(n_bytes, int) else None,
            title=str(kept["title"]),
            url=str(kept["url"]),
            media_type=str(kept["media_type"]),
            metadata={**self._spec.metadata, **metadata},
            handle={"id": document_id},
        )

    def _here(self, document_id: str):  # type: ignore[no-untyped-def]  # a clause of SQLAlchemy
        return (pushed_documents.c.pipeline == self._pipeline) & (pushed_documents.c.document_id == document_id)
