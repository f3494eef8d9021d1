"""How people and groups of sources are named, so that a document's readers and a caller's principals meet.

- A person is `user:EMAIL`, in lower case, or `user:ID` where the source hides the address: `user:ann@example.org`.
- A group is `group:SOURCE/ID`, the id in lower case: `group:confluence/5f3a...`, `group:slack/t024be7ld`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmops.records import EVERYONE


def person(*names: object) -> str | None:
    """The principal of the first name that is one (address before id); None without any."""
    name = next((name.strip() for name in names if isinstance(name, str) and name.strip()), "")
    return f"user:{name.lower()}" if name else None


def group(source: str, key: str) -> str:
    """The principal of a group of `source`."""
    return f"group:{source}/{key.strip().lower()}"


def readers_of_all(levels: Iterable[tuple[str, ...]], members: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Who stands in every level (space, ancestors, page), sorted.

    A group stays a group where every level names it, or `everyone`; where levels name different groups, the people
    in all of them are named one by one, as `members` has them now. A group without known members adds nobody.
    """
    sets = [set(level) for level in levels]
    narrowing = [one for one in sets if EVERYONE not in one]
    if not narrowing:
        return (EVERYONE,) if sets else ()
    common = set.intersection(*narrowing)
    people = set.intersection(*(_people(one, members) for one in narrowing)) if len(narrowing) > 1 else set()
    covered = _people(common, members)
    return tuple(sorted(common | {one for one in people if one not in covered}))


def _people(level: set[str], members: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The persons of a level, groups expanded however deep."""
    found: set[str] = set()
    waiting, seen = list(level), set(level)
    while waiting:
        one = waiting.pop()
        if one.startswith("user:"):
            found.add(one)
        for member in members.get(one, ()):
            if member not in seen:
                seen.add(member)
                waiting.append(member)
    return found
