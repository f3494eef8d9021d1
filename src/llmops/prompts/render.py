"""Rendering: variables in, messages out. Variable text can never open or close the template's own tags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmops.errors import RequestError, SpecError
from llmops.prompts.spec import PromptSpec, VariableType
from llmops.records import Message, Passage, RenderedPrompt

PARTS = ("system", "user")
PARAMETERS = "parameters"
_TAG = re.compile(r"</?([A-Za-z][\w-]*)")
_LINE_ENDS = re.compile(r"[\r\n\u2028\u2029\x85]+")
_TYPES: dict[VariableType, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "list": (list, tuple),
    "passages": (list, tuple),
}


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """Jinja2 in a sandbox: no attribute of Python's own, no change to what it is given."""
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        finalize=lambda value: "" if value is None else value,  # an optional variable nobody gave
    )


def has_type(value: Any, wanted: VariableType) -> bool:
    """Whether a variable of this type may hold the value; True and False are no numbers."""
    if isinstance(value, bool):
        return wanted == "boolean"
    return isinstance(value, _TYPES[wanted])


class Prompt:
    """A compiled prompt: validated front matter with its template.

    Args:
        text: the file as it was written, or "" when the prompt was made in code.
    """

    def __init__(self, spec: PromptSpec, *, text: str = "") -> None:
        self.spec, self.text = spec, text
        self._template = environment().from_string(spec.template)
        self._tags = frozenset(_TAG.findall(spec.template))
        names = "|".join(sorted(map(re.escape, self._tags))) or "(?!)"
        # `<|` opens the control tokens of most chat templates (<|im_start|>, or with a wide bar); a tokenizer may
        # obey them. At the end of a text `<pass` might become a tag together with the text that follows it.
        self._dangerous = re.compile(rf"<(?=\s*/?\s*(?:{names})\b|[|｜]|\s*/?\s*[\w-]*\Z)", re.IGNORECASE)

    @property
    def digest(self) -> str:
        return self.spec.spec_hash

    def render(self, variables: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> RenderedPrompt:
        """Messages for a model.

        Args:
            variables: a value for every required variable; passages are `Passage` records or mappings.
            parameters: the caller's, laid over the prompt's own.

        Raises:
            RequestError: a variable is missing, unknown or of another type.
        """
        merged = {**self.spec.parameters.given(), **(parameters or {})}
        values = self._values(variables)
        context = self._template.new_context({**values, PARAMETERS: self._neutral(merged)})
        try:
            messages = tuple(
                Message(role=part, content="".join(self._template.blocks[part](context)).strip())
                for part in ("system", "user")
                if part in self._template.blocks
            )
        except SecurityError as error:
            raise SpecError(self.spec.file, f"the template tries what the sandbox forbids: {error}") from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise RequestError(f"prompt {self.spec.name!r} cannot be rendered: {error}") from error
        return RenderedPrompt(prompt=self.spec.name, digest=self.digest, messages=messages, parameters=merged)

    def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(given) - set(self.spec.variables))
        if unknown:
            known = ", ".join(sorted(self.spec.variables))
            raise RequestError(f"prompt {self.spec.name!r} has no variable {unknown[0]!r}; it has {known}")
        values: dict[str, Any] = {}
        for name, variable in self.spec.variables.items():
            value = given.get(name, variable.default)
            if value is None:
                if variable.required:
                    raise RequestError(f"prompt {self.spec.name!r} needs a value for {name!r} ({variable.type})")
            elif not has_type(value, variable.type):
                problem = f"variable {name!r} of prompt {self.spec.name!r} must be of type {variable.type}"
                raise RequestError(f"{problem}, not {type(value).__name__}")
            values[name] = self._passages(value) if variable.type == "passages" else self._neutral(value)
        return values

    def _neutral(self, value: Any) -> Any:
        """The value with every `<` escaped that would begin one of the template's tags or a control token."""
        match value:
            case str():
                return self._dangerous.sub("&lt;", value)
            case Mapping():
                return {self._neutral(k): self._neutral(v) for k, v in value.items()}
            case Sequence():
                return [self._neutral(item) for item in value]
            case _:
                return value

    def _passages(self, given: Sequence[Passage | Mapping[str, Any]] | None) -> list[dict[str, Any]]:
        return [
            {name: self._attribute(name, value) for name, value in _fields_of(passage).items()}
            for passage in given or ()
        ]

    def _attribute(self, name: str, value: Any) -> Any:
        """Titles and sources stand inside a tag's quotes; they may not end them."""
        neutral = self._neutral(value)
        if name == "text" or not isinstance(neutral, str):
            return neutral
        return _LINE_ENDS.sub(" ", neutral.replace('"', "'").replace(">", "›"))


def _fields_of(passage: Passage | Mapping[str, Any]) -> Mapping[str, Any]:
    match passage:
        case Passage():
            names = ("number", "title", "source", "text")
            return {name: getattr(passage, name) for name in names}
        case Mapping():
            return passage
        case _:
            raise RequestError(f"a passage has number, title, source and text; {type(passage).__name__} has not")
