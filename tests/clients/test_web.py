"""The door to the web: addresses, redirects, retries, limits and tokens, against real servers on loopback."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.clients.web import ClientCredentials, Patience, WebClient, basic_token, bearer_token, is_public
from llmops.clients.web.addresses import Guard, LinkError, place_of
from llmops.clients.web.network import GuardedNetwork, open_pool
from llmops.clients.web.response import (
    AnswerError,
    BodyTooLargeError,
    ServerFailureError,
    TooMuchError,
    UnreadableError,
    seconds_to_wait,
    unpacked,
)
from llmops.errors import (
    ConfigurationError,
    DocumentError,
    DocumentGoneError,
    SourceDeniedError,
    SourceError,
)
from tests.ingestion.sources.vendors.server import Answer, Asked, VendorServer

PATIENCE = Patience(attempts=3, connect_s=5, read_s=5, total_s=10, backoff_s=0.01, backoff_max_s=0.05)


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer(lambda asked: Answer(body=asked.path.encode())) as made:
        yield made


@pytest.fixture
def other() -> Iterator[VendorServer]:
    with VendorServer(lambda _: Answer(body=b"other")) as made:
        yield made


@contextmanager
def client(server: VendorServer, **options: Any) -> Iterator[WebClient]:
    with closing(WebClient(server.url, **({"patience": PATIENCE} | options))) as made:
        yield made


def aside(to: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": to})


# Addresses


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
    100.100.100.200 0.0.0.0 0.1.2.3 255.255.255.255 224.0.0.1 240.0.0.1 192.0.0.192 192.0.2.1 198.18.0.1
    203.0.113.9 168.63.129.16 192.88.99.1 :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    ::127.0.0.1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1 ff02::1 2002:7f00:1:: 2002:a00:1::
    64:ff9b::10.0.0.1 64:ff9b:1::1 2001:db8::1 2001::1 100::1
    192.0.0.8 3fff::1 localhost 1.2.3 not-an-address""".split(),
)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_an_address_that_is_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_judged_alike(address: Any) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address)) == is_public(f"64:ff9b::{address}")


def test_a_name_with_one_private_address_is_not_called() -> None:
    guard = Guard(resolve=lambda *_: ["8.8.8.8", "10.1.2.3"])
    with pytest.raises(LinkError, match=r"wiki\.example\.org:443 leads to 10\.1\.2\.3"):
        guard.addresses("wiki.example.org", 443)


def test_only_the_host_and_port_that_the_operator_named_may_be_private() -> None:
    guard = Guard(named=frozenset({("wiki.corp", 443)}), resolve=lambda *_: ["10.1.2.3"])
    assert guard.addresses("wiki.corp", 443) == ["10.1.2.3"]
    for host, port in (("wiki.corp", 8080), ("db.corp", 443)):
        with pytest.raises(LinkError, match="not on the public internet"):
            guard.addresses(host, port)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example/a",
        "file:///etc/passwd",
        "gopher://x",
        "http://",
        "//",
        "http://[::1",
        "http://x:99999/",
        "javascript:1",
    ],
)
def test_only_http_addresses_are_called(url: str) -> None:
    with pytest.raises(LinkError, match=r"cannot be called|not an http"):
        place_of(url)


def test_a_url_is_sent_encoded_and_shown_without_secrets() -> None:
    place = place_of("https://ann:pw@Bücher.Example:443/a b/ü?token=s3cret#top")
    assert place.url == "https://xn--bcher-kva.example/a%20b/%C3%BC?token=s3cret"
    assert place.shown == "https://xn--bcher-kva.example/a%20b/%C3%BC"
    assert place_of("http://[2606:4700::1]:8080/x").authority == "[2606:4700::1]:8080"
    assert (
        place_of("../b?x=1", base="https://h.example/a/c/d", params={"y": "ä b"}).target == "/a/b?x=1&y=%C3%A4+b"
    )


