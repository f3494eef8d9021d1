"""A `Filter` as clauses that both engines translate alike.

All clauses must hold; a clause holds when any of its conditions does. A number is a range of itself:
engines compare ranges by value, so 2, 2.0 and (for True, which is stored as 1) 1 behave as in Python.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops.clients.protocols import Filter
from llmops.clients.vectors.names import ACL, DOCUMENT, TENANT, is_field
from llmops.clients.vectors.payload import access_keys
from llmops.errors import RequestError

_TOP_LEVEL = frozenset({"uri", "title", DOCUMENT})
_BOUNDS = ("gt", "gte", "lt", "lte")
_EXACT_IN_FLOAT = 2**53


@dataclass(frozen=True, kw_only=True, slots=True)
class AnyText:
    """The field is, or contains, one of the texts."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The field is a number within the bounds that are given."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """The field is this integer, too large to be compared as a float."""

    key: str
    value: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """The field is not there."""

    key: str


Condition = AnyText | Range | Whole | Absent
Clause = tuple[Condition, ...]


def of_tenant(tenant: str) -> Clause:
    """The points of this tenant; those from before there were tenants are the default one's."""
    named = AnyText(key=TENANT, values=(tenant,))
    return (named,) if tenant else (named, Absent(key=TENANT))


def of_documents(*document_ids: str) -> Clause:
    """The points of these documents."""
    return (AnyText(key=DOCUMENT, values=document_ids),)


def clauses(where: Filter) -> list[Clause] | None:
    """What must hold, or `None` when nothing can match (no principals, or any of no values).

    Raises:
        RequestError: a field's name or a condition is not one we can ask.
    """
    made: list[Clause] = []
    if where.principals is not None:
        keys = tuple(access_keys(where.tenant, where.principals))
        made.append((AnyText(key=ACL, values=keys),) if keys else ())
    for name, condition in (where.metadata or {}).items():
        if not is_field(name):
            raise RequestError(
                f"{name!r} cannot be filtered by: a field's name has 1 to 64 of A-Z, a-z, 0-9, '_' and '-'"
            )
        key = name if name in _TOP_LEVEL else f"metadata.{name}"
        match condition:
            case Mapping():
                made.append((_range(name, key, condition),))
            case str():
                made.append((AnyText(key=key, values=(condition,)),))
            case Sequence():
                made.append(_any_of(name, key, condition))
            case _:
                made.append((_equals(name, key, condition),))
    return made if all(made) else None


def _any_of(name: str, key: str, values: Sequence[object]) -> Clause:
    texts = tuple(v for v in values if isinstance(v, str))
    others = tuple(_equals(name, key, v) for v in values if not isinstance(v, str))
    return (AnyText(key=key, values=texts), *others) if texts else others


def _equals(name: str, key: str, value: object) -> Condition:
    match value:
        case int() if abs(value) < _EXACT_IN_FLOAT:
            return Range(key=key, gte=float(value), lte=float(value))
        case int() if -(2**63) <= value < 2**63:
            return Whole(key=key, value=value)
        case float() if math.isfinite(value):
            return Range(key=key, gte=value, lte=value)
        case _:
            raise RequestError(
                f"field {name!r} cannot be compared with {value!r}: give a text, a finite number, "
                "true or false, a list of these, or a range such as {'gte': 1}"
            )


def _range(name: str, key: str, bounds: Mapping[str, object]) -> Range:
    given: dict[str, float] = {}
    for operator, value in bounds.items():
        if operator not in _BOUNDS:
            raise RequestError(f"field {name!r} has the range operator {operator!r}: use gt, gte, lt or lte")
        number = _float(value)
        if number is None:
            raise RequestError(f"field {name!r} has the range bound {value!r}: give a finite number")
        given[operator] = number
    if not given:
        raise RequestError(f"field {name!r} has an empty range: give gt, gte, lt or lte")
    return Range(key=key, **given)


def _float(value: object) -> float | None:
    """The value as a finite float, or `None` when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
