"""Credentials of a source: fixed ones, and tokens that expire (OAuth 2.0 client credentials, RFC 6749 §4.4)."""

from __future__ import annotations

import base64
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from llmops.errors import ConfigurationError, SourceDeniedError, SourceError

if TYPE_CHECKING:
    from llmops.clients.web.client import WebClient

_CODE = re.compile(r"[a-z_]{1,60}")


class Token(Protocol):
    """Says what to send as the Authorization header. Called from several threads."""

    def current(self) -> str:
        """The header's value, such as `Bearer ...`.

        Raises:
            SourceError: there is none to be had.
        """
        ...

    def refresh(self, refused: str) -> str:
        """A value after `refused` was answered with 401; the same one when there is no other."""
        ...


class StaticToken:
    """A credential that stays as it is.

    Raises:
        ConfigurationError: it is empty or cannot stand in a header; its value is not shown.
    """

    def __init__(self, header: str) -> None:
        if not header.strip() or not header.isascii() or not header.isprintable():
            raise ConfigurationError("a credential is empty or holds characters that no HTTP header may carry")
        self._header = header

    def current(self) -> str:
        return self._header

    def refresh(self, refused: str) -> str:  # noqa: ARG002 (the protocol's)
        return self._header


def bearer_token(secret: str) -> StaticToken:
    """`Authorization: Bearer ...`."""
    return StaticToken(f"Bearer {secret.strip()}") if secret.strip() else StaticToken("")


def basic_token(user: str, secret: str) -> StaticToken:
    """`Authorization: Basic ...` (RFC 7617)."""
    if not secret.strip():
        return StaticToken("")
    packed = base64.b64encode(f"{user}:{secret.strip()}".encode()).decode()
    return StaticToken(f"Basic {packed}")


class ClientCredentials:
    """Tokens from a token endpoint, fetched anew shortly before they expire.

    Args:
        client: reaches the token endpoint; it carries no token of its own.
        form: what is posted besides the grant: client id, secret, scope.
        margin_s: a token is not used in its last seconds; at most half of its life.
    """

    def __init__(
        self, client: WebClient, token_url: str, form: dict[str, str], *, margin_s: float = 120.0
    ) -> None:
        self._client, self._url, self._margin_s = client, token_url, margin_s
        self._form = {"grant_type": "client_credentials", **form}
        self._lock = threading.Lock()
        self._header, self._until = "", 0.0

    def current(self) -> str:
        with self._lock:
            if time.monotonic() >= self._until:
                self._fetch()
            return self._header

    def refresh(self, refused: str) -> str:
        with self._lock:
            if self._header == refused:  # else another thread has fetched one meanwhile
                self._fetch()
            return self._header

    def _fetch(self) -> None:
        response = self._client.post_form(self._url, self._form)
        answer = response.json()
        if response.status != 200 or not isinstance(answer, dict):
            raise SourceDeniedError(
                f"{response.shown} gives us no token ({response.status}{_reason(answer)}); "
                "check the client id, its secret and its expiry date"
            )
        secret, life = answer.get("access_token"), answer.get("expires_in", 300)
        if not isinstance(secret, str) or not re.fullmatch(r"[\x21-\x7e]+", secret):
            raise SourceError(f"{response.shown} answered without an access_token; is it a token endpoint?")
        life_s = float(life) if isinstance(life, int | float) or str(life).isdecimal() else 300.0
        self._header = f"Bearer {secret}"
        self._until = time.monotonic() + life_s - min(self._margin_s, life_s / 2)


def _reason(answer: Any) -> str:
    """The error code (RFC 6749 §5.2); a description might echo what was sent."""
    code = answer.get("error") if isinstance(answer, dict) else None
    return f", {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""
