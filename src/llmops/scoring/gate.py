"""The gate: rules over measured metrics, and one of three outcomes: pass, fail, inconclusive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmops.records import GateCheck, MetricValue, Outcome

_ROUNDING = 1e-9  # three times 0.7 have a mean of 0.6999999999999998, and reach 0.7 all the same
_TAIL = 0.025  # of a 95 % interval, on each side


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRule:
    """A threshold on a metric over a slice of the examples.

    Attributes:
        by: "mean" compares the value itself: it passes or fails. "interval" wants the whole 95 % interval on the
            right side to pass, and on the wrong side to fail; in between more examples are needed. No interval
            lies beyond the end of a range, so the value itself decides "at least 1" and "at most 0".
        part: only examples of this part of the suite; all when None.
        tag: only examples with this tag; all when None.
    """

    metric: str
    threshold: float
    direction: Literal["at least", "at most"] = "at least"
    by: Literal["mean", "interval"] = "mean"
    part: str | None = None
    tag: str | None = None

    @property
    def compares_mean(self) -> bool:
        end = 1 if self.direction == "at least" else 0
        return self.by == "mean" or self.threshold == end

    def margin(self, value: float) -> float:
        """How far a value lies on the right side of the threshold."""
        return value - self.threshold if self.direction == "at least" else self.threshold - value

    def __str__(self) -> str:
        where = "".join(f" on {name}" for name in (self.part, self.tag) if name)
        return f"{self.metric}{where} {self.direction} {self.threshold:g} (by {self.by})"


def judge(rule: GateRule, measured: MetricValue | None, *, n_errors: int = 0) -> GateCheck:
    """Decide one rule.

    What could not be measured passes nothing: without any example, or with examples on which the metric or the
    system failed, the rule is inconclusive.

    Args:
        measured: None when the metric was read of no example.
        n_errors: examples that failed, where `measured` is None and cannot tell.
    """
    if measured is None or measured.n_errors:
        n = measured.n if measured is not None else 0
        n_errors = measured.n_errors if measured is not None else n_errors
        reason = "no example of this slice has what the metric needs"
        if n_errors:
            reason = f"{n_errors} of {n + n_errors} examples could not be measured"
        return GateCheck(rule=str(rule), outcome="inconclusive", measured=measured, reason=reason)
    outcome, n_needed = _decided(rule, measured)
    reason = f"{measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}] on {measured.n}"
    if outcome == "inconclusive":
        reason += ", which show no spread; " if measured.low == measured.high else "; "
        is_on_it = abs(rule.margin(measured.value)) <= _ROUNDING
        few = "it lies on the threshold" if is_on_it else "it takes more examples"
        reason += f"about {n_needed} examples would decide it" if n_needed else few
    return GateCheck(rule=str(rule), outcome=outcome, measured=measured, n_needed=n_needed, reason=reason)


def decide(checks: Sequence[GateCheck]) -> Outcome:
    """The outcome of a whole gate: one failure fails it, else one open question leaves it open."""
    outcomes = {check.outcome for check in checks}
    if "fail" in outcomes:
        return "fail"
    return "inconclusive" if "inconclusive" in outcomes or not outcomes else "pass"


def _decided(rule: GateRule, measured: MetricValue) -> tuple[Outcome, int | None]:
    """The outcome, and the number of examples that would decide an open one."""
    margin = rule.margin(measured.value)
    if rule.compares_mean:
        return ("pass" if margin >= -_ROUNDING else "fail"), None
    worst, best = sorted(rule.margin(bound) for bound in _bounds(measured))
    if worst >= -_ROUNDING:
        return "pass", None
    if best < -_ROUNDING:
        return "fail", None
    if abs(margin) <= _ROUNDING:
        return "inconclusive", None
    if measured.low == measured.high:
        n = _n_alike(rule, measured.value)
    else:  # the width of an interval shrinks with the square root of their number
        n = measured.n * ((margin - worst if margin > 0 else best - margin) / abs(margin)) ** 2
    if not math.isfinite(n):
        return "inconclusive", None
    n = round(n, 6)  # 200.00000000003 are 200
    return "inconclusive", max(math.ceil(n) if margin > 0 else math.floor(n) + 1, measured.n + 1)


def _bounds(measured: MetricValue) -> tuple[float, float]:
    """The interval; where all examples are alike, what that many do not rule out.

    Resampling equal values shows no spread, be they three or three hundred. `n` alike leave room for a share of
    1 - 0.025^(1/n) that are not: Clopper & Pearson, The use of confidence or fiducial limits (1934). Such an
    example may lie anywhere in [0, 1]; of a metric without that range nothing is known.
    """
    if measured.low < measured.high:
        return measured.low, measured.high
    if not 0 <= measured.value <= 1:
        return -math.inf, math.inf
    unseen = 1 - _TAIL ** (1 / measured.n)
    return measured.value * (1 - unseen), measured.value + (1 - measured.value) * unseen


def _n_alike(rule: GateRule, value: float) -> float:
    """How many equal values would bring `_bounds` to the threshold; infinite when none would."""
    if not 0 <= value <= 1:
        return math.inf
    below = rule.threshold < value
    room = rule.threshold / value if below else (1 - rule.threshold) / (1 - value)
    return math.log(_TAIL) / math.log(room) if 0 < room < 1 else math.inf
