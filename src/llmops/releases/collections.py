"""Collections and their aliases: the shape a collection was built with never changes; an alias can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import delete, insert, select, update

from llmops.clients.database import Database
from llmops.clients.database.tables import aliases, collections
from llmops.errors import NotFoundError
from llmops.records import Release
from llmops.releases.aliases import PRODUCTION, Move, move_alias


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionShape:
    """Everything that decides whether new vectors fit the old ones.

    Attributes:
        collection: physical name in the vector store, such as `handbook-1`.
        name: what routes and users call it, such as `handbook`.
        state: "building" until its first ingestion is complete; then "candidate" while no name has ever pointed
            to it, and "ready" from the moment one does.
        average_terms: BM25's mean chunk length, measured when the collection was made.
        boilerplate: digests of blocks cut from every document, likewise.
    """

    collection: str
    name: str
    state: Literal["building", "candidate", "ready"]
    embedder: str
    embedder_digest: str
    dimension: int
    chunker: Mapping[str, Any]
    average_terms: float
    spec_hash: str
    created_at: datetime
    boilerplate: Sequence[str] | None = None


class CollectionBook:
    """Reads are from memory (`refresh` brings it up to date); writes go to the ledger first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shapes: dict[str, CollectionShape] = {}
        self._aliases: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        mine = select(aliases).where(aliases.c.kind == "collection", aliases.c.alias == PRODUCTION)
        with self._database.read() as connection:
            shapes = [CollectionShape(**row._mapping) for row in connection.execute(select(collections))]
            pairs = [(row.name, row.target) for row in connection.execute(mine)]
        self._shapes = {shape.collection: shape for shape in shapes}
        self._aliases = dict(pairs)

    def serving(self, name: str) -> CollectionShape | None:
        """The collection that answers under this name now."""
        return self._shapes.get(self._aliases.get(name, ""))

    def building(self, name: str) -> CollectionShape | None:
        """The newest collection of this name that no alias points to yet: an ingestion to go on with."""
        waiting = [s for s in self._shapes.values() if s.name == name and s.state == "building"]
        return max(waiting, key=lambda s: s.created_at, default=None)

    def candidate(self, name: str) -> CollectionShape | None:
        """The newest complete collection of this name that has never answered: what a release would promote."""
        waiting = [s for s in self._shapes.values() if s.name == name and s.state == "candidate"]
        return max(waiting, key=lambda s: s.created_at, default=None)

    def get(self, collection: str) -> CollectionShape:
        """The collection with this physical name.

        Raises:
            NotFoundError: there is none.
        """
        if collection not in self._shapes:
            known = ", ".join(sorted(self._shapes)) or "none"
            raise NotFoundError(f"no collection {collection!r}; there is: {known}")
        return self._shapes[collection]

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

    def point(
        self, name: str, collection: str, *, action: Literal["ingest", "promote", "rollback"] = "ingest"
    ) -> Release:
        """Let `name` answer from `collection` from now on; one transaction, with its history.

        Raises:
            NotFoundError: no such collection is registered; the name answers as before.
        """
        move = Move(kind="collection", name=name, target=collection, action=action, actor="ingestion")
        return self.move([move])[0]

    def move(self, moves: Sequence[Move]) -> list[Release]:
        """Moves of aliases, of collections and of other kinds together: all or none.

        Raises:
            NotFoundError: a collection is not registered; every name answers as before.
        """
        with self._database.begin_alone() as connection:
            done = [move_alias(connection, move) for move in moves]
            for move in moves:
                if move.kind == "collection":
                    ready = (
                        update(collections).where(collections.c.collection == move.target).values(state="ready")
                    )
                    if not connection.execute(ready).rowcount:
                        known = ", ".join(sorted(self._shapes)) or "none"
                        problem = f"no collection {move.target!r} for {move.name!r} to answer from"
                        raise NotFoundError(f"{problem}; there is: {known}")
        self.refresh()
        return done

    def complete(self, collection: str) -> None:
        """Its first ingestion is done, and nothing points to it yet."""
        with self._database.begin() as connection:
            here = (collections.c.collection == collection) & (collections.c.state == "building")
            connection.execute(update(collections).where(here).values(state="candidate"))
        self.refresh()

    def forget(self, collection: str) -> None:
        """Remove a collection's row (its points are the vector store's to drop)."""
        with self._database.begin() as connection:
            connection.execute(delete(collections).where(collections.c.collection == collection))
        self.refresh()