class Nat(httpcore.SyncBackend):
    """The way out: a public address lands on this machine, and every address that is dialled is remembered."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    def connect_tcp(self, host: str, *arguments: Any, **options: Any) -> httpcore.NetworkStream:
        self.dialled.append(host)
        return super().connect_tcp("127.0.0.1", *arguments, **options)


def test_a_name_that_moves_after_the_check_is_not_followed(server: VendorServer) -> None:
    """DNS rebinding: the first look-up is public, every later one is this machine."""
    url = f"http://rebind.example:{server.url.rpartition(':')[2]}/x"
    answers = ["93.184.216.34", "127.0.0.1"]
    nat = Nat()
    network = GuardedNetwork(Guard(resolve=lambda *_: [answers.pop(0)]), nat)
    with open_pool(network) as pool:
        assert pool.request("GET", url).content == b"/x"
    with open_pool(network) as pool, pytest.raises(LinkError, match=r"leads to 127\.0\.0\.1"):
        pool.request("GET", url)
    assert nat.dialled == ["93.184.216.34"]
    assert len(server.asked) == 1


def test_the_next_address_is_tried_when_one_does_not_answer(server: VendorServer) -> None:
    port = int(server.url.rpartition(":")[2])
    made = WebClient(allow_private=True, patience=PATIENCE, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    with closing(made):
        assert made.get(f"http://two.example:{port}/x").body == b"/x"
    assert server.asked[0].headers["host"] == f"two.example:{port}"


# Redirects


def test_redirects_are_followed_and_the_end_is_told(server: VendorServer) -> None:
    server.fail("^/old$", aside("/newer", 301))
    server.fail("^/newer$", aside("new?x=1", 307))
    with client(server) as made:
        response = made.get("/old")
    assert (response.body, response.url) == (b"/new", f"{server.url}/new?x=1")


def test_a_redirect_can_be_handed_over(server: VendorServer) -> None:
    server.fail("^/old$", aside("/new", 301))
    with client(server) as made:
        response = made.get("/old", follow=False)
    assert (response.status, response.headers["location"]) == (301, "/new")


def test_a_circle_of_redirects_is_left(server: VendorServer) -> None:
    server.fail("^/a$", aside("/b"))
    server.fail("^/b$", aside("/a"))
    with client(server) as made, pytest.raises(LinkError, match="redirects in a circle"):
        made.get("/a")
    assert len(server.asked) == 2


def test_a_sixth_redirect_is_not_followed(server: VendorServer) -> None:
    server.fail(r"^/\d+$", lambda asked: aside(f"/{int(asked.path[1:]) + 1}"))
    with client(server) as made, pytest.raises(LinkError, match="redirects more than 5 times"):
        made.get("/0")
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://x.example", "http://169.254.169.254/latest", "http://[::1]/"]
)
def test_a_redirect_to_where_nobody_may_go(server: VendorServer, to: str) -> None:
    server.fail("^/a$", aside(to))
    with client(server) as made:
        with pytest.raises(LinkError, match=r"not an http|not on the public internet"):
            made.get("/a")
        with pytest.raises(DocumentError, match=r"not an http|not on the public internet"):
            made.document("/a", max_bytes=10)


def test_the_token_stays_at_home(server: VendorServer, other: VendorServer) -> None:
    server.fail("^/a$", aside(f"{other.url}/b"))
    other.fail("^/b$", aside(f"{server.url}/c"))
    with client(server, token=bearer_token("s3cret"), allow_private=True) as made:
        assert made.get("/a", headers={"Cookie": "s=1", "X-Kept": "y"}).body == b"/c"
        made.get(f"{other.url}/direct")
    assert server.asked[0].headers["authorization"] == "Bearer s3cret"
    for asked in (*other.asked, server.asked[1]):
        assert "authorization" not in asked.headers
    assert "cookie" not in other.asked[0].headers
    assert other.asked[0].headers["x-kept"] == "y"


# Retries


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_obeyed(server: VendorServer, status: int) -> None:
    server.fail(".", Answer(status=status, headers={"Retry-After": "0.3"}), times=1)
    with client(server) as made:
        assert made.get("/x").body == b"/x"
    assert server.asked[1].at_s - server.asked[0].at_s >= 0.3


def test_retry_after_as_a_date_is_measured_by_the_servers_clock(server: VendorServer) -> None:
    wrong = datetime.now(UTC) - timedelta(days=400)
    headers = {"Date": format_datetime(wrong, usegmt=True)}
    headers["Retry-After"] = format_datetime(wrong + timedelta(seconds=1), usegmt=True)
    assert seconds_to_wait({name.lower(): value for name, value in headers.items()}) == 1.0
    assert seconds_to_wait({"retry-after": format_datetime(wrong, usegmt=True)}) == 0.0


@pytest.mark.parametrize("said", ["", "soon", "-5", "nan", "inf", "1e9", "Thu, 99 Foo 2024 00:00:00 GMT"])
def test_a_retry_after_that_means_nothing_is_none(said: str) -> None:
    assert seconds_to_wait({"retry-after": said}) is None


def test_a_wait_beyond_the_budget_is_not_begun(server: VendorServer) -> None:
    server.fail(".", Answer(status=503, headers={"Retry-After": "3600"}))
    with (
        client(server) as made,
        pytest.raises(SourceError, match=r"after 1 try: .*503 and asks us to wait 3600 s"),
    ):
        made.get("/x")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(status=500), ServerFailureError, "after 3 tries: it answered 500"),
        (Answer(status=502), SourceError, "after 3 tries: it answered 502"),
        (Answer(status=429), SourceError, "after 3 tries: it answered 429"),
        (Answer(drop=True), SourceError, "after 3 tries: "),
    ],
)
def test_tries_are_counted_and_end(
    server: VendorServer, answer: Answer, error: type[Exception], said: str
) -> None:
    server.fail(".", answer)
    with client(server) as made, pytest.raises(error, match=said):
        made.get("/x?token=s3cret")
    assert len(server.asked) == 3


def test_a_500_is_the_documents_and_a_503_the_sources(server: VendorServer) -> None:
    server.fail("^/bad", Answer(status=500))
    server.fail("^/away", Answer(status=503))
    with client(server) as made:
        with pytest.raises(DocumentError, match="500"):
            made.document("/bad", max_bytes=9)
        with pytest.raises(SourceError, match="503"):
            made.document("/away", max_bytes=9)


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, DocumentGoneError), (410, DocumentGoneError), (403, DocumentError), (400, DocumentError)],
)
def test_what_a_status_means_for_a_document(server: VendorServer, status: int, error: type[Exception]) -> None:
    server.fail(".", Answer(status=status))
    with client(server) as made, pytest.raises(error, match=str(status)):
        made.document("/x", max_bytes=9)


def test_a_refused_connection_is_a_source_that_is_away() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with (
            closing(WebClient(url, patience=PATIENCE)) as made,
            pytest.raises(SourceError, match="after 3 tries: ConnectError"),
        ):
            made.get("/")


def test_a_name_that_nobody_knows_is_a_source_that_is_away() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with (
        closing(WebClient("http://wiki.example", patience=PATIENCE, resolve=resolve)) as made,
        pytest.raises(SourceError, match=r"'wiki\.example' cannot be resolved"),
    ):
        made.get("/")


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server below HTTP: `serve` has the connection."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(65_536)
                    try:
                        serve(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop.set()
        thread.join()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_server_that_drips_cannot_hold_us(head: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.02)

    patience = Patience(attempts=5, read_s=5, total_s=0.4, backoff_s=0.01)
    with (
        raw_server(drip) as url,
        closing(WebClient(url, patience=patience)) as made,
        pytest.raises(SourceError, match="no answer in time"),
    ):
        made.get("/")


def test_a_body_that_is_cut_off_is_fetched_again() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nhalf")

    with (
        raw_server(cut) as url,
        closing(WebClient(url, patience=PATIENCE)) as made,
        pytest.raises(SourceError, match="after 3 tries: RemoteProtocolError"),
    ):
        made.get("/")


def test_closing_ends_a_pause(server: VendorServer) -> None:
    server.fail(".", Answer(status=503, headers={"Retry-After": "8"}))
    with client(server) as made:
        timer = threading.Timer(0.2, made.close)
        timer.start()
        with pytest.raises(SourceError, match="the source was closed"):
            made.get("/x")
        timer.join()


# Sizes


def test_a_body_over_the_limit_is_not_read(server: VendorServer) -> None:
    with client(server) as made:
        server.fail("^/big", Answer(body=b"x" * 1_001))
        assert len(made.get("/big", max_bytes=1_001).body) == 1_001
        with pytest.raises(BodyTooLargeError, match="larger than 1,000 bytes"):
            made.get("/big", max_bytes=1_000)
        with pytest.raises(DocumentError, match="larger than 1,000 bytes"):
            made.document("/big", max_bytes=1_000)


def test_an_endless_body_is_left() -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1_000):
            connection.sendall(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")

    with (
        raw_server(pour) as url,
        closing(WebClient(url, patience=PATIENCE)) as made,
        pytest.raises(BodyTooLargeError, match="larger than 100,000 bytes"),
    ):
        made.get("/", max_bytes=100_000)


def test_a_gzip_bomb_is_left_at_the_limit(server: VendorServer) -> None:
    bomb = gzip.compress(bytes(30_000_000))
    server.fail(".", Answer(body=bomb, headers={"Content-Encoding": "gzip"}))
    assert len(bomb) < 1_000_000
    with client(server) as made, pytest.raises(BodyTooLargeError, match="larger than 1,000,000 bytes"):
        made.get("/", max_bytes=1_000_000)


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", lambda data: data),
    ],
)
@settings(max_examples=30)
@given(data=st.binary(max_size=3_000), cut=st.integers(1, 60))
def test_packed_bodies_are_read_however_they_are_cut(
    encoding: str, pack: Callable[[bytes], bytes], data: bytes, cut: int
) -> None:
    packed = pack(data)
    pieces = [packed[i : i + cut] for i in range(0, len(packed), cut)]
    assert unpacked(pieces, encoding, max_bytes=3_000) == data
    if data:
        with pytest.raises(TooMuchError):
            unpacked(pieces, encoding, max_bytes=len(data) - 1)


@pytest.mark.parametrize(
    ("encoding", "raw", "said"),
    [
        ("br", b"x", "which was not asked for"),
        ("gzip", b"not gzip at all", "damaged"),
        ("gzip", gzip.compress(b"abc" * 100, mtime=0)[:-9], "end too early"),
    ],
)
def test_what_cannot_be_unpacked_is_said(encoding: str, raw: bytes, said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        unpacked([raw], encoding, max_bytes=10_000)


def test_json_must_be_json(server: VendorServer) -> None:
    server.fail("^/html", Answer(body=b"<html>", headers={"Content-Type": "text/html; charset=utf-8"}))
    server.fail("^/no", Answer(status=403))
    server.fail("^/odd", Answer(status=418))
    server.fail("^/ok", Answer(body={"a": [1]}))
    with client(server) as made:
        assert made.json("/ok", params={"q": "x y"}) == {"a": [1]}
        with pytest.raises(AnswerError, match="answered text/html where JSON was expected"):
            made.json("/html")
        with pytest.raises(SourceDeniedError, match=r"refuses our credentials \(403\)"):
            made.json("/no")
        with pytest.raises(SourceError, match="answered 418"):
            made.json("/odd")
    assert server.asked[0].query == {"q": "x y"}


# Tokens


class Issuer:
    """A token endpoint, and an API that takes its last token only."""

    def __init__(self, life_s: float = 3_600) -> None:
        self.life_s, self.n_issued = life_s, 0
        self.valid = ""
        self.is_closed = False
        self.refusal: Answer | None = None

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            if self.refusal is not None:
                return self.refusal
            assert asked.body == b"grant_type=client_credentials&client_id=me&client_secret=s3cret"
            self.n_issued += 1
            self.valid = f"t{self.n_issued}"
            return Answer(body={"access_token": self.valid, "expires_in": self.life_s, "token_type": "Bearer"})
        is_valid = asked.headers.get("authorization") == f"Bearer {self.valid}"
        return Answer(body=b"yes") if is_valid and not self.is_closed else Answer(status=401)


@contextmanager
def issued(issuer: Issuer, *, margin_s: float = 120) -> Iterator[WebClient]:
    with VendorServer(issuer.answer) as server, client(server) as login:
        form = {"client_id": "me", "client_secret": "s3cret"}
        token = ClientCredentials(login, f"{server.url}/token", form, margin_s=margin_s)
        with client(server, token=token) as made:
            yield made


def test_a_token_is_fetched_once_and_used_until_it_expires() -> None:
    issuer = Issuer()
    with issued(issuer) as made:
        assert [made.get("/x").body for _ in range(3)] == [b"yes"] * 3
    assert issuer.n_issued == 1


def test_a_token_is_not_used_in_its_last_seconds() -> None:
    issuer = Issuer(life_s=0.0)
    with issued(issuer) as made:
        made.get("/x")
        made.get("/x")
    assert issuer.n_issued == 2


def test_a_token_that_is_taken_back_is_fetched_anew_once() -> None:
    issuer = Issuer()
    with issued(issuer) as made:
        made.get("/x")
        issuer.valid = "revoked"
        assert made.get("/x").body == b"yes"
        issuer.is_closed = True
        with pytest.raises(SourceDeniedError, match=r"refuses our credentials \(401\)"):
            made.document("/x", max_bytes=9)
    assert issuer.n_issued == 3, "once for each call that was refused"


def test_threads_share_one_refresh() -> None:
    issuer = Issuer()
    with issued(issuer) as made:
        made.get("/x")
        issuer.valid = "revoked"
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(made.get("/x").body)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [b"yes"] * 6
    assert issuer.n_issued <= 3


@pytest.mark.parametrize(
    ("refusal", "error", "said"),
    [
        (
            Answer(status=401, body={"error": "invalid_client", "error_description": "s3cret is wrong"}),
            SourceDeniedError,
            "invalid_client",
        ),
        (Answer(status=400, body={"error": "echo: s3cret"}), SourceDeniedError, r"gives us no token \(400\)"),
        (Answer(body={"token_type": "Bearer"}), SourceError, "without an access_token"),
        (Answer(body={"access_token": "a\r\nX: y"}), SourceError, "without an access_token"),
        (Answer(body=b"<html>"), SourceError, "where JSON was expected"),
    ],
)
def test_a_token_endpoint_that_refuses(refusal: Answer, error: type[Exception], said: str) -> None:
    issuer = Issuer()
    issuer.refusal = refusal
    with issued(issuer) as made, pytest.raises(error, match=said) as raised:
        made.get("/x")
    assert "s3cret" not in str(raised.value)


def test_fixed_tokens() -> None:
    assert bearer_token(" abc\n").current() == "Bearer abc"
    assert basic_token("ann@x.example", "pw").current() == "Basic YW5uQHguZXhhbXBsZTpwdw=="
    for wrong in ("", "  ", "a\nb", "ü"):
        with pytest.raises(ConfigurationError, match="a credential is empty or holds"):
            bearer_token(wrong)


def test_a_token_needs_a_home() -> None:
    with pytest.raises(ConfigurationError, match="a token needs a base_url"):
        WebClient(token=bearer_token("x"))
    with pytest.raises(ConfigurationError, match="base_url: 'ftp://x'"):
        WebClient("ftp://x")


def test_a_header_that_fits_no_http_is_not_shown(server: VendorServer) -> None:
    with (
        client(server, headers={"X-Secret": "s3cret\r\nX: y"}) as made,
        pytest.raises(ConfigurationError, match="does not fit HTTP") as raised,
    ):
        made.get("/x")
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_tls_is_checked_for_the_name_and_not_for_the_address() -> None:
    """A server without a certificate that we trust is not talked to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        asked: list[str] = []

        def serve() -> None:
            connection, _ = listening.accept()
            context.sni_callback = lambda _, name, __: asked.append(name)
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True)
                except (ssl.SSLError, OSError):
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        patience = Patience(attempts=1, connect_s=5, total_s=5)
        made = WebClient(f"https://wiki.example:{port}", patience=patience, resolve=lambda *_: ["127.0.0.1"])
        with closing(made), pytest.raises(SourceError, match="after 1 try: ConnectError"):
            made.get("/")
        thread.join()
    assert asked == ["wiki.example"]
