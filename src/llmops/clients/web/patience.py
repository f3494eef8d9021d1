"""How long and how often a call to a source is tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long and how often one call tries.

    Attributes:
        total_s: for a call with all its tries, pauses and redirects.
        backoff_s: upper bound of the first pause; it doubles with each try, up to `backoff_max_s`.
    """

    attempts: int = 5
    connect_s: float = 10.0
    read_s: float = 60.0
    total_s: float = 300.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
