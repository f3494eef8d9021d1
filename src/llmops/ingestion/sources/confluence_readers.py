"""Who may read a page of Confluence: those whom the space and every restriction above and on the page admit.

Restrictions narrow: a page is readable by the intersection of its own, its ancestors' and the space's readers.
What cannot be asked for is unknown, and hides the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llmops.errors import SourceDeniedError
from llmops.ingestion.sources.confluence_api import ConfluenceApi, parent_of
from llmops.ingestion.sources.principals import readers_of_all
from llmops.ingestion.sources.protocol import Acl

_MAX_DEPTH = 200
_GROUP = "group:"


class Readers:
    """Permissions during one listing; what was asked for once is kept until it ends."""

    def __init__(self, api: ConfluenceApi, parallel: int, groups: Iterable[str] = ()) -> None:
        self._api, self._parallel = api, parallel
        self._spaces: dict[str, tuple[str, ...] | None] = {}
        self._own: dict[str, tuple[str, ...] | None] = {}
        self._parents: dict[str, tuple[str, str] | None] = {}
        self._members: dict[str, tuple[str, ...] | None] = {}
        self.groups: set[str] = set(groups)

    def of_content(self, space_id: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Acl]:
        """Readers of pages or blog posts of one space, by id."""
        for record in records:
            self._parents[str(record["id"])] = parent_of(record)
        with ThreadPoolExecutor(self._parallel) as pool:
            ids = [str(record["id"]) for record in records]
            self._own.update(zip(ids, pool.map(self._api.restrictions, ids), strict=True))
        if space_id not in self._spaces:
            self._spaces[space_id] = self._api.space_readers(space_id)
        return {key: self._readers(space_id, key) for key in ids}

    def _readers(self, space_id: str, key: str) -> Acl:
        levels: list[tuple[str, ...]] = []
        for level in (self._spaces[space_id], *self._restrictions_above(key)):
            if level is None:
                return None
            levels.append(level)
        narrowing = [levels[0], *(level for level in levels[1:] if level)]
        groups = {one for level in narrowing for one in level if one.startswith(_GROUP)}
        self.groups |= groups
        if len({frozenset(level) for level in narrowing}) == 1:
            return readers_of_all(narrowing[:1], {})
        members = {one: self._members_of(one) for one in groups}
        acl = readers_of_all(narrowing, {one: known for one, known in members.items() if known is not None})
        return acl if acl or None not in members.values() else None

    def _members_of(self, one: str) -> tuple[str, ...] | None:
        """People of a group; None when we may not know, and then nobody is admitted for being in it."""
        if one not in self._members:
            try:
                self._members[one] = self._api.members(one.partition("/")[2])
            except SourceDeniedError:
                self._members[one] = None
        return self._members[one]

    def _restrictions_above(self, key: str) -> Iterable[tuple[str, ...] | None]:
        """The content's own restrictions, then its ancestors'; None ends it: something above is unknown."""
        kind, seen = "page", set[str]()
        while key:
            if key in seen or len(seen) > _MAX_DEPTH:
                yield None
                return
            seen.add(key)
            if key not in self._own:
                self._own[key] = self._api.restrictions(key)
            yield self._own[key]
            if key not in self._parents:
                self._parents[key] = self._api.parent(kind, key)
            above = self._parents[key]
            if above is None:
                yield None
                return
            kind, key = above
