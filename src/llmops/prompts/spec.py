"""What stands in a prompt file (`prompts/NAME.prompt.md`)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from llmops.config import Section, Spec

VariableType = Literal["string", "integer", "number", "boolean", "list", "passages"]


class Variable(Section):
    """One input of the template. `passages` is the packed context: items with number, title, source, text."""

    type: VariableType
    description: str = ""
    default: JsonValue = None
    required: bool = True


class Parameters(Section):
    """Model parameters; a caller's own values win. The template sees them as `parameters.NAME`.

    `max_sentences`, `unknown_answer` and `threshold` are read by the extractive model; other models learn of
    them only through the template's words.
    """

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    max_sentences: int | None = Field(default=None, ge=1, le=50)
    unknown_answer: str | None = Field(default=None, min_length=1)
    threshold: float | None = Field(default=None, ge=0, le=1)

    def given(self) -> dict[str, Any]:
        """Only what the file states."""
        return self.model_dump(exclude_none=True)


class Example(Section):
    """Values for the variables; rendered by the tests that load every committed prompt."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    variables: dict[str, JsonValue]


class PromptSpec(Spec):
    """Front matter of a prompt file, and its template."""

    kind: ClassVar[str] = "prompt"

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")
    description: str = Field(min_length=1)
    variables: dict[str, Variable]
    parameters: Parameters = Parameters()
    examples: tuple[Example, ...] = ()
    template: str = Field(default="", json_schema_extra={"readOnly": True}, description="The text below `---`.")
