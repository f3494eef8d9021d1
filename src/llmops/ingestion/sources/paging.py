"""Following a vendor's pages without being led in a circle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops.clients.web.response import AnswerError
from llmops.errors import SourceError

_MAX_EMPTY = 100
_MAX_STALE = 3


@dataclass(slots=True)
class Trail:
    """What one listing has seen.

    Attributes:
        what: names it in an error.
    """

    what: str
    _cursors: set[str] = field(default_factory=set)
    _ids: set[str] = field(default_factory=set)
    _n_empty: int = 0
    _n_stale: int = 0

    def step(self, cursor: str, ids: Sequence[str]) -> None:
        """Take note of a page and of the cursor that follows it, or "".

        Raises:
            SourceError: the cursor came before, or page after page brings nothing new.
        """
        self._n_empty = 0 if ids else self._n_empty + 1
        self._n_stale = self._n_stale + 1 if ids and self._ids.issuperset(ids) else 0
        self._ids.update(ids)
        if not cursor:
            return
        if cursor in self._cursors or self._n_empty > _MAX_EMPTY or self._n_stale >= _MAX_STALE:
            raise SourceError(
                f"the listing of {self.what} goes in a circle; nothing was concluded from it; try again later"
            )
        self._cursors.add(cursor)


def every(
    what: str, ask: Callable[[str], tuple[list[Any], str]], key: Callable[[Any], str], cursor: str = ""
) -> Iterator[tuple[list[Any], str]]:
    """Pages from `ask(cursor)`, each with the cursor that follows it ("" after the last)."""
    trail = Trail(what)
    while True:
        found, cursor = ask(cursor)
        trail.step(cursor, [key(one) for one in found])
        yield found, cursor
        if not cursor:
            return


def records_of(answer: Any, field_name: str, what: str) -> list[Any]:
    """The list of objects in a vendor's answer.

    Raises:
        AnswerError: it has none: it is no answer of this API.
    """
    found = answer.get(field_name) if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise AnswerError(f"the listing of {what} has no {field_name!r}; is the address of the API right?")
    return found
