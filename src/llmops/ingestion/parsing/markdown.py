"""Markdown through markdown-it-py: CommonMark with tables, front matter, and what site generators add."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder
from llmops.ingestion.parsing.plain import decode

_FRONT_MATTER = re.compile(
    r"\A\s*(?P<fence>---|\+\+\+)[ \t]*\n(?P<body>.*?)\n(?P=fence)[ \t]*(?:\n|\Z)", re.DOTALL
)
_REMARKS = (("<!--", "-->"), ("{{<", ">}}"), ("{{%", "%}}"), ("{%", "%}"))  # comments, short codes, Liquid
_MAX_METADATA_CHARACTERS = 1_000
_MDX_IMPORT = re.compile(r"^(?:import|export)\s.+\bfrom\s+['\"].+['\"];?[ \t]*$", re.MULTILINE)
_KEPT_KEYS = ("title", "description", "author", "date", "tags", "category", "weight", "expires")
_KEY = re.compile(r"\s*[\w-]+\s*[:=]|\s*#|\s*\[")
_CODE = re.compile(
    r"^[ \t]*(?P<fence>```+|~~~+).*?^[ \t]*(?P=fence)[ \t]*$|(?<!`)(?P<ticks>`+)(?!`)[^\n]+?(?<!`)(?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)
_ANCHOR = re.compile(r"\s*\{:?\s*[#.][^{}]*\}\s*$")
_MAX_INTEGER = 2**63 - 1
# markdown-it takes time by brackets times characters of a paragraph, for those that open no link.
_MAX_BRACKET_WORK = 30_000_000
_MAX_WORK = 100_000_000
_LITTLE_WORK = 1_000_000


def _inline_rule(state: StateCore) -> None:
    """Inline markup, but for paragraphs of so many brackets that they would take minutes: those as text."""
    left = _MAX_WORK
    for token in state.tokens:
        if token.type != "inline":
            continue
        work = token.content.count("[") * len(token.content)
        left -= work if work > _LITTLE_WORK else 0
        if work > min(_MAX_BRACKET_WORK, max(left, _LITTLE_WORK)):
            token.children = [Token("text", "", 0, content=token.content)]
            state.env.setdefault("plain", []).append(token.map)
        else:
            token.children = []
            state.md.inline.parse(token.content, state.md, state.env, token.children)


_parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 100}).enable(["table", "strikethrough"])
_parser.core.ruler.at("inline", _inline_rule)


def parse_markdown(raw: bytes, uri: str) -> Parsed:
    """CommonMark with tables and front matter; blocks know their lines."""
    source = decode(raw).replace("\r\n", "\n")
    metadata, body_line, body = _front_matter(source)
    body = _outside_code(body)
    builder = TextBuilder()
    env: dict[str, list[list[int] | None]] = {}
    _walk(_parser.parse(body, env), builder, body_line)
    title = str(metadata.get("title", ""))
    problems = [
        f"the paragraph at line {lines[0] + 1 + body_line} has so many brackets that it was read as plain text"
        for lines in env.get("plain", [])
        if lines is not None
    ]
    return builder.build(uri=uri, media_type="text/markdown", title=title, metadata=metadata, problems=problems)


def _front_matter(source: str) -> tuple[dict[str, Scalar], int, str]:
    """Metadata, the number of lines before the body, and the body."""
    match = _FRONT_MATTER.match(source)
    if match is None or not _KEY.match(match["body"]):  # a line of dashes is also how a rule is drawn
        return {}, 0, source
    body = source[match.end() :]
    n_lines = source[: match.end()].count("\n")
    values = _toml(match["body"]) if match["fence"] == "+++" else _yaml(match["body"])
    metadata = {key: kept for key in _KEPT_KEYS if (kept := _scalar(values.get(key))) is not None}
    return metadata, n_lines, body


def _scalar(value: Any) -> Scalar | None:
    """A value that metadata can hold; lists of words are joined, nested values (and alias bombs) left out."""
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value[:100]):
        value = ", ".join(str(item) for item in value[:100])
    if isinstance(value, date):
        value = value.isoformat()
    if isinstance(value, str):
        return value[:_MAX_METADATA_CHARACTERS]
    if isinstance(value, int | float):
        return value if _is_storable(value) else str(value)[:_MAX_METADATA_CHARACTERS]
    return None


def _is_storable(value: Scalar) -> bool:
    """Whether a vector store keeps the value as it is: a number must be finite and of at most 64 bits."""
    return isinstance(value, str) or (abs(value) <= _MAX_INTEGER and math.isfinite(value))


def _yaml(text: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _toml(text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _outside_code(text: str) -> str:
    """Without comments, short codes and MDX imports, except in code; every line keeps its number."""
    parts: list[str] = []
    last = 0
    for match in _CODE.finditer(text):
        parts += [_strip(text[last : match.start()]), match[0]]
        last = match.end()
    return "".join([*parts, _strip(text[last:])])


def _strip(text: str) -> str:
    for opening, closing in _REMARKS:
        text = _without(text, opening, closing)
    return _MDX_IMPORT.sub("", text)


def _without(text: str, opening: str, closing: str) -> str:
    """Text outside of the marks, in one pass: an opening that is never closed stays as it is."""
    parts: list[str] = []
    last = 0
    while (start := text.find(opening, last)) >= 0 and (end := text.find(closing, start + len(opening))) >= 0:
        end += len(closing)
        parts += [text[last:start], "\n" * text.count("\n", start, end)]
        last = end
    return "".join([*parts, text[last:]])


def _walk(tokens: Sequence[Token], builder: TextBuilder, shift: int) -> None:
    index = 0
    while index < len(tokens):
        token = tokens[index]
        lines = (token.map[0] + 1 + shift, max(token.map[1], token.map[0] + 1) + shift) if token.map else None
        match token.type:
            case "heading_open":
                heading = _ANCHOR.sub("", _inline(tokens[index + 1]))
                builder.add("heading", heading, level=int(token.tag[1:]), lines=lines)
                index += 3
            case "paragraph_open":
                builder.add("paragraph", _inline(tokens[index + 1]), lines=lines)
                index += 3
            case "fence" | "code_block":
                builder.add("code", token.content, lines=lines)
                index += 1
            case "bullet_list_open" | "ordered_list_open":
                end = _closing(tokens, index)
                _list(tokens[index : end + 1], builder, lines, shift)
                index = end + 1
            case "table_open":
                end = _closing(tokens, index)
                builder.add("table", _table(tokens[index:end]), lines=lines)
                index = end + 1
            case "blockquote_open":
                end = _closing(tokens, index)
                _walk(tokens[index + 1 : end], builder, shift)
                index = end + 1
            case "html_block":
                _html(token.content, builder, lines)
                index += 1
            case _:
                index += 1


def _closing(tokens: Sequence[Token], start: int) -> int:
    kind = tokens[start].type.replace("_open", "_close")
    level = tokens[start].level
    return next(i for i in range(start + 1, len(tokens)) if tokens[i].type == kind and tokens[i].level == level)


def _list(tokens: Sequence[Token], builder: TextBuilder, lines: tuple[int, int] | None, shift: int) -> None:
    """One block of item lines; code and tables inside a list become blocks of their own."""
    pending: list[str] = []
    depth = 0
    ordinals: list[int | None] = []
    item_open = False
    index = 0

    def flush() -> None:
        if pending:
            builder.add("list", "\n".join(pending), lines=lines)
            pending.clear()

    while index < len(tokens):
        token = tokens[index]
        if token.type in ("bullet_list_open", "ordered_list_open"):
            depth += 1
            start = token.attrGet("start")
            first = 1 if start is None else int(start)
            ordinals.append(first if token.type == "ordered_list_open" else None)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            depth -= 1
            ordinals.pop()
        elif token.type == "list_item_open":
            item_open = True
        elif token.type == "inline":
            indent = "  " * (depth - 1)
            mark = "  "
            if item_open:
                ordinal = ordinals[-1]
                mark = "- " if ordinal is None else f"{ordinal}. "
                if ordinal is not None:
                    ordinals[-1] = ordinal + 1
                item_open = False
            text = " ".join(_inline(token).split())
            if text:
                pending.append(f"{indent}{mark}{text}")
        elif token.type in ("fence", "code_block", "html_block", "table_open"):
            end = _closing(tokens, index) if token.type == "table_open" else index
            flush()
            _walk(tokens[index : end + 1], builder, shift)
            index = end
        index += 1
    flush()


def _table(tokens: Sequence[Token]) -> str:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append(" ".join(_inline(token).split()))
    return "\n".join(" | ".join(row) for row in rows)


def _inline(token: Token) -> str:
    """Inline markup as plain text: links by their text, images by their alternative text, code as it stands."""
    parts: list[str] = []
    for child in token.children or ():
        match child.type:
            case "text" | "code_inline":
                parts.append(child.content)
            case "softbreak":
                parts.append(" ")
            case "hardbreak":
                parts.append("\n")
            case "image":
                parts.append(_inline(child) or child.content)
            case "html_inline" if child.content.lower().startswith("<br"):
                parts.append("\n")
            case _:
                pass
    return "".join(parts)


def _html(content: str, builder: TextBuilder, lines: tuple[int, int] | None) -> None:
    from llmops.ingestion.parsing.html import add_html

    add_html(content, builder, lines=lines)
