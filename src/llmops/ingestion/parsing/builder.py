"""Canonical text: clean blocks joined by an empty line, each knowing its span and where it came from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from llmops.records import Block, BlockKind

Scalar = str | int | float | bool
MAX_CHARACTERS = 20_000_000
_SEPARATOR = "\n\n"
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\x00-\x08\x0e-\x1f\x7f-\x9f]")
_LINE_BREAKS = re.compile("\r\n?|[\x85\u2028\u2029]")
_BLANKS = re.compile(r"[ \t\v\f\u00a0]+")
_TICKS = re.compile(r"`{3,}")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n\s*\n+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A file as text: `text[block.start:block.end]` is a block, headings without their marks, code in fences.

    Attributes:
        problems: parts that could not be read, one sentence each; the rest is complete. Never dropped silently.
    """

    title: str
    text: str
    blocks: tuple[Block, ...]
    media_type: str
    metadata: dict[str, Scalar] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class TextBuilder:
    """Blocks in reading order."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0

    def add(
        self,
        kind: BlockKind,
        text: str,
        *,
        level: int = 0,
        lines: tuple[int, int] | None = None,
        page: int | None = None,
    ) -> None:
        """Append a block; one without text is dropped.

        Args:
            lines: first and last line of the source, 1-based.
        """
        clean = clean_code(text) if kind == "code" else clean_text(text)
        if kind == "heading":
            clean = " ".join(clean.split())
        if not clean.strip():
            return
        if kind == "code":  # fenced, so that a model reads it as code in any format's text
            fence = max((run[0] for run in _TICKS.finditer(clean)), key=len, default="``") + "`"
            clean = f"{fence}\n{clean}\n{fence}"
        start = self._length + (len(_SEPARATOR) if self._parts else 0)
        end = start + len(clean)
        self._parts.append(clean)
        self._length = end
        first, last = lines if lines is not None else (None, None)
        self._blocks.append(
            Block(
                kind=kind,
                start=start,
                end=end,
                level=min(max(level, 1), 6) if kind == "heading" else 0,
                first_line=first,
                last_line=last,
                page=page,
            )
        )

    @property
    def n_characters(self) -> int:
        return self._length

    def build(
        self,
        *,
        uri: str,
        media_type: str,
        title: str = "",
        metadata: dict[str, Scalar] | None = None,
        problems: Sequence[str] = (),
    ) -> Parsed:
        """The document; without a title of its own it takes its first top heading, or its file's name."""
        text = _SEPARATOR.join(self._parts)
        shown = " ".join(clean_text(title).split())
        return Parsed(
            title=(shown or self._first_heading(text) or name_of(uri))[:300],
            text=text,
            blocks=tuple(self._blocks),
            media_type=media_type,
            metadata=metadata or {},
            problems=tuple(problems),
        )

    def _first_heading(self, text: str) -> str:
        headings = [block for block in self._blocks if block.kind == "heading"]
        if not headings:
            return ""
        top = min(block.level for block in headings)
        best = next(block for block in headings if block.level == top)
        return text[best.start : best.end]

    def merge(self, other: TextBuilder, *, shift_lines: int = 0) -> None:
        """Append another builder's blocks (such as HTML inside Markdown)."""
        text = _SEPARATOR.join(other._parts)
        offset = self._length + (len(_SEPARATOR) if self._parts else 0)
        for block in other._blocks:
            lines = (
                (block.first_line + shift_lines, (block.last_line or block.first_line) + shift_lines)
                if block.first_line is not None
                else (None, None)
            )
            self._blocks.append(
                replace(
                    block,
                    start=block.start + offset,
                    end=block.end + offset,
                    first_line=lines[0],
                    last_line=lines[1],
                )
            )
        if text:
            self._parts.append(text)
            self._length = offset + len(text)


def clean_text(text: str) -> str:
    """NFC, no control or invisible characters, single blanks, no empty lines; leading indents of lists stay."""
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", _LINE_BREAKS.sub("\n", text)))
    lines = (
        line[: len(line) - len(line.lstrip(" "))] + _BLANKS.sub(" ", line.strip()) for line in text.split("\n")
    )
    return _EMPTY_LINES.sub("\n", _TRAILING.sub("", "\n".join(lines))).strip()


def clean_code(text: str) -> str:
    """Code keeps its blanks and lines; only invisible characters and outer empty lines go."""
    lines = _LINE_BREAKS.sub("\n", text).expandtabs(4)
    return _TRAILING.sub("", _INVISIBLE.sub("", lines)).strip("\n")


def name_of(uri: str) -> str:
    """A readable form of a file's name."""
    stem = PurePosixPath(uri).stem
    return stem.replace("_", " ").replace("-", " ").strip() or uri
