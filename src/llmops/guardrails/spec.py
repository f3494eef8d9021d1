"""What stands in a policy file (`guardrails/NAME.yaml`): which checks run where, and what each does."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from llmops.config import Name, Section, Spec
from llmops.guardrails.injection import RULES

Action = Literal["allow", "flag", "redact", "block"]


class PiiCheck(Section):
    """Personal data by patterns, checksums and context words (presidio-analyzer)."""

    check: Literal["pii"]
    entities: tuple[str, ...] = Field(min_length=1, description="What to look for, by presidio's names.")
    threshold: float = Field(
        default=0.4, gt=0, le=1, description="The least score that counts; presidio gives every phone number 0.4."
    )
    action: Action

    @field_validator("entities")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from llmops.clients.presidio import ENTITIES

        unknown = [entity for entity in value if entity not in ENTITIES]
        if unknown:
            close = difflib.get_close_matches(unknown[0], ENTITIES, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there is: {', '.join(ENTITIES)}"
            raise ValueError(f"there is no entity {unknown[0]!r}; {hint}")
        return value


class InjectionCheck(Section):
    """Text that tries to give the model orders, by rules."""

    check: Literal["injection"]
    rules: tuple[str, ...] = Field(default=(), description="Only these rules; all when left out.")
    threshold: float = Field(default=0.5, gt=0, le=1, description="The least score that counts.")
    action: Action

    @field_validator("rules")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [rule for rule in value if rule not in RULES]
        if unknown:
            raise ValueError(f"there is no rule {unknown[0]!r}; there is: {', '.join(RULES)}")
        return value


Check = Annotated[PiiCheck | InjectionCheck, Field(discriminator="check")]


class GuardrailsSpec(Spec):
    """One policy. On each stage the checks run in order; the strongest action decides.

    `block` on the input answers with `message` and asks no model; on context it leaves the passage out; on the
    output it ends the answer with `message`. `redact` replaces what was found by its kind in angle brackets.
    `flag` and `allow` change nothing; a flag is kept in the trace and told to the caller.
    """

    kind: ClassVar[str] = "guardrails"

    name: Name
    description: str = Field(min_length=1)
    message: str = Field(
        default="I can't help with that: this request is outside of what I may do.",
        min_length=1,
        description="What a caller reads in place of a blocked answer.",
    )
    input: tuple[Check, ...] = ()
    context: tuple[Check, ...] = ()
    output: tuple[Check, ...] = ()

    def model_post_init(self, _context: Any, /) -> None:
        if not (self.input or self.context or self.output):
            raise ValueError("has no checks; give input, context or output at least one")
