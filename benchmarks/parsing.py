"""How much of office files, PDF, HTML and mail the parsers read, beside another tool's text of the same files.

    python benchmarks/parsing.py [DATA] [--format docx] [--missing] [--json]

Recall is the share of the expected text's word tokens (a multiset: casefolded `\\w+` after the Markdown and HTML
markup is gone) that stand in our text; precision is the share of ours that stand in the expected text. What is
expected is Docling's checked-in Markdown, a tool's output and no person's transcription: precision below 1 may
mean that we read what it left out. Files without an expected text are listed with their state and their size.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from llmops.errors import DocumentError, EmptyDocumentError
from llmops.ingestion.parsing import media_type_of, parse
from report import conditions, print_conditions, required_data, table

SET = "documents_office"
FLOOR = 0.97
"""Mean recall that the parsers have to reach."""
_WORD = re.compile(r"\w+")
_MARKUP = (
    (re.compile(r"<!--.*?-->", re.DOTALL), " "),
    (re.compile(r"</?[A-Za-z][^<>]*>"), " "),
    (re.compile(r"(!?\[[^\]\[]*\])\((?:[^()\s]|\([^()]*\))*(?:\s+\"[^\"]*\")?\)"), r"\1"),  # a link's target
    (re.compile(r"^\s*`{3,}.*$", re.MULTILINE), " "),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!|<>~$-])"), r"\1"),
)
State = Literal["read", "empty", "failed", "no parser"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What became of one file.

    Attributes:
        reason: why there is no text; "" when it was read.
        recall: in [0, 1]; None without an expected text. A file that was not read has 0.
        precision: likewise.
        missing: expected tokens that we do not have, most frequent first, with their number.
    """

    file: str
    format: str
    state: State
    reason: str
    problems: tuple[str, ...]
    n_characters: int
    ms: float
    recall: float | None
    precision: float | None
    missing: tuple[tuple[str, int], ...]


def words(text: str) -> Counter[str]:
    """The multiset of word tokens, casefolded."""
    return Counter(_WORD.findall(text.casefold()))


def expected_words(markdown: str) -> Counter[str]:
    """Word tokens of a Markdown text without what is markup: comments, tags, targets of links, escapes."""
    for pattern, replacement in _MARKUP:
        markdown = pattern.sub(replacement, markdown)
    return words(html.unescape(markdown))


def read(file: Path, expected: Path | None) -> Reading:
    """Parse one file and compare it."""
    raw = file.read_bytes()
    state: State = "read"
    text, reason = "", ""
    problems: tuple[str, ...] = ()
    begun = time.perf_counter()
    if media_type_of(file.name, raw[:4096]) is None:
        state, reason = "no parser", f"no parser for {file.suffix}"
    else:
        try:
            parsed = parse(raw, uri=file.name)
            text, problems = parsed.text, parsed.problems
        except EmptyDocumentError as error:
            state, reason = "empty", str(error)
        except DocumentError as error:
            state, reason = "failed", str(error)
    ms = 1e3 * (time.perf_counter() - begun)
    recall, precision, missing = _compare(text, expected)
    return Reading(
        file=file.name,
        format=file.suffix.lstrip("."),
        state=state,
        reason=reason,
        problems=problems,
        n_characters=len(text),
        ms=ms,
        recall=recall,
        precision=precision,
        missing=missing,
    )


def _compare(text: str, expected: Path | None) -> tuple[float | None, float | None, tuple[tuple[str, int], ...]]:
    """Recall, precision and what is missing; an expected text without words is held by any text."""
    if expected is None:
        return None, None, ()
    wanted, found = expected_words(expected.read_text(encoding="utf-8")), words(text)
    both = (wanted & found).total()
    recall = both / wanted.total() if wanted else 1.0
    precision = both / found.total() if found else float(not wanted)
    return recall, precision, tuple((wanted - found).most_common())


def readings(data: Path, only: str | None) -> list[Reading]:
    """Every file of the set, by format and name."""
    folder = data / SET
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = [entry for entry in entries if only in (None, entry["format"])]
    chosen.sort(key=lambda entry: (entry["format"], entry["file"]))
    return [
        read(folder / entry["file"], folder / name if (name := entry.get("expected_markdown")) else None)
        for entry in chosen
    ]


def by_format(found: Sequence[Reading]) -> list[list[str]]:
    """One row a format, and one over all files with an expected text."""
    rows = []
    for name in [*sorted({reading.format for reading in found}), "all"]:
        here = [reading for reading in found if name in (reading.format, "all")]
        scored = [r for r in here if r.recall is not None and r.precision is not None]
        means = ["-", "-"]
        if scored:
            means[0] = f"{statistics.fmean(r.recall or 0.0 for r in scored):.4f}"
            means[1] = f"{statistics.fmean(r.precision or 0.0 for r in scored):.4f}"
        n_read = sum(reading.state == "read" for reading in here)
        rows.append([name, f"{n_read} of {len(here)}", str(len(scored)), *means])
    return rows


def print_report(found: Sequence[Reading], *, missing: bool) -> None:
    """Tables for people: files, formats, then every failure and every part that was not read."""
    scored = [reading for reading in found if reading.recall is not None]
    rows = [[r.file, f"{r.recall:.4f}", f"{r.precision:.4f}", str(r.n_characters), f"{r.ms:.0f}"] for r in scored]
    print(table(["file with an expected text", "recall", "precision", "characters", "ms"], rows), end="\n\n")
    others = [r for r in found if r.recall is None]
    rows = [[r.file, r.state, str(r.n_characters), f"{r.ms:.0f}"] for r in others]
    print(table(["file without", "state", "characters", "ms"], rows), end="\n\n")
    print(table(["format", "read", "compared", "mean recall", "mean precision"], by_format(found)))
    print(f"to reach: a mean recall of {FLOOR} over all")
    for reading in found:
        if reading.state != "read":
            print(f"{reading.state}: {reading.file}: {reading.reason}")
        for problem in reading.problems:
            print(f"not all of {reading.file}: {problem}")
    for reading in found if missing else ():
        if reading.missing:
            said = ", ".join(f"{word} {n}" for word, n in reading.missing[:40])
            print(f"missing in {reading.file}: {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", nargs="?", help="the folder of public data")
    parser.add_argument("--format", help="only files of this format, such as docx")
    parser.add_argument("--missing", action="store_true", help="print the words that are missing, file by file")
    parser.add_argument("--json", action="store_true", help="print the same for machines")
    options = parser.parse_args()
    data = required_data(options.data, SET)
    warnings.simplefilter("ignore")  # what a library says of a damaged file is no part of the report
    found = readings(data, options.format)
    if options.json:
        print(json.dumps({"conditions": conditions(data), "readings": [asdict(r) for r in found]}))
        return
    print_report(found, missing=options.missing)
    print_conditions(conditions(data))


if __name__ == "__main__":
    main()
