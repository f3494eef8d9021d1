"""Values in a YAML file changed where they stand: comments, order and everything else stay as they were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode

from llmops.config.load import parse_yaml
from llmops.errors import SpecError

Scalar = str | int | float
_PLAIN = re.compile(r"[a-z][a-z0-9_]*|-?\d+(\.\d+)?")


def with_values(text: str, file: str, section: str, values: Mapping[str, Scalar]) -> str:
    """The text of a file whose section has these values.

    A field that is there gets its value in place; a new one follows the section's last field of one line.

    Args:
        section: a field of the file that holds a mapping.

    Raises:
        SpecError: the section is missing, or is written so (in braces, with anchors) that a change of lines would
            not mean just this; says what to write.
    """
    before, _ = parse_yaml(text, file)
    wanted = {**before, section: {**_mapping(before, section, file, values), **values}}
    node = _section(text, section)
    if node is None or node.flow_style or "&" in _source(text, node) or "*" in _source(text, node):
        raise _by_hand(file, section, values)
    edited = _edited(text, node, values)
    try:
        after, _ = parse_yaml(edited, file)
    except SpecError as error:
        raise _by_hand(file, section, values) from error
    if after != wanted:
        raise _by_hand(file, section, values)
    return edited


def _mapping(value: Mapping[str, Any], section: str, file: str, values: Mapping[str, Scalar]) -> Mapping[str, Any]:
    found = value.get(section)
    if not isinstance(found, dict):
        raise _by_hand(file, section, values)
    return found


def _section(text: str, section: str) -> MappingNode | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, MappingNode):
        return None
    found = [value for key, value in root.value if isinstance(key, ScalarNode) and key.value == section]
    return found[0] if found and isinstance(found[0], MappingNode) else None


def _source(text: str, node: MappingNode) -> str:
    return text[node.start_mark.index : node.end_mark.index]


def _edited(text: str, node: MappingNode, values: Mapping[str, Scalar]) -> str:
    """Changes from the end to the beginning, so that the places before them stay where they are."""
    changes: list[tuple[int, int, str]] = []
    new = dict(values)
    last = node.start_mark.index
    for key, value in node.value:
        if isinstance(value, ScalarNode) and value.start_mark.line == value.end_mark.line:
            last = value.end_mark.index
        if key.value in new:
            changes.append((value.start_mark.index, value.end_mark.index, _said(new.pop(key.value))))
    if new:
        line_end = text.find("\n", last)
        place = len(text) if line_end < 0 else line_end
        indent = " " * node.start_mark.column
        newline = "\r\n" if text[max(place - 1, 0) : place] == "\r" else "\n"
        added = "".join(f"{newline}{indent}{name}: {_said(value)}" for name, value in new.items())
        place -= len(newline) - 1
        changes.append((place, place, added))
    for start, end, said in sorted(changes, reverse=True):
        text = text[:start] + said + text[end:]
    return text


def _said(value: Scalar) -> str:
    said = f"{value:g}" if isinstance(value, float) else str(value)
    return said if _PLAIN.fullmatch(said) else yaml.safe_dump(value).splitlines()[0]


def _by_hand(file: str, section: str, values: Mapping[str, Scalar]) -> SpecError:
    what = ", ".join(f"{name}: {_said(value)}" for name, value in values.items())
    return SpecError(file, f"cannot be edited safely here; write {what} under {section!r} yourself", field=section)
