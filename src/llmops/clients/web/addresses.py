"""URLs and the addresses behind them: which may be called, and how they are shown without their secrets."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urljoin, urlsplit

from llmops.errors import SourceError

Resolve = Callable[[str, int], list[str]]
"""Host and port to IP addresses, as text. Raises `OSError` when there are none."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE = "%/:?#[]@!$&'()*+,;=~-._"  # RFC 3986: reserved and unreserved, and what is encoded already
_MAX_URL = 8_000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not private by the registry's letter, and still nobody's public web server.
_NEVER = (
    ipaddress.ip_network("100.64.0.0/10"),  # shared by carriers, and some clouds' metadata (RFC 6598)
    ipaddress.ip_network("168.63.129.16/32"),  # a cloud's platform address
    ipaddress.ip_network("192.0.0.0/24"),  # protocol assignments, and a cloud's metadata
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.ip_network("3fff::/20"),  # documentation
    ipaddress.ip_network("64:ff9b:1::/48"),  # local NAT64
    ipaddress.ip_network("fec0::/10"),  # site-local
)


class LinkError(SourceError):
    """An address that cannot or may not be called, wherever the link to it came from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A URL taken apart, in the form in which it is sent.

    Attributes:
        host: lower-case ASCII, without brackets.
        target: path and query, percent-encoded.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a credential is bound to."""
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """Without the query, which may carry a secret."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"


def shown(url: str) -> str:
    """A URL as an error may name it: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is no URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]


def place_of(url: str, *, base: str = "", params: dict[str, str] | None = None) -> Place:
    """Where `url` points, seen from `base`, with `params` added to its query. User, password and fragment go.

    Raises:
        LinkError: it is no http or https address.
    """
    try:
        parts = urlsplit(urljoin(base, url))
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port
        host = host if ":" in host or host.isascii() else host.encode("idna").decode("ascii")
        path, query = (quote(part, safe=_SAFE) for part in (parts.path or "/", parts.query))
    except (ValueError, UnicodeError) as error:
        raise LinkError(f"{shown(url)!r} cannot be called; mend it where it is linked") from error
    if scheme not in _DEFAULT_PORTS or not host or len(url) > _MAX_URL:
        raise LinkError(f"{shown(url)!r} is not an http or https address; only those are called")
    query = "&".join(part for part in (query, urlencode(params or {})) if part)
    target = f"{path}?{query}" if query else path
    return Place(scheme=scheme, host=host.lower(), port=port or _DEFAULT_PORTS[scheme], target=target)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet: not private, loopback, link-local, reserved and so on.

    An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is judged instead, or too.
    """
    try:
        ip: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.sixtofour is not None and not is_public(str(ip.sixtofour)):
            return False
    if ip.is_multicast or ip.is_unspecified or ip.is_reserved or ip.is_loopback or ip.is_link_local:
        return False
    return not ip.is_private and not any(ip in network for network in _NEVER if network.version == ip.version)


def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host as this machine sees them, each once, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """Decides which addresses may be called (SSRF).

    Attributes:
        allow_private: also addresses that are not public, for every host.
        named: (host, port) that the operator named in a spec; they may be private.
    """

    allow_private: bool = False
    named: frozenset[tuple[str, int]] = frozenset()
    resolve: Resolve = resolve_host

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses to connect to; they are literal, so that nothing looks the name up again.

        Raises:
            LinkError: one of them may not be called.
            OSError: the name has none.
        """
        found = self.resolve(host, port)
        if not found:
            raise OSError(f"the name {host!r} has no address")
        if not self.allow_private and (host, port) not in self.named:
            for address in found:
                if not is_public(address):
                    raise LinkError(
                        f"{host}:{port} leads to {address}, which is not on the public internet; "
                        "such addresses are called only where a spec names them"
                    )
        return found
