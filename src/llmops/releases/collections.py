"""Collections and their aliases: the shape a collection was built with never changes; an alias can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import delete, insert, select, update

from llmops.clients.database import Database
from llmops.clients.database.tables import aliases, collections
from llmops.errors import NotFoundError


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionShape:
    """Everything that decides whether new vectors fit the old ones.

    Attributes:
        collection: physical name in the vector store, such as `handbook-1`.
        name: what routes and users call it, such as `handbook`.
        state: "building" until its first ingestion is complete and the alias points to it.
        average_terms: BM25's mean chunk length, measured when the collection was made.
    """

    collection: str
    name: str
    state: Literal["building", "ready"]
    embedder: str
    embedder_digest: str
    dimension: int
    chunker: Mapping[str, Any]
    average_terms: float
    spec_hash: str
    created_at: datetime


class CollectionBook:
    """Reads are from memory (`refresh` brings it up to date); writes go to the ledger first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shapes: dict[str, CollectionShape] = {}
        self._aliases: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        with self._database.read() as connection:
            shapes = [CollectionShape(**row._mapping) for row in connection.execute(select(collections))]
            pairs = [(row.alias, row.collection) for row in connection.execute(select(aliases))]
        self._shapes = {shape.collection: shape for shape in shapes}
        self._aliases = dict(pairs)

    def serving(self, name: str) -> CollectionShape | None:
        """The collection that answers under this name now."""
        return self._shapes.get(self._aliases.get(name, ""))

    def building(self, name: str) -> CollectionShape | None:
        """The newest collection of this name that no alias points to yet: an ingestion to go on with."""
        waiting = [s for s in self._shapes.values() if s.name == name and s.state == "building"]
        return max(waiting, key=lambda s: s.created_at, default=None)

    def next_name(self, name: str) -> str:
        """A physical name that no collection has; numbers go up."""
        prefix = f"{name}-"
        used = [c.removeprefix(prefix) for c in self._shapes if c.startswith(prefix)]
        return f"{prefix}{max((int(n) for n in used if n.isdigit()), default=0) + 1}"

    def names(self) -> list[str]:
        return sorted(self._aliases)

    def all(self) -> list[CollectionShape]:
        return sorted(self._shapes.values(), key=lambda s: s.created_at)

    def register(self, shape: CollectionShape) -> None:
        with self._database.begin() as connection:
            connection.execute(insert(collections).values(asdict(shape)))
        self.refresh()

    def point(self, name: str, collection: str) -> None:
        """Let `name` answer from `collection` from now on; one transaction.

        Raises:
            NotFoundError: no such collection is registered; the name answers as before.
        """
        with self._database.begin() as connection:
            connection.execute(delete(aliases).where(aliases.c.alias == name))
            row = {"alias": name, "collection": collection, "since": datetime.now(UTC)}
            connection.execute(insert(aliases).values(row))
            ready = update(collections).where(collections.c.collection == collection).values(state="ready")
            if not connection.execute(ready).rowcount:
                known = ", ".join(sorted(self._shapes)) or "none"
                raise NotFoundError(f"no collection {collection!r} for {name!r} to answer from; there is: {known}")
        self.refresh()

    def forget(self, collection: str) -> None:
        """Remove a collection's row (its points are the vector store's to drop)."""
        with self._database.begin() as connection:
            connection.execute(delete(collections).where(collections.c.collection == collection))
        self.refresh()
