"""What the components need of llmops, wherever it runs, in the JSON of its HTTP API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from llmops.errors import ConfigurationError
from llmops.workspace.notebook import Notebook


class Line(Protocol):
    """Answers and searches. `place` names it in errors."""

    place: str

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion.

        Raises:
            LlmopsError: it is refused, or it fails.
        """
        ...

    async def acomplete(self, body: dict[str, Any]) -> dict[str, Any]: ...

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a chat completion, the last with its usage.

        Raises:
            LlmopsError: as the first item or in the middle; never silently short.
        """
        ...

    def astream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]: ...

    def search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search."""
        ...

    async def asearch(self, body: dict[str, Any]) -> list[dict[str, Any]]: ...


def open_line(
    notebook: Notebook | None,
    base_url: str | None,
    *,
    api_key: str = "",
    principals: tuple[str, ...] = (),
    timeout_s: float | None = None,
    max_retries: int = 2,
) -> Line:
    """The workspace that is open here, or the gateway at `base_url`.

    Raises:
        ConfigurationError: both are given, or neither.
        MissingExtraError: httpx is not installed.
    """
    if notebook is not None:
        if base_url is not None:
            raise ConfigurationError("give either a notebook or a base_url, not both")
        from llmops.langchain.local import LocalLine

        return LocalLine(notebook, principals)
    if not base_url:
        raise ConfigurationError("give notebook=llmops.open(DIR), or base_url= of a gateway (or LLMOPS_BASE_URL)")
    from llmops.langchain.remote import RemoteLine

    return RemoteLine(
        base_url, api_key=api_key, principals=principals, timeout_s=timeout_s, max_retries=max_retries
    )
