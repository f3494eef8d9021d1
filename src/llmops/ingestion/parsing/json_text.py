"""JSON and JSON Lines as text a person can read: key paths and values, records, tables; no punctuation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, TextBuilder, name_of, pipe_table
from llmops.ingestion.parsing.plain import decode

MAX_RECORDS = 100_000
_MAX_DEPTH = 200
_HEADING_LEVELS = 3
_MIN_TABLE_ROWS = 2
_MAX_TABLE_COLUMNS = 30
_MAX_TABLE_CELL = 80
_NAMES = ("title", "name", "subject", "label", "id", "_id", "key")
_MAX_NAME = 120
_JSON, _JSONL = "application/json", "application/jsonl"


def parse_json(raw: bytes, uri: str) -> Parsed:
    """Objects as headings and `key: value` lines, lists of alike objects as tables or records.

    Raises:
        DocumentError: it is no JSON, or is nested deeper than 200 levels.
    """
    text = decode(raw)
    try:
        value = _loads(text)
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and error.lineno > 1:
            return parse_jsonl(raw, uri)  # one value a line, under the name of the other format
        raise DocumentError(f"is no valid JSON ({_said(error)})") from error
    builder, problems = TextBuilder(), list[str]()
    _add(value, builder, 1, problems)
    return builder.build(uri=uri, media_type=_JSON, title=_title(value) or name_of(uri), problems=problems)


def parse_jsonl(raw: bytes, uri: str) -> Parsed:
    """A record for each line.

    Raises:
        DocumentError: no line is JSON.
    """
    builder, problems = TextBuilder(), list[str]()
    first_error = ""
    n_records = 0
    for number, line in enumerate(decode(raw).split("\n"), start=1):
        if not line.strip():
            continue
        if n_records >= MAX_RECORDS:
            problems.append(f"has over {MAX_RECORDS} records; the others are not read")
            break
        try:
            value = _loads(line)
        except ValueError as error:
            first_error = first_error or _said(error)
            problems.append(f"line {number} is no valid JSON ({_said(error)})")
            continue
        n_records += 1
        builder.add("paragraph", "\n".join(_lines(value)), lines=(number, number))
    if not n_records:
        raise DocumentError(f"no line of it is valid JSON ({first_error})")
    return builder.build(uri=uri, media_type=_JSONL, title=name_of(uri), problems=problems)


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Nothing is lost of an object that has a key twice."""
    found: dict[str, Any] = {}
    n_seen: dict[str, int] = {}
    for key, value in pairs:
        n_seen[key] = n_seen.get(key, 0) + 1
        found[key if n_seen[key] == 1 else f"{key} ({n_seen[key]})"] = value
    return found


def _said(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return str(error)[:150]


def _title(value: Any) -> str:
    """What an object calls itself."""
    if isinstance(value, dict):
        for key in _NAMES[:3]:
            if isinstance(value.get(key), str) and 0 < len(value[key].strip()) <= _MAX_NAME:
                return str(value[key]).strip()
    return ""


def _add(value: Any, builder: TextBuilder, level: int, problems: list[str]) -> None:
    """Append a value: what an object holds itself first, then a section for each object or list below it."""
    if isinstance(value, list) and len(value) > MAX_RECORDS:
        problems.append(f"has a list of {len(value)} values; only the first {MAX_RECORDS} are read")
        value = value[:MAX_RECORDS]
    if isinstance(value, list) and (table := _table(value)):
        builder.add("table", table)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            builder.add("paragraph", "\n".join(_lines(item)))
    elif isinstance(value, dict) and level <= _HEADING_LEVELS:
        own = {key: item for key, item in value.items() if _is_small(item)}
        builder.add("list", "\n".join(_lines(own)))
        for key, item in value.items():
            if key not in own:
                builder.add("heading", _readable(key), level=level)
                _add(item, builder, level + 1, problems)
    else:
        builder.add("paragraph", "\n".join(_lines(value)))


def _is_small(value: Any) -> bool:
    """A value that fits on a line of its own."""
    return not isinstance(value, dict | list) or _is_plain_list(value) or value in ({}, [])


def _is_plain_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)


def _table(values: Sequence[Any]) -> str:
    """Objects with the same short values as a table; "" where they are no such rows."""
    if len(values) < _MIN_TABLE_ROWS or not all(isinstance(value, dict) and value for value in values):
        return ""
    keys = list(dict.fromkeys(key for value in values for key in value))
    n_filled = sum(len(value) for value in values)
    if len(keys) > _MAX_TABLE_COLUMNS or n_filled < 0.5 * len(keys) * len(values):
        return ""
    rows = [[_scalar(value[key]) if key in value else "" for key in keys] for value in values]
    is_flat = all(not isinstance(item, dict | list) for value in values for item in value.values())
    if not is_flat or any(len(cell) > _MAX_TABLE_CELL for row in rows for cell in row):
        return ""
    return pipe_table([keys, *rows])


def _lines(value: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """`path.to.key: value` lines; a list of plain values is one line."""
    if depth > _MAX_DEPTH:
        raise DocumentError(f"is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _lines(item, f"{path}.{key}" if path else _readable(key), depth + 1)
    elif isinstance(value, list) and value and not _is_plain_list(value):
        for number, item in enumerate(value, start=1):
            yield from _lines(item, f"{path}[{number}]", depth + 1)
    else:
        said = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
        yield f"{path}: {said}" if path else said


def _readable(key: str) -> str:
    return " ".join(key.split()) or "(no name)"


def _scalar(value: Any) -> str:
    """A plain value as JSON says it, text without its quotes."""
    if isinstance(value, str):
        return value.strip()
    return "" if value in ({}, []) else json.dumps(value)
