"""YAML that remembers on which line every key and value stood, and refuses a key written twice."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from llmops.errors import SpecError

Path = tuple[str | int, ...]
_MAX_NODES = 100_000


def parse_with_lines(text: str, file: str, *, first_line: int = 1) -> tuple[Any, dict[Path, int]]:
    """Parse YAML text.

    Args:
        first_line: the line of `file` on which `text` begins (front matter begins on line 2).

    Returns:
        The plain value, and the 1-based line of every path in it (`()` is the document).

    Raises:
        SpecError: the text is not YAML, repeats a key, or nests aliases beyond reason.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {(): first_line}
        lines: dict[Path, int] = {}
        _collect(node, (), lines, file, first_line)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + first_line if mark else None
        raise SpecError(file, f"not valid YAML: {error.problem or error}", line=line) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(file, f"not valid YAML: {str(error).splitlines()[0]}") from error
    finally:
        loader.dispose()


def _collect(node: Node, path: Path, lines: dict[Path, int], file: str, first_line: int) -> None:
    lines.setdefault(path, node.start_mark.line + first_line)
    if len(lines) > _MAX_NODES:
        raise SpecError(file, f"more than {_MAX_NODES} values: aliases may be nested; write them out")
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + first_line
            if key in seen:
                raise SpecError(file, "written twice; keep one", line=line, field=_dotted((*path, key)))
            seen.add(key)
            lines[(*path, key)] = line
            _collect(value_node, (*path, key), lines, file, first_line)
    elif isinstance(node, SequenceNode):
        for index, child in enumerate(node.value):
            _collect(child, (*path, index), lines, file, first_line)


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)
