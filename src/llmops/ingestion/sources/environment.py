"""Secrets of sources: they stand in environment variables, and a spec names the variable."""

from __future__ import annotations

from collections.abc import Mapping

from llmops.errors import ConfigurationError


def secret(environment: Mapping[str, str], name: str, what: str) -> str:
    """The value of a variable.

    Raises:
        ConfigurationError: it is not set, or empty.
    """
    value = environment.get(name, "").strip()
    if not value:
        raise ConfigurationError(f"the environment variable {name!r} is not set: put the {what} there")
    return value
