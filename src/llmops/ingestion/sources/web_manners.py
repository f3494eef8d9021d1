"""Manners on the web: robots.txt (RFC 9309) and pauses between requests, for each host."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from llmops.clients.web import Response, WebClient
from llmops.errors import MissingExtraError, SourceDeniedError, SourceError

_ROBOTS_BYTES = 2_000_000
_LONGEST_PAUSE_S = 60.0


class RobotsError(SourceError):
    """A site's robots.txt cannot be had: nothing may be read there now."""


class Manners:
    """Asks only what robots.txt allows, and one host only so often. May be used from several threads.

    Args:
        name: ours in robots.txt.
        delay_s: the least pause; a site may ask for a longer one, up to a minute.

    Raises:
        MissingExtraError: protego is not installed.
    """

    def __init__(self, client: WebClient, *, name: str, delay_s: float) -> None:
        try:
            import protego  # noqa: F401 (its absence is said early)
        except ImportError as error:
            raise MissingExtraError("protego", "sources") from error
        self._client, self._name, self._delay_s = client, name, delay_s
        self._rules: dict[str, Any] = {}
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def allows(self, url: str) -> bool:
        """Whether the site's robots.txt lets us read a page.

        Raises:
            SourceError: its robots.txt cannot be had, which forbids everything for now.
        """
        return bool(self._rules_of(url).can_fetch(url, self._name))

    def get(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None, follow: bool = False
    ) -> Response:
        """As `WebClient.get`, after the pause that the host is due."""
        self._pause(url)
        return self._client.get(url, headers=headers, max_bytes=max_bytes, follow=follow)

    def close(self) -> None:
        """End pauses and connections."""
        self._closed.set()
        self._client.close()

    def _rules_of(self, url: str) -> Any:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            rules = self._rules.get(origin)
        if rules is None:
            rules = self._read(origin)
            with self._lock:
                self._rules[origin] = rules
        return rules

    def _read(self, origin: str) -> Any:
        from protego import Protego

        try:
            answer = self._client.get(f"{origin}/robots.txt", max_bytes=_ROBOTS_BYTES)
        except SourceDeniedError:
            return Protego.parse("")
        except SourceError as error:  # RFC 9309 §2.3.1.4: unreachable means complete disallow
            raise RobotsError(
                f"robots.txt of {origin} cannot be had, so nothing is read there: {error}"
            ) from error
        text = answer.body.decode("utf-8", "replace").removeprefix("\ufeff") if answer.status == 200 else ""
        return Protego.parse(text)

    def _pause(self, url: str) -> None:
        host = urlsplit(url).netloc
        delay_s = self._delay_s
        rules = self._rules_of(url)
        if (asked := rules.crawl_delay(self._name)) is not None:
            delay_s = max(delay_s, float(asked))
        if (rate := rules.request_rate(self._name)) is not None and rate.requests:
            delay_s = max(delay_s, rate.seconds / rate.requests)
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next.get(host, now))
            self._next[host] = at + min(delay_s, _LONGEST_PAUSE_S)
        if self._closed.wait(at - now):
            raise SourceError(f"{host} is not asked any more: the source was closed")
