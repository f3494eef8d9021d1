"""What came back: status, headers and a body that was read within its limit, also after unpacking."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from llmops.errors import SourceError

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,6})?")
_MAX_DEPTH_ERROR = (orjson.JSONDecodeError, RecursionError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """An answer.

    Attributes:
        url: where it came from in the end, after redirects.
        shown: that, fit for an error.
        headers: names in lower case.
        body: unpacked.
    """

    url: str
    shown: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def media_type(self) -> str:
        """Of the Content-Type header, without parameters, or ""."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def etag(self) -> str:
        return self.headers.get("etag", "")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            AnswerError: it is not JSON.
        """
        try:
            return orjson.loads(self.body)
        except _MAX_DEPTH_ERROR as error:
            kind = self.media_type or "no media type"
            raise AnswerError(
                f"{self.shown} answered {kind} where JSON was expected; is the address right, and no sign-in page?"
            ) from error


class AnswerError(SourceError):
    """What came back is not what the API's documentation promises."""


class BodyTooLargeError(SourceError):
    """A body is over the limit of its call."""


class ServerFailureError(SourceError):
    """A request fails with a 500 (or another 5xx that is no overload) each time."""


class TooMuchError(Exception):
    """A body is over its limit."""


class UnreadableError(Exception):
    """A body is packed in a way that cannot be unpacked."""


def unpacked(pieces: Iterable[bytes], encoding: str, *, max_bytes: int) -> bytes:
    """A body out of the pieces as they arrive; a bomb is left after `max_bytes`.

    Raises:
        TooMuchError: more than `max_bytes` after unpacking.
        UnreadableError: not what its Content-Encoding says, or one we did not ask for.
    """
    body = bytearray()
    try:
        for piece in _unpack(pieces, encoding.strip().lower(), max_bytes + 1):
            body += piece
            if len(body) > max_bytes:
                raise TooMuchError
    except zlib.error as error:
        raise UnreadableError(f"its {encoding!r} data are damaged") from error
    return bytes(body)


def _unpack(pieces: Iterable[bytes], encoding: str, step: int) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        yield from pieces
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableError(f"it is packed as {encoding!r}, which was not asked for")
    left = b""
    machine = None
    for piece in pieces:
        left += piece
        if machine is None:
            if len(left) < 2:
                continue
            wbits = 31 if encoding != "deflate" else 15 if _has_zlib_head(left) else -15
            machine = zlib.decompressobj(wbits)
        while left:
            if machine.eof:  # a further member of a gzip file
                machine = zlib.decompressobj(wbits)
            yield machine.decompress(left, min(step, 1 << 20))
            left = machine.unused_data if machine.eof else machine.unconsumed_tail
    if left or (machine is not None and not machine.eof):
        raise UnreadableError(f"its {encoding!r} data end too early")


def _has_zlib_head(data: bytes) -> bool:
    """RFC 1950; some servers send deflate without it."""
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """What Retry-After asks for (RFC 9110: seconds or a date), or None.

    A date is compared with the server's own clock where it sends one, so that ours may be wrong.
    """
    said = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(said):
        return float(said)
    until = _date(said)
    if until is None:
        return None
    return max(0.0, (until - (_date(headers.get("date", "")) or datetime.now(UTC))).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
