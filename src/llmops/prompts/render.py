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
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False
    )


class Prompt:
    """A compiled prompt: validated front matter with its template."""

    def __init__(self, spec: PromptSpec) -> None:
        self.spec = spec
        self._template = environment().from_string(spec.template)
        self._tags = frozenset(_TAG.findall(spec.template))
        names = "|".join(sorted(map(re.escape, self._tags))) or "(?!)"
        # `<|` opens the control tokens of most chat templates (<|im_start|>); a tokenizer may obey them.
        self._dangerous = re.compile(rf"<(?=/?(?:{names})\b)|<(?=\|)", re.IGNORECASE)

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
        context = self._template.new_context({**values, PARAMETERS: merged})
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
            elif not isinstance(value, _TYPES[variable.type]) or (
                isinstance(value, bool) and variable.type in ("integer", "number")
            ):
                kind = type(value).__name__
                raise RequestError(
                    f"variable {name!r} of prompt {self.spec.name!r} is a {variable.type}, not a {kind}"
                )
            values[name] = self._neutral(value)
        return values

    def _neutral(self, value: Any) -> Any:
        """The value with every `<` escaped that would begin one of the template's tags or a control token."""
        match value:
            case str():
                return self._dangerous.sub("&lt;", value)
            case Passage():
                fields = {"title": value.title, "source": value.source, "text": value.text}
                return {"number": value.number, **{k: self._attribute(k, v) for k, v in fields.items()}}
            case Mapping():
                return {k: self._neutral(v) for k, v in value.items()}
            case Sequence():
                return [self._neutral(item) for item in value]
            case _:
                return value

    def _attribute(self, name: str, text: str) -> str:
        """Titles and sources stand inside a tag's quotes; they may not end them."""
        neutral = self._dangerous.sub("&lt;", text)
        return neutral if name == "text" else neutral.replace('"', "'").replace("\n", " ").replace(">", "›")
