"""reStructuredText through docutils, with Sphinx's own directives and roles read for their text."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from docutils import nodes
from docutils.frontend import Values, get_default_settings
from docutils.parsers.rst import Directive, Parser, directives, roles, states
from docutils.utils import Reporter, new_document

from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder
from llmops.ingestion.parsing.plain import decode, parse_plain

_PEP_HEADER = re.compile(r"\A(?:[A-Z][\w-]*:.*\n(?:[ \t]+\S.*\n)*)+(?=\s*\n)")
_ROLE_TARGET = re.compile(r"^(?P<text>.*?)\s*<[^<>]+>$", re.DOTALL)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_MAX_MARKS = 5_000
_UNKNOWN_DIRECTIVE = re.compile(r"(?:^|(?<=\s))\.\. (?:\|[^|\n]+\| )?([\w:+.-]+)::")
_OPTION = re.compile(r":[\w-]+:(?:\s|$)")
_NUMBER = re.compile(r"[\d.]+")
_registries = threading.Lock()
_UNKNOWN_ROLE = re.compile(r"(?<![\w:]):([A-Za-z][\w:+.-]*):`")
_SERIES = ("pep", "rfc")
_MAX_SUBSTITUTION = 2_000
_MAX_SUBSTITUTION_DEPTH = 3
_NO_TEXT = frozenset(
    ("toctree", "raw", "include", "contents", "only", "index", "currentmodule", "module", "highlight")
)
_CODE = frozenset(("code-block", "sourcecode", "code", "literalinclude", "parsed-literal", "prompt", "doctest"))

_DEFAULTS = get_default_settings(Parser)  # once: making them changes the process's warning filters for a moment


class _Content(Directive):
    """Any directive that docutils does not know: its argument and content are text."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[Any] = None

    def run(self) -> list[nodes.Node]:
        node = nodes.container()
        node.line = self.lineno
        lines = self.arguments[0].split("\n") if self.arguments else []
        argument = " ".join(line for line in lines if not _OPTION.match(line))
        if argument and not _NUMBER.fullmatch(argument):  # the 3.12 of a versionadded, the 2 of a grid
            spans, _ = self.state.inline_text(argument, self.lineno)
            paragraph = nodes.paragraph(argument, "", *spans)
            paragraph.line = self.lineno
            node += paragraph
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


