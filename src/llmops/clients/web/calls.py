"""One call: its tries, pauses, redirects and credentials, all within one time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore

from llmops.clients.web.addresses import LinkError, Place, place_of
from llmops.clients.web.network import GuardedNetwork
from llmops.clients.web.patience import Patience
from llmops.clients.web.response import (
    BodyTooLargeError,
    Response,
    ServerFailureError,
    TooMuchError,
    UnreadableError,
    seconds_to_wait,
    unpacked,
)
from llmops.clients.web.tokens import Token
from llmops.errors import ConfigurationError, SourceDeniedError, SourceError

MAX_REDIRECTS = 5
_MAX_ERROR_BYTES = 1_000_000
_REDIRECTS = (301, 302, 303, 307, 308)
_AWAY = (429, 502, 503, 504)  # these speak of the service, a 500 of what was asked for
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What all calls of one client share.

    Attributes:
        home: whose origin alone gets the token.
        headers: names in lower case, sent with every request.
        closed: ends every pause.
    """

    pool: httpcore.ConnectionPool
    network: GuardedNetwork
    home: Place | None
    token: Token | None
    headers: Mapping[str, str]
    patience: Patience
    closed: threading.Event


@dataclass(slots=True)
class Request:
    """What is sent; `place` moves with redirects."""

    method: str
    place: Place
    headers: dict[str, str]
    content: bytes
    max_bytes: int


class Call:
    """One call with its tries and redirects; all of them share its time."""

    def __init__(self, line: Line, request: Request) -> None:
        self._line, self._request, self._patience = line, request, line.patience
        self._deadline = time.monotonic() + self._patience.total_s
        self._n_tries = 0
        self._with_secrets = True

    def follow(self) -> Response:
        """Send, and go where redirects lead."""
        seen = {self._request.place.url}
        for _ in range(MAX_REDIRECTS + 1):
            response = self.send()
            location = response.headers.get("location", "")
            if response.status not in _REDIRECTS or not location:
                return response
            place = place_of(location, base=response.url)
            if place.url in seen:
                raise LinkError(f"{response.shown} redirects in a circle; mend the site, or leave it out")
            seen.add(place.url)
            self._with_secrets = self._with_secrets and place.origin == self._request.place.origin
            self._request.place = place
        raise LinkError(f"{self._request.place.shown} redirects more than {MAX_REDIRECTS} times; leave it out")

    def send(self) -> Response:
        """One answer that is worth having."""
        refreshed = False
        n_here = 0
        while True:
            header = self._authorization()
            n_here += 1
            self._n_tries += 1
            response, problem = self._attempt(header)
            if response is not None and response.status == 401 and header:
                if refreshed or self._line.token is None or self._line.token.refresh(header) == header:
                    raise SourceDeniedError(
                        f"{response.shown} refuses our credentials (401); check the token and what it may read"
                    )
                refreshed = True
                continue
            if response is not None and response.status != 429 and response.status < 500:
                return response
            asked = seconds_to_wait(response.headers) if response else None
            self._pause(n_here, asked, response, problem)

    def _authorization(self) -> str:
        home, token = self._line.home, self._line.token
        if token is None or home is None or not self._with_secrets or self._request.place.origin != home.origin:
            return ""
        return token.current()

    def _attempt(self, authorization: str) -> tuple[Response | None, str]:
        """An answer, or why there is none."""
        request, patience = self._request, self._patience
        headers = {**self._line.headers, **{name.lower(): value for name, value in request.headers.items()}}
        if authorization:
            headers["authorization"] = authorization
        if not self._with_secrets:
            headers = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
        if self._line.closed.is_set():
            raise SourceError(f"{request.place.shown} is not called any more: the source was closed")
        self._line.network.deadline.at = self._deadline
        timeout = {"connect": patience.connect_s, "read": patience.read_s, "write": patience.read_s}
        try:
            with self._line.pool.stream(
                request.method,
                httpcore.URL(
                    scheme=request.place.scheme.encode(),
                    host=request.place.host.encode(),
                    port=request.place.port,
                    target=request.place.target.encode(),
                ),
                headers=[("Host", request.place.authority), *headers.items()],
                content=request.content,
                extensions={"timeout": timeout | {"pool": patience.total_s}},
            ) as answer:
                return self._read(answer), ""
        except httpcore.TimeoutException:
            return None, "no answer in time"
        except (httpcore.LocalProtocolError, UnicodeEncodeError):  # its message would show the header
            raise ConfigurationError(
                f"what is to be sent to {request.place.shown} does not fit HTTP; check the spec's values"
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return None, f"{type(error).__name__}: {error}"
        except UnreadableError as error:
            return None, str(error)

    def _read(self, answer: httpcore.Response) -> Response:
        place = self._request.place
        pairs = [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in answer.headers]
        headers = dict(reversed(pairs))  # of a header that comes twice the first counts
        limit = self._request.max_bytes if answer.status < 300 else _MAX_ERROR_BYTES
        length, body = headers.get("content-length", ""), b""
        try:
            if length.isdecimal() and (len(length) > 18 or int(length) > limit):
                raise TooMuchError
            body = unpacked(answer.iter_stream(), headers.get("content-encoding", ""), max_bytes=limit)
        except TooMuchError:
            if answer.status < 300:
                raise BodyTooLargeError(
                    f"{place.shown} is larger than {limit:,} bytes; raise the limit or leave it out"
                ) from None
        return Response(url=place.url, shown=place.shown, status=answer.status, headers=headers, body=body)

    def _pause(self, n_here: int, asked: float | None, response: Response | None, problem: str) -> None:
        """Wait before the next try.

        Raises:
            SourceError: there is no try or no time left.
        """
        patience = self._patience
        backoff = min(patience.backoff_s * 2 ** (n_here - 1), patience.backoff_max_s)
        pause = asked if asked is not None else random.uniform(backoff / 2, backoff)
        if n_here >= patience.attempts or time.monotonic() + pause >= self._deadline:
            raise self._gave_up(asked, response, problem)
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0:
            if self._line.closed.wait(left):
                raise SourceError(f"{self._request.place.shown} is not called any more: the source was closed")

    def _gave_up(self, asked: float | None, response: Response | None, problem: str) -> SourceError:
        reason = f"it answered {response.status}" if response is not None else problem
        wish = f" and asks us to wait {asked:g} s" if asked is not None else ""
        tries = "1 try" if self._n_tries == 1 else f"{self._n_tries} tries"
        error = SourceError if response is None or response.status in _AWAY else ServerFailureError
        return error(f"{self._request.place.shown} cannot be had after {tries}: {reason}{wish}; try again later")
