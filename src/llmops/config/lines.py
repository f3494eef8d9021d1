"""YAML that remembers on which line every key and value stood, and refuses a key written twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

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
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        at = text[: error.position].count("\n") + first_line
        problem = f"holds the control character {chr(error.character)!r}; remove it"
        raise SpecError(file, problem, line=at) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {(): first_line}
        lines = _Lines(loader=loader, file=file, first_line=first_line)
        lines.collect(node, ())
        return loader.construct_document(node), lines.found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + first_line if mark else None
        raise SpecError(file, f"not valid YAML: {error.problem or error}", line=line) from error
    except RecursionError as error:
        raise SpecError(file, "is nested too deeply, or an alias holds itself; write the values out") from error
    finally:
        loader.dispose()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lines:
    """The walk over a document's nodes, and the lines found on the way."""

    loader: yaml.SafeLoader
    file: str
    first_line: int
    found: dict[Path, int] = field(default_factory=dict)

    def collect(self, node: Node, path: Path) -> None:
        self.found.setdefault(path, self._line(node))
        if len(self.found) > _MAX_NODES:
            raise SpecError(self.file, f"more than {_MAX_NODES} values: aliases may be nested; write them out")
        if isinstance(node, MappingNode):
            self._collect_mapping(node, path)
        elif isinstance(node, SequenceNode):
            for index, child in enumerate(node.value):
                self.collect(child, (*path, index))
        elif isinstance(node, ScalarNode):
            self._scalar(node, path)

    def _collect_mapping(self, node: MappingNode, path: Path) -> None:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if isinstance(key_node, ScalarNode) and key_node.tag == "tag:yaml.org,2002:merge":
                self.collect(value_node, (*path, "<<"))
                continue
            key = self._scalar(key_node, path) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                shown = repr(key_node.value) if isinstance(key_node, ScalarNode) else f"a {key_node.id}"
                problem = f"has the key {shown}, which is not text; put it in quotes"
                raise SpecError(self.file, problem, line=self._line(key_node), field=_dotted(path))
            here = (*path, key)
            if key in seen:
                raise SpecError(
                    self.file, "written twice; keep one", line=self._line(key_node), field=_dotted(here)
                )
            seen.add(key)
            self.found[here] = self._line(key_node)
            self.collect(value_node, here)

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        """Its value: a date that is none and text that is no Unicode are found here, where the line is known."""
        try:
            value = self.loader.construct_object(node)
            if isinstance(value, str):
                value.encode()
        except ValueError as error:
            problem = f"{node.value!r} cannot be read ({error}); put it in quotes or mend it"
            raise SpecError(self.file, problem, line=self._line(node), field=_dotted(path)) from error
        return value

    def _line(self, node: Node) -> int:
        return int(node.start_mark.line) + self.first_line


def _dotted(path: Path) -> str | None:
    return ".".join(str(part) for part in path) or None