class _Code(Directive):
    """Code as it stands."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[Any] = None

    def run(self) -> list[nodes.Node]:
        text = "\n".join(line for line in self.content if not re.match(r"^:[\w-]+:", line))
        block = nodes.literal_block(text, text)
        block.line = self.content_offset + 1
        return [block] if text.strip() else []


class _Nothing(Directive):
    """A directive whose content is not text for a reader, or would read another file."""

    has_content = True
    optional_arguments = 100
    final_argument_whitespace = True
    option_spec: ClassVar[Any] = None

    def run(self) -> list[nodes.Node]:
        return []


def _role(name: str, rawtext: str, text: str, lineno: int, inliner: states.Inliner, *_: Any) -> Any:  # noqa: ARG001
    """`:ref:`title <target>`` reads as its title, `:pep:`8`` as "PEP 8", any other role as its text."""
    match = _ROLE_TARGET.match(text)
    if name.lower() in _SERIES and not match:
        return [nodes.inline(rawtext, f"{name.upper()} {text}")], []
    shown = match["text"] if match and match["text"] else text.lstrip("~!").replace("\x00", "")
    return [nodes.inline(rawtext, shown)], []


def parse_restructuredtext(raw: bytes, uri: str) -> Parsed:
    source = decode(raw).replace("\r\n", "\n").expandtabs(8)
    if any(_is_hostile(block) for block in _PARAGRAPH_END.split(source)):
        return parse_plain(raw, uri)
    metadata, header_lines, body = _pep_header(source)
    document = _document(body, uri)
    builder = TextBuilder()
    _walk(document, builder, 0, header_lines)
    title = str(metadata.get("title", ""))
    if "pep" in metadata:
        title = f"PEP {metadata['pep']} – {title}"
    return builder.build(uri=uri, media_type="text/x-rst", title=title, metadata=metadata)


def _is_hostile(block: str) -> bool:
    """docutils takes minutes over a paragraph with thousands of marks that open nothing; nobody writes one."""
    return len(block) > _MAX_MARKS and sum(map(block.count, "*`|_")) > _MAX_MARKS


def _pep_header(source: str) -> tuple[dict[str, Scalar], int, str]:
    match = _PEP_HEADER.match(source)
    if match is None or not source.startswith("PEP:"):
        return {}, 0, source
    fields = re.findall(r"^([A-Z][\w-]*):[ \t]*(.*(?:\n[ \t]+\S.*)*)", match[0], re.MULTILINE)
    metadata: dict[str, Scalar] = {
        name.lower(): " ".join(value.split()) for name, value in fields if value.strip()
    }
    return metadata, match[0].count("\n"), source[match.end() :]


def _document(source: str, uri: str) -> nodes.document:
    settings: Values = _DEFAULTS.copy()
    settings.report_level = Reporter.SEVERE_LEVEL + 1
    settings.halt_level = Reporter.SEVERE_LEVEL + 1
    settings.file_insertion_enabled = False
    settings.raw_enabled = False
    settings.warning_stream = ""
    settings.smart_quotes = False
    settings.line_length_limit = 1_000_000
    settings.syntax_highlight = "none"
    document = new_document(uri, settings)
    with _taught(source):
        Parser().parse(source, document)
    return document


@contextmanager
def _taught(source: str) -> Iterator[None]:
    """docutils with what this source needs, and as it was before when the source has been read.

    Its registries are global: what one file defines would change how the next one reads.
    """
    with _registries:
        tables = (directives._directives, roles._roles)  # type: ignore[attr-defined]
        before = [dict(table) for table in tables]
        try:
            _teach(source)
            yield
        finally:
            for table, kept in zip(tables, before, strict=True):
                table.clear()
                table.update(kept)


def _teach(source: str) -> None:
    """Register what this source uses and docutils does not know, so that its text is kept."""
    for name in {match.lower() for match in _UNKNOWN_DIRECTIVE.findall(source)}:
        if name in _NO_TEXT:
            directives.register_directive(name, _Nothing)
        elif name in _CODE:
            directives.register_directive(name, _Code)
        elif name not in directives._directive_registry and name not in directives._directives:  # type: ignore[attr-defined]
            directives.register_directive(name, _Content)
    for name in {match.lower() for match in _UNKNOWN_ROLE.findall(source)}:
        if name not in roles._role_registry and name not in roles._roles:  # type: ignore[attr-defined]
            roles.register_local_role(name, _role)


def _walk(node: nodes.Element, builder: TextBuilder, level: int, shift: int) -> None:
    for child in node.children:
        if not isinstance(child, nodes.Element):
            continue
        lines = _lines(child, shift)
        match child:
            case nodes.system_message() | nodes.comment() | nodes.target() | nodes.substitution_definition():
                continue
            case nodes.section():
                _walk(child, builder, level + 1, shift)
            case nodes.footnote() | nodes.citation():
                builder.add("paragraph", f"[{_note_name(child) or '#'}] {_text(child)}", lines=lines)
            case nodes.title() if isinstance(node, nodes.section):
                builder.add("heading", _text(child), level=max(level, 1), lines=lines)
            case nodes.rubric():
                builder.add("heading", _text(child), level=level + 1, lines=lines)
            case nodes.literal_block() | nodes.doctest_block() | nodes.math_block():
                builder.add("code", child.astext(), lines=lines)
            case nodes.bullet_list() | nodes.enumerated_list():
                _list(child, builder, lines, level, shift)
            case nodes.table():
                builder.add("table", "\n".join(_rows(child)), lines=lines)
            case nodes.definition_list() | nodes.field_list() | nodes.option_list():
                builder.add("list", "\n".join(_definitions(child)), lines=lines)
            case nodes.image():
                builder.add("paragraph", str(child.get("alt", "")), lines=lines)
            case (
                nodes.title()
                | nodes.subtitle()
                | nodes.paragraph()
                | nodes.line_block()
                | nodes.caption()
                | nodes.attribution()
            ):
                builder.add("paragraph", _text(child), lines=lines)
            case _:
                _walk(child, builder, level, shift)


def _lines(node: nodes.Element, shift: int) -> tuple[int, int] | None:
    """First and last line of the source, 1-based, as far as docutils knows them."""
    spans = [
        (part.line, part.line + part.rawsource.count("\n"))
        for part in node.findall(nodes.Element)
        if part.line is not None
    ]
    if not spans:
        return None
    underline = isinstance(node, nodes.title) and isinstance(node.parent, nodes.section)
    first = min(first for first, _ in spans) - underline
    return max(first, 1) + shift, max(last for _, last in spans) - underline + shift


def _list(
    node: nodes.Element, builder: TextBuilder, lines: tuple[int, int] | None, level: int, shift: int
) -> None:
    """One block of item lines, unless an item holds code or a table: then item by item."""
    if any(True for _ in node.findall(lambda n: isinstance(n, nodes.literal_block | nodes.table))):
        for item in node.children:
            if isinstance(item, nodes.Element):
                _walk(item, builder, level, shift)
        return
    builder.add("list", "\n".join(_items(node, 0)), lines=lines)


def _items(node: nodes.Element, depth: int) -> Iterator[str]:
    for ordinal, item in enumerate(node.children, start=1):
        mark = f"{ordinal}. " if isinstance(node, nodes.enumerated_list) else "- "
        for part in item.children:
            if isinstance(part, nodes.bullet_list | nodes.enumerated_list):
                yield from _items(part, depth + 1)
            elif text := " ".join(_text(part).split()):
                yield "  " * depth + mark + text
                mark = "  "


def _definitions(node: nodes.Element) -> Iterator[str]:
    for item in node.children:
        parts = [" ".join(_text(part).split()) for part in item.children]
        if isinstance(item, nodes.definition_list_item | nodes.field | nodes.option_list_item):
            yield f"- {': '.join(part for part in parts if part)}"


def _rows(table: nodes.table) -> Iterator[str]:
    if title := next(iter(table.findall(nodes.title)), None):
        yield title.astext()
    for row in table.findall(nodes.row):
        yield " | ".join(" ".join(_text(entry).split()) for entry in row.children)


def _text(node: nodes.Node, depth: int = 0) -> str:
    """Text without docutils' own complaints; `depth` counts substitutions within each other."""
    match node:
        case nodes.system_message():
            return ""
        case nodes.problematic() | nodes.Text():
            return node.astext()
        case nodes.image():
            return str(node.get("alt", ""))
        case nodes.substitution_reference():
            return _substituted(node, depth)
        case nodes.footnote_reference() | nodes.citation_reference():
            return f"[{_note_name(node) or '#'}]"
        case nodes.label():
            return ""
        case nodes.footnote() | nodes.citation():
            separator = " "
        case _:
            separator = "" if isinstance(node, nodes.TextElement) else " "
    return separator.join(_text(child, depth) for child in node.children)


def _note_name(node: nodes.Element) -> str:
    """What stands between the brackets of a note or of a reference to it."""
    label = next((child.astext() for child in node.children if isinstance(child, nodes.label)), "")
    if isinstance(node, nodes.footnote_reference | nodes.citation_reference):
        label = node.astext()
    names = node.get("names") or [node.get("refname", "")]
    return label or ("*" if node.get("auto") == "*" else str(names[0]))


def _substituted(node: nodes.substitution_reference, depth: int) -> str:
    """What `|name|` stands for; its name where that is not defined, changes daily, or would never end."""
    name = node.astext()
    document = node.document
    if document is None or depth >= _MAX_SUBSTITUTION_DEPTH:
        return name
    known = document.substitution_names.get(nodes.fully_normalize_name(str(node.get("refname", name))))
    definition = document.substitution_defs.get(known) if known else None
    if definition is None or "date::" in definition.rawsource:
        return name
    shown = f"shown-{depth}"  # kept there: definitions of definitions would multiply
    if shown not in definition.attributes:
        text = "".join(_text(child, depth + 1) for child in definition.children)
        definition[shown] = text if len(text) <= _MAX_SUBSTITUTION else ""
    return str(definition[shown]) or name
