"""Examples in JSONL files: one JSON object a line, checked line by line."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from llmops.config import Section, digest, read_text
from llmops.errors import SpecError, StorageError
from llmops.records import Example

Part = Literal["dev", "held-out"]
Line = TypeVar("Line", bound=Section)
MAX_QUESTION_CHARACTERS = 8_000
_MAX_DATASET_BYTES = 64_000_000  # some hundred thousand questions; a file that is committed is smaller


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank; write it or leave it out")
    if "\0" in value:
        raise ValueError("holds a NUL character; remove it")
    return value


Text = Annotated[str, AfterValidator(_not_blank)]
"""Text that says something: an empty quote would stand in every passage, an empty answer would always be right."""


class ExampleLine(Section):
    """One line of a dataset file."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")
    question: Text = Field(max_length=MAX_QUESTION_CHARACTERS)
    answers: tuple[Text, ...] = ()
    sources: tuple[Text, ...] = ()
    evidence: tuple[Text, ...] = ()
    tags: tuple[Text, ...] = ()
    origin: str = ""

    def model_post_init(self, _context: Any, /) -> None:
        if not self.answers and (self.sources or self.evidence):
            problem = "has sources or evidence, but no answers"
            raise ValueError(f"{problem}; only what the documents do not answer has none: add what they say")

    def example(self) -> Example:
        values = self.model_dump()
        return Example(example_id=values.pop("id"), **values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The examples of one or more files; `digest` is the SHA-256 (hex) of their content in order of ids."""

    examples: tuple[Example, ...]
    digest: str


def load_examples(paths: Sequence[Path]) -> Dataset:
    """Read dataset files.

    Raises:
        SpecError: a file is missing or empty, a line is no example, or two examples share an id; names the line.
    """
    found: dict[str, tuple[Example, str]] = {}
    for path in paths:
        n_before = len(found)
        text = read_text(path, max_bytes=_MAX_DATASET_BYTES, kind="dataset")
        # Lines end as files do; JSON may hold the other line ends that `splitlines` knows, such as U+2028.
        for number, line in enumerate(io.StringIO(text, newline=None), start=1):
            if not line.strip():
                continue
            example = read_line(ExampleLine, line.rstrip("\n"), str(path), number).example()
            if example.example_id in found:
                first = found[example.example_id][1]
                problem = f"the id {example.example_id!r} is already that of {first}; give it another"
                raise SpecError(str(path), problem, line=number)
            found[example.example_id] = (example, f"{path}:{number}")
        if len(found) == n_before:
            raise SpecError(str(path), "holds no examples; write one JSON object a line (id, question, answers)")
    examples = tuple(example for example, _ in found.values())
    rows = [line_of(example) for example in sorted(examples, key=lambda e: e.example_id)]
    return Dataset(examples=examples, digest=digest(rows))


def part_of(example_id: str, held_out: float) -> Part:
    """Whether an example is held out: by the SHA-256 of its id, so that no one chooses and none ever moves."""
    fraction = int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:4], "big") / 2**32
    return "held-out" if fraction < held_out else "dev"


def line_of(example: Example) -> dict[str, Any]:
    """An example as the JSON object of its line; what is empty is left out."""
    values = {
        "id": example.example_id,
        "question": example.question,
        "answers": list(example.answers),
        "sources": list(example.sources),
        "evidence": list(example.evidence),
        "tags": list(example.tags),
        "origin": example.origin,
    }
    return {name: value for name, value in values.items() if value or name in ("id", "question", "answers")}


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Add lines at the end of a file, which is made when it is not there; what it holds stays.

    Raises:
        StorageError: the file cannot be written.
    """
    text = "".join(json.dumps(line_of(example), ensure_ascii=False) + "\n" for example in examples)
    if not text:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        gap = b"\n" if before and not before.endswith(b"\n") else b""
        with path.open("ab") as file:
            file.write(gap + text.encode("utf-8", "replace"))  # half a surrogate pair is no text
    except OSError as error:
        raise StorageError(f"cannot write {str(path)!r} ({error.strerror}); choose another file") from error


def read_line(kind: type[Line], line: str, file: str, number: int) -> Line:
    """One line of a JSONL file as a `kind`.

    Raises:
        SpecError: it is none; names the line and the field.
    """
    try:
        value = json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        said = f"{error.msg.removesuffix(' at')} at column {error.colno}"
        raise SpecError(file, f"is not JSON ({said}); write one object a line", line=number) from error
    except (ValueError, RecursionError) as error:  # an endless number, a key written twice
        said = str(error).partition(";")[0]
        raise SpecError(file, f"cannot be read ({said}); write one flat object a line", line=number) from error
    if not isinstance(value, dict):
        raise SpecError(file, f"holds a {type(value).__name__}, not an object", line=number)
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        # A misspelt field is also a missing one: the misspelling is what its writer looks for.
        first = min(error.errors(include_url=False), key=lambda detail: detail["type"] == "missing")
        field = ".".join(map(str, first["loc"])) or None
        raise SpecError(file, _explain(first, kind), line=number, field=field) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is written twice")
        found[name] = value
    return found


def _explain(detail: ErrorDetails, kind: type[Section]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            is_nested = len(detail["loc"]) > 1
            return (
                "unknown field; leave it out"
                if is_nested
                else f"unknown field; there is: {', '.join(kind.model_fields)}"
            )
        case "missing":
            return "is required; add it"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "string_too_long":
            return f"has {len(detail['input'])} characters; at most {detail['ctx']['max_length']} are taken"
        case "json_invalid":  # what Python's own parser lets pass
            said = detail["ctx"]["error"].partition(" at line")[0]
            said = "half a surrogate pair is no character" if "hex escape" in said else said
            return f"is not JSON ({said}); write one flat object a line"
        case _:
            shown = repr(detail["input"])
            given = shown if len(shown) <= 60 else f"a {type(detail['input']).__name__}"
            return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, not {given}"
