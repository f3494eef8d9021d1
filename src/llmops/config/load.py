"""From a committed file to a validated spec, or to one sentence that says what would be right."""

from __future__ import annotations

import difflib
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


def load_spec(kind: type[S], path: Path) -> S:
    """Read and validate one YAML spec.

    Raises:
        SpecError: the file is missing, unreadable, not YAML, or not what `kind` asks for.
    """
    return validate(kind, *parse_yaml(read_text(path), str(path)), file=str(path))


def read_text(path: Path) -> str:
    """The text of a committed file, at most 1 MB of UTF-8."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise SpecError(str(path), "no such file; check the path") from None
    except OSError as error:
        raise SpecError(str(path), f"cannot be read ({error.strerror}); check its permissions") from error
    if len(raw) > _MAX_SPEC_BYTES:
        raise SpecError(str(path), f"is {len(raw)} bytes; a spec has at most {_MAX_SPEC_BYTES}")
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
        return kind.model_validate(value, strict=False).located(file)
    except ValidationError as error:
        details = error.errors(include_url=False)
        first = min(details, key=lambda d: _line(d["loc"], lines) or 0)
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        loc = tuple(part for part in first["loc"] if _is_data_part(part, first["loc"], lines))
        raise SpecError(
            file, _explain(first, kind) + more, line=_line(loc, lines), field=".".join(map(str, loc)) or None
        ) from error


def _is_data_part(part: str | int, loc: tuple[str | int, ...], lines: dict[yaml_lines.Path, int]) -> bool:
    """pydantic puts union tags into `loc`; keep the last part (a missing field) and what the file has."""
    return isinstance(part, int) or part == loc[-1] or any(part in path for path in lines)


def _line(loc: tuple[str | int, ...], lines: dict[yaml_lines.Path, int]) -> int | None:
    path = tuple(loc)
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def _explain(detail: ErrorDetails, kind: type[BaseModel]) -> str:
    given = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            names = _fields_at(kind, detail["loc"][:-1])
            close = difflib.get_close_matches(str(detail["loc"][-1]), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known fields: {', '.join(sorted(names))}"
            return f"unknown field; {hint}"
        case "missing":
            return "is required; add it"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            shown = repr(given) if len(repr(given)) <= 60 else f"a {type(given).__name__}"
            message = detail["msg"]
            return f"{message[0].lower()}{message[1:]}, not {shown}"


def _fields_at(kind: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Names of the fields that may stand where `loc` points."""
    models: list[type[BaseModel]] = [kind]
    for part in loc:
        if isinstance(part, int):
            continue
        nested = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [model for annotation in nested for model in _models_in(annotation)] or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, tuple, list, dict) or get_args(annotation):
        return [model for arg in get_args(annotation) for model in _models_in(arg)]
    return []
