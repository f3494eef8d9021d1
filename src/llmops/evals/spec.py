"""What stands in a suite (`evals/NAME.yaml`): what is measured, on which examples, and what passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from llmops.config import Name, Section, Spec
from llmops.datasets import Dataset, load_examples
from llmops.errors import ConfigurationError
from llmops.scoring import GateRule, metric_named


class RuleSpec(Section):
    """One rule of the gate: `at_least` or `at_most`, on all examples or on a slice of them."""

    metric: str
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    at_most: float | None = Field(default=None, allow_inf_nan=False)
    by: Literal["mean", "interval"] = Field(
        default="mean",
        description="mean: the value decides; interval: its whole 95 % interval must pass, or fail.",
    )
    part: Literal["dev", "held-out"] | None = Field(default=None, description="Only examples of this part.")
    tag: str | None = Field(default=None, description="Only examples with this tag.")

    def model_post_init(self, _context: Any, /) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("needs at_least or at_most, and not both")

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str) -> str:
        return _metric(value)

    @property
    def rule(self) -> GateRule:
        if self.at_least is not None:
            return GateRule(metric=self.metric, threshold=self.at_least, by=self.by, part=self.part, tag=self.tag)
        assert self.at_most is not None
        return GateRule(
            metric=self.metric,
            threshold=self.at_most,
            direction="at most",
            by=self.by,
            part=self.part,
            tag=self.tag,
        )


class SuiteSpec(Spec):
    """One suite. Its verdict counts for exactly the contents it measured, while the suite is unchanged."""

    kind: ClassVar[str] = "suite"

    name: Name
    description: str = Field(min_length=1)
    route: Name = Field(description="The route that answers the questions.")
    datasets: tuple[str, ...] = Field(min_length=1, description="JSONL files, relative to this file.")
    held_out: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the examples that are held out, by the hash of their ids."
    )
    metrics: tuple[str, ...] = Field(min_length=1, description="What is measured and reported.")
    gate: tuple[RuleSpec, ...] = Field(
        default=(), description="What has to hold for the suite to pass; without rules it only reports."
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="Questions asked at the same time.")

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_metric(name) for name in value)

    @field_validator("gate")
    @classmethod
    def _has_parts(cls, value: tuple[RuleSpec, ...], info: ValidationInfo) -> tuple[RuleSpec, ...]:
        if info.data.get("held_out") == 0 and any(rule.part == "held-out" for rule in value):
            raise ValueError("has a rule on the part 'held-out', and held_out is 0: state its share, such as 0.3")
        return value

    @property
    def rules(self) -> tuple[GateRule, ...]:
        return tuple(rule.rule for rule in self.gate)

    @property
    def measured(self) -> tuple[str, ...]:
        """Every metric that is reported or decides something, each once."""
        return tuple(dict.fromkeys((*self.metrics, *(rule.metric for rule in self.gate))))

    def dataset(self) -> Dataset:
        """The examples of all dataset files.

        Raises:
            SpecError: a file is missing, empty or wrong.
        """
        return load_examples([Path(self.file).parent / name for name in self.datasets])


def _metric(name: str) -> str:
    try:
        return metric_named(name).name
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
