"""One HTTP client for all sources: bounded in time, bytes and redirects; it retries, and it keeps secrets."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from llmops.clients.web.addresses import Guard, LinkError, Resolve, place_of, resolve_host
from llmops.clients.web.patience import Patience
from llmops.clients.web.response import BodyTooLargeError, Response, ServerFailureError
from llmops.clients.web.tokens import Token
from llmops.errors import (
    ConfigurationError,
    DocumentError,
    DocumentGoneError,
    MissingExtraError,
    SourceDeniedError,
    SourceError,
)

_MAX_JSON_BYTES = 64_000_000


class WebClient:
    """Calls one API, or the web. Methods may be called from several threads.

    Environment variables for proxies are not heeded: behind a proxy no address could be checked.

    Args:
        base_url: relative URLs are seen from it. Its host may be private, because the operator named it; the token
            goes to its origin only.
        token: sends an Authorization header, to the origin of `base_url`.
        headers: sent with every request.
        allow_private: any host may be private.
        resolve: looks names up (tests).

    Raises:
        ConfigurationError: `base_url` is not an address.
        MissingExtraError: httpcore is not installed.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        allow_private: bool = False,
        patience: Patience | None = None,
        resolve: Resolve = resolve_host,
    ) -> None:
        try:
            from llmops.clients.web.calls import Line
            from llmops.clients.web.network import GuardedNetwork, open_pool
        except ImportError as error:
            raise MissingExtraError("httpcore", "ingest") from error
        self.base_url = base_url
        try:
            home = place_of(base_url) if base_url else None
        except SourceError as error:
            raise ConfigurationError(f"base_url: {error}") from error
        if token is not None and home is None:
            raise ConfigurationError("a token needs a base_url: it is sent to no other host")
        named = frozenset({(home.host, home.port)} if home else ())
        network = GuardedNetwork(Guard(allow_private=allow_private, named=named, resolve=resolve))
        given = {name.lower(): value for name, value in (headers or {}).items()}
        self._line = Line(
            pool=open_pool(network),
            network=network,
            home=home,
            token=token,
            headers={"user-agent": "llmops", "accept-encoding": "gzip, deflate", **given},
            patience=patience or Patience(),
            closed=threading.Event(),
        )

    def close(self) -> None:
        """End pauses and connections."""
        self._line.closed.set()
        self._line.pool.close()

    def pause(self, seconds: float) -> None:
        """Wait, unless the client is closed meanwhile.

        Raises:
            SourceError: it was closed.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._line.closed.wait(left):
                raise SourceError(f"{self.base_url} is not called any more: the source was closed")

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = _MAX_JSON_BYTES,
        follow: bool = True,
    ) -> Response:
        """The answer, whatever it says below 500; a 401 was retried with a fresh token, 429 and 5xx with patience.

        Args:
            follow: go where a redirect leads; False hands it over (3xx).

        Raises:
            BodyTooLargeError: the body, unpacked, is over `max_bytes`.
            ServerFailureError: it failed with a 500 each time.
            SourceDeniedError: 401, also with a fresh token.
            SourceError: away, too slow, too many redirects, or an address that may not be called.
        """
        from llmops.clients.web.calls import Call, Request

        place = place_of(url, base=self.base_url, params=dict(params or {}))
        call = Call(self._line, Request("GET", place, dict(headers or {}), b"", max_bytes))
        return call.follow() if follow else call.send()

    def json(self, url: str, *, params: Mapping[str, str] | None = None) -> Any:
        """The JSON that a listing answers.

        Raises:
            SourceDeniedError: 401 or 403.
            SourceError: anything but a 200 with JSON.
        """
        response = self.get(url, params=params)
        if response.status in (401, 403):
            raise SourceDeniedError(
                f"{response.shown} refuses our credentials ({response.status}); check what they may read"
            )
        if response.status != 200:
            raise SourceError(f"{response.shown} answered {response.status}; check the address and the spec")
        return response.json()

    def document(
        self,
        url: str,
        *,
        max_bytes: int,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One document: a 200, or a 304 where `headers` asked for one.

        Raises:
            DocumentGoneError: 404 or 410.
            DocumentError: too large, forbidden, behind a bad redirect, or it fails with a 500 each time.
            SourceDeniedError: 401, also with a fresh token.
            SourceError: the source is away.
        """
        try:
            response = self.get(url, params=params, headers=headers, max_bytes=max_bytes)
        except (BodyTooLargeError, ServerFailureError, LinkError) as error:
            raise DocumentError(str(error)) from error
        if response.status in (404, 410):
            raise DocumentGoneError(f"{response.shown} is not there any more ({response.status})")
        if response.status not in (200, 304):
            raise DocumentError(f"{response.shown} cannot be had ({response.status}); check its permissions")
        return response

    def post_form(self, url: str, form: Mapping[str, str]) -> Response:
        """The answer to a form that changes nothing, such as a request for a token; redirects are not followed.

        Raises:
            SourceError: as `get`.
        """
        from llmops.clients.web.calls import Call, Request

        place = place_of(url, base=self.base_url)
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        return Call(self._line, Request("POST", place, headers, urlencode(form).encode(), _MAX_JSON_BYTES)).send()
