"""Canonical text: clean blocks joined by an empty line, each knowing its span and where it came from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from llmops.errors import DocumentError
from llmops.records import Block, BlockKind

Scalar = str | int | float | bool
MAX_CHARACTERS = 20_000_000
MAX_PROBLEMS = 100
_SEPARATOR = "\n\n"
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\x00-\x08\x0e-\x1f\x7f-\x9f]")
_HALVES = re.compile("[\ud800-\udfff]")  # of a pair of surrogates: JSON and mail headers may hold one alone
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

        Raises:
            DocumentError: the document has more than `MAX_CHARACTERS`.
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
        self._grow(clean, end)
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

    def _grow(self, text: str, end: int) -> None:
        if end > MAX_CHARACTERS:
            raise DocumentError(f"has more than {MAX_CHARACTERS} characters")
        self._parts.append(text)
        self._length = end

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
        said = [" ".join(clean_text(problem).split())[:500] for problem in problems]
        if len(said) > MAX_PROBLEMS:
            said[MAX_PROBLEMS:] = [f"{len(said) - MAX_PROBLEMS} more parts could not be read"]
        return Parsed(
            title=(shown or self._first_heading(text) or name_of(uri))[:300],
            text=text,
            blocks=tuple(self._blocks),
            media_type=media_type,
            metadata={
                key: _HALVES.sub("\ufffd", value) if isinstance(value, str) else value
                for key, value in (metadata or {}).items()
            },
            problems=tuple(said),
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
        self._append(_SEPARATOR.join(other._parts), other._blocks, shift_lines=shift_lines, deeper=0)

    def embed(self, part: Parsed, *, deeper: int = 1) -> None:
        """Append a document within this one, such as an attachment; lines and pages stay those of the part.

        Args:
            deeper: levels to put its headings below the heading that names it.
        """
        self._append(part.text, part.blocks, shift_lines=0, deeper=deeper)

    def _append(self, text: str, blocks: Sequence[Block], *, shift_lines: int, deeper: int) -> None:
        offset = self._length + (len(_SEPARATOR) if self._parts else 0)
        if text:
            self._grow(text, offset + len(text))
        for block in blocks:
            first, last = block.first_line, block.last_line or block.first_line
            self._blocks.append(
                replace(
                    block,
                    start=block.start + offset,
                    end=block.end + offset,
                    level=min(block.level + deeper, 6) if block.kind == "heading" else 0,
                    first_line=None if first is None else first + shift_lines,
                    last_line=None if last is None else last + shift_lines,
                )
            )


def pipe_table(rows: Iterable[Sequence[str]]) -> str:
    """A table as lines of cells with ` | ` between them, the header first; rows without text are left out.

    Rows shorter than the first are filled up. A bar within a cell is escaped (`\\|`): cut at every other bar and
    strip to have the cells again.
    """
    lines: list[str] = []
    width = 0
    for row in rows:
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
        if any(cells):
            width = width or len(cells)
            lines.append(" | ".join([*cells, *[""] * (width - len(cells))]))
    return "\n".join(lines)


def clean_text(text: str) -> str:
    """NFC, no control or invisible characters, single blanks, no empty lines; leading indents of lists stay."""
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", _whole(text)))
    lines = (
        line[: len(line) - len(line.lstrip(" "))] + _BLANKS.sub(" ", line.strip()) for line in text.split("\n")
    )
    return _EMPTY_LINES.sub("\n", _TRAILING.sub("", "\n".join(lines))).strip()


def clean_code(text: str) -> str:
    """Code keeps its blanks and lines; only invisible characters and outer empty lines go."""
    lines = _whole(text).expandtabs(4)
    return _TRAILING.sub("", _INVISIBLE.sub("", lines)).strip("\n")


def _whole(text: str) -> str:
    return _HALVES.sub("\ufffd", _LINE_BREAKS.sub("\n", text))


def name_of(uri: str) -> str:
    """A readable form of a file's name."""
    stem = PurePosixPath(uri).stem
    return stem.replace("_", " ").replace("-", " ").strip() or uri
