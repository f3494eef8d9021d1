"""How far a mean can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean with the bounds of its confidence interval; `low <= mean <= high`."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, n: int = 2_000, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.

    Args:
        values: one a query (or a difference of two systems on it); queries are drawn anew, with replacement.
        level: in (0, 1).
        n: resamples.
        seed: the same seed gives the same interval.

    Returns:
        Mean and bounds. One value, or equal ones, give an interval of no width: it then says nothing.

    Raises:
        ValueError: there are no values, one is not finite, or `level` or `n` is out of range.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not given.size:
        raise ValueError("there are no values: an interval needs at least one")
    if not np.isfinite(given).all():
        raise ValueError("a value is not finite: count what failed, do not average it")
    if not 0 < level < 1 or n < 1:
        raise ValueError(f"level {level!r} must lie between 0 and 1, and n {n!r} must be at least 1")
    generator = np.random.default_rng(seed)
    means = [_mean(given[generator.integers(0, given.size, given.size)]) for _ in range(n)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = _mean(given)
    return Interval(mean=mean, low=min(float(low), mean), high=max(float(high), mean))


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(np.mean(values))
