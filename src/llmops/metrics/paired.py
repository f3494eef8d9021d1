"""Whether one system is better than another on the same queries, or only looks so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1_000
_ROUNDING = 1e-12


def paired_p_value(differences: Sequence[float], *, n: int = 10_000, seed: int = 0) -> float:
    """Two-sided randomisation test of a mean difference, in (0, 1].

    Under the null hypothesis either system could have had either score, so that every sign is a coin's: Smucker,
    Allan & Carterette, A comparison of statistical significance tests for information retrieval evaluation (2007).

    Args:
        differences: one a query.
        n: coins thrown; the least p is 1 / (n + 1).

    Returns:
        1 when there is no difference at all.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    column = _checked(np.asarray(differences, dtype=np.float64).reshape(-1, 1))
    observed = abs(float(column.mean()))
    n_extreme = sum(
        int((np.abs(means[:, 0]) >= observed - _ROUNDING).sum()) for means in _null_means(column, n, seed)
    )
    return (n_extreme + 1) / (n + 1)


def adjusted_p_values(differences: NDArray[np.float64], *, n: int = 10_000, seed: int = 0) -> list[float]:
    """One-sided p-values of many systems against one, adjusted for how many were tried; each in (0, 1].

    Each mean is divided by its standard error, and compared with the largest of all of them under random signs:
    the single-step maxT of Westfall & Young, Resampling-Based Multiple Testing (1993). Systems that resemble each
    other cost little, unlike under Bonferroni's rule.

    Args:
        differences: `(n_queries, n_systems)`, the system's score less the one's it is compared with.

    Returns:
        p of "better", one a system; 1 for one that is nowhere different.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    rows = _checked(differences)
    error = np.sqrt((rows**2).mean(axis=0) / len(rows))  # under random signs the mean is 0
    is_different = error > 0
    if not is_different.any():
        return [1.0] * rows.shape[1]
    scaled = rows[:, is_different] / error[is_different]
    observed = scaled.mean(axis=0)
    n_extreme = np.zeros(len(observed))
    for means in _null_means(scaled, n, seed):
        n_extreme += (means.max(axis=1)[:, None] >= observed - _ROUNDING).sum(axis=0)
    p_values = np.ones(rows.shape[1])
    p_values[is_different] = (n_extreme + 1) / (n + 1)
    return [float(p) for p in p_values]


def _checked(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    if rows.ndim != 2 or not rows.size:
        raise ValueError("there are no differences: a test needs at least one query")
    if not np.isfinite(rows).all():
        raise ValueError("a difference is not finite: leave out what failed, do not compare it")
    return rows


def _null_means(rows: NDArray[np.float64], n: int, seed: int) -> list[NDArray[np.float64]]:
    """Means under random signs, `(block, n_systems)` each; one coin a query for all systems."""
    generator = np.random.default_rng(seed)
    found = []
    for start in range(0, n, _BLOCK):
        signs = generator.integers(0, 2, (min(_BLOCK, n - start), len(rows))) * 2.0 - 1.0
        found.append(signs @ rows / len(rows))
    return found
