"""How far a mean can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean with the bounds of its confidence interval; `low <= mean <= high`."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


Statistic = Callable[[NDArray[np.float64]], float]
"""A number from rows `(n, m)`: the mean of a column, a ratio of sums, a percentile."""


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
    return bootstrap_statistic(np.asarray(values, dtype=np.float64), _mean, level=level, n=n, seed=seed)


def bootstrap_statistic(
    rows: NDArray[np.float64], statistic: Statistic, *, level: float = 0.95, n: int = 2_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of any statistic of rows, `(n,)` or `(n, m)`: whole rows are drawn anew.

    Returns:
        The statistic of all rows (in `mean`) and its bounds.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    if rows.ndim not in (1, 2) or not rows.size:
        raise ValueError("there are no values: an interval needs at least one")
    if not np.isfinite(rows).all():
        raise ValueError("a value is not finite: count what failed, do not average it")
    if not 0 < level < 1 or n < 1:
        raise ValueError(f"level {level!r} must lie between 0 and 1, and n {n!r} must be at least 1")
    generator = np.random.default_rng(seed)
    drawn = [statistic(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(n)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = statistic(rows)
    return Interval(mean=value, low=min(float(low), value), high=max(float(high), value))


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.mean(values))
