"""From a committed file to a validated spec, or to one sentence that says what would be right."""

from __future__ import annotations

import difflib
import json
import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llmops.config import lines as yaml_lines
from llmops.config.spec import Spec
from llmops.errors import SpecError

S = TypeVar("S", bound=Spec)
_MAX_SPEC_BYTES = 1_000_000
_TAGS = ("type", "strategy")  # fields that say which of several sections this is


def load_spec(kind: type[S], path: Path) -> S:
    """Read and validate one YAML spec.

    Raises:
        SpecError: the file is missing, unreadable, not YAML, or not what `kind` asks for.
    """
    return validate(kind, *parse_yaml(read_text(path), str(path)), file=str(path))


def read_text(path: Path, *, max_bytes: int = _MAX_SPEC_BYTES, kind: str = "spec") -> str:
    """The text of a committed file, UTF-8 of at most 1 MB where nothing else is said; `kind` is for the error."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise SpecError(str(path), "no such file; check the path") from None
    except OSError as error:
        raise SpecError(str(path), f"cannot be read ({error.strerror}); check its permissions") from error
    if len(raw) > max_bytes:
        raise SpecError(str(path), f"is {len(raw)} bytes; a {kind} has at most {max_bytes}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SpecError(str(path), "is not UTF-8 text; save it as UTF-8", line=line) from error


def parse_yaml(text: str, file: str, *, first_line: int = 1) -> tuple[dict[str, Any], dict[yaml_lines.Path, int]]:
    """A YAML mapping with its line numbers; a `$schema` key is for editors and is dropped."""
    value, lines = yaml_lines.parse_with_lines(text, file, first_line=first_line)
    if value is None:
        raise SpecError(file, "is empty; see `llmops schema` for what belongs in it", line=first_line)
    if not isinstance(value, dict):
        raise SpecError(file, f"holds a {type(value).__name__}, not a mapping of fields", line=first_line)
    value.pop("$schema", None)
    return value, lines


def validate(kind: type[S], value: dict[str, Any], lines: dict[yaml_lines.Path, int], *, file: str) -> S:
    """`value` as a spec of `kind`; the first problem becomes one `SpecError`."""
    try:
        # As JSON, for there a list is a tuple and nothing else is taken for what it is not; a date is its text.
        return kind.model_validate_json(json.dumps(value, default=str)).located(file)
    except ValidationError as error:
        details = error.errors(include_url=False)
        # A misspelt field is also a missing one: the misspelling is what its writer looks for.
        first = min(details, key=lambda d: (d["type"] == "missing", _line(_place(d, lines), lines) or 0))
        place = _place(first, lines)
        others = {_place(d, lines) for d in details} - {place}  # the members of a union complain at one place
        more = f" (and {len(others)} more)" if others else ""
        raise SpecError(
            file,
            _explain(first, kind) + more,
            line=_line(place, lines),
            field=".".join(map(str, place)) or None,
        ) from error


def _place(detail: ErrorDetails, lines: dict[yaml_lines.Path, int]) -> yaml_lines.Path:
    """Where in the file: pydantic puts the names of union members into `loc`, and "[key]" after a key."""
    place: yaml_lines.Path = ()
    for part in detail["loc"]:
        if (*place, part) in lines:
            place = (*place, part)
    return (*place, detail["loc"][-1]) if detail["type"] == "missing" else place


def _line(place: yaml_lines.Path, lines: dict[yaml_lines.Path, int]) -> int | None:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place)


def _explain(detail: ErrorDetails, kind: type[BaseModel]) -> str:
    given, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            names = _fields_at(kind, detail["loc"][:-1])
            close = difflib.get_close_matches(str(detail["loc"][-1]), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known fields: {', '.join(sorted(names))}"
            return f"unknown field; {hint}"
        case "missing":
            return "is required; add it"
        case "value_error":
            return str(context["error"])
        case "union_tag_not_found":
            return f"needs the field {context['discriminator']}, which says what it is"
        case "union_tag_invalid":
            return f"has no {context['discriminator']} {context['tag']!r}; there is: {context['expected_tags']}"
        case "too_short":
            return f"needs at least {context['min_length']}, and has {context['actual_length']}"
        case _:
            shown = repr(given) if len(repr(given)) <= 60 else f"a {type(given).__name__}"
            message = detail["msg"]
            return f"{message[0].lower()}{message[1:]}, not {shown}"


def _fields_at(kind: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Names of the fields that may stand where `loc` points."""
    models: list[type[BaseModel]] = [kind]
    for part in loc:
        tagged = [m for m in models if any(part in _values_of(m, tag) for tag in _TAGS if tag in m.model_fields)]
        nested = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = tagged or [model for annotation in nested for model in _models_in(annotation)] or models
    return [name for model in models for name in model.model_fields]


def _values_of(model: type[BaseModel], field: str) -> tuple[Any, ...]:
    return get_args(model.model_fields[field].annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, tuple, list, dict) or get_args(annotation):
        return [model for arg in get_args(annotation) for model in _models_in(arg)]
    return []
