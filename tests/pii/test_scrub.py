"""Personal data and secrets leave a text; what only looks like them stays."""

from __future__ import annotations

import doctest
import importlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmops.pii import scrub, scrub_value

TOKEN = "aB3dE5gH7jK9mN1pQ3sT5vX7"  # no secret of anyone

FOUND = {
    "EMAIL": ["ada@example.org", "a.b+c_d@mail.example.co.uk", "o'brien@example.org", "x@1und1.de", "A@B-C.COM"],
    "SECRET": [
        f"sk-{TOKEN}",
        f"sk-proj-{TOKEN}",
        f"lk-{TOKEN}",
        f"pk_live_{TOKEN}",
        f"ghp_{TOKEN}{TOKEN}",
        f"xoxb-12345678901-{TOKEN}",
        "AKIAABCDEFGHIJKLMNOP",
        f"eyJhbGciOiJIUzI1NiJ9.{TOKEN}.{TOKEN}",
    ],
    "PRIVATE_KEY": [
        f"-----BEGIN RSA PRIVATE KEY-----\n{TOKEN}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{TOKEN}",
    ],
    "IBAN": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "FR14 2004 1010 0505 0001 3M02 606"],
    "CARD": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "378282246310005",
        "3782 822463 10005",
        "4222222222222",
    ],
    "US_SSN": ["123-45-6789"],
    "IP": [
        "10.1.2.3",
        "192.168.0.255",
        "2001:db8::8a2e:370:7334",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "fe80::1",
    ],
    "PHONE": [
        "+44 20 7946 0958",
        "+49 (30) 901820-1234"[:14],
        "+1-415-555-2671",
        "+14155552671",
        "(415) 555-2671",
        "415.555.2671",
        "415 555 2671",
    ],
}
AROUND = ["{}", "'{}'", "see {} there", "({})", "“{}”.", "{}, and more", "<b>{}</b>", "key={}\nnext"]

KEPT = [
    "version 1.2.3 and 10.0.19041.1 and v1.2.3.4",
    "2024-01-15 10:30:00.123456+00:00",
    "2024-01-15T10:30:00Z, 15.01.2024, 1/15/2024",
    "1700000000, 1700000000000, 1700000000000000",
    "123e4567-e89b-12d3-a456-426614174000",
    "11111111-2222-3333-4444-555555555555",
    "inf_0123456789abcdef0123456789abcdef",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "a4111111111111111f",
    "0x4111111111111111",
    "4111111111111112 and 1234 5678 9012 3456",
    "0000000000000000 and 4444 4444 4444 4444",
    "ISBN 978-3-16-148410-0, 9783161484100, 0-306-40615-2",
    "12 34 56 78 90 12 34 56 78 90",
    "1,234,567.89 and 3.14159265358979",
    "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567",
    "GB82 WEST 1234 5698 7654 33",
    "MODEL AB12 CDEF GHIJ KLMN OPQR",
    "x[::2], x[1::2], std::deque, a::b, ::1",
    "127.0.0.1, 0.0.0.0, 127.0.0.1:8080, 10.0.0.5:5432",
    "999.1.2.3 and 1.2.3.256",
    "12:30:45 and 00:1a:2b:3c:4d:5e",
    "risk-assessment-of-the-year-2024, task-force-member-list",
    "@decorator, user@localhost, a @ b, @handle",
    "-----BEGIN CERTIFICATE-----",
    "port 8080, 24 hours, 100-200-300",
    "room 415-555, part 415-555-26711",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_what_is_personal_is_replaced_by_its_kind(kind: str, text: str) -> None:
    takes_the_rest = kind == "PRIVATE_KEY" and "END" not in text
    for around in AROUND:
        frame = around.partition("{}")[0] + "{}" if takes_the_rest else around
        assert scrub(frame.format(text)) == frame.format(f"<{kind}>")


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert scrub(text) == text


def test_words_in_capitals_behind_an_iban_stay() -> None:
    assert scrub("IBAN BE71 0961 2345 6769 BIC OK") == "IBAN <IBAN> BIC OK"


def test_a_number_that_fails_its_check_hides_none_behind_it() -> None:
    assert scrub("order 4242 4111 1111 1111 1111") == "order 4242 <CARD>"
    assert scrub("415-555-2671 415-555-2672") == "<PHONE> <PHONE>"
    assert scrub("1.2.3.400 10.1.2.3") == "1.2.3.400 <IP>"


def test_neighbours_are_all_found() -> None:
    assert scrub("a@b.co-c@d.com") == "<EMAIL><EMAIL>"
    assert scrub(f"10.1.2.3:sk-{TOKEN}") == "<IP>:<SECRET>"


_fragments = st.sampled_from(
    [text for texts in FOUND.values() for text in texts]
    + ["<", ">", "@", ".", "-", ":", " ", "+", "(", "\n", "1", "a", "A", "sk-", "eyJ", "é", "٣", "4111-", "GB82 "]
)


@given(st.lists(_fragments | st.text(max_size=4), max_size=10).map("".join))
@example("a@b.co-a@b.co-c@d.com")
@example("4111 1111 1111 1111-415-555-2671-10.1.2.3:sk-" + TOKEN)
def test_scrubbed_text_stays_as_it_is(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_can_be_scrubbed(text: str) -> None:
    scrub(text)


HOSTILE = [
    *(
        "@",
        "1",
        "a-",
        "a@",
        "a.",
        "1.",
        "1-",
        "1 ",
        "(",
        "A",
        "AB12",
        "AB12 ",
        "sk-",
        "-",
        "_",
        ":",
        "1:",
        "+1",
        " ",
    ),
    *(
        "a@b.co-",
        "-eyJaaaaaaaaaaa",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "10.1.2.3 ",
        "10.1.2.3:",
        "::1 ",
    ),
    *(
        "4111111111111111 ",
        "4111 1111 1111 1111-",
        "4111-",
        "415-555-2671",
        "415 555 2671 ",
        "x@a.1",
        "123-45-6789-",
    ),
]


@pytest.mark.timeout(20)  # each takes a fraction of a second; what is quadratic takes minutes
@pytest.mark.parametrize("piece", HOSTILE)
def test_200_kb_of_anything_is_scrubbed(piece: str) -> None:
    scrub((piece * (200_000 // len(piece) + 1))[:200_000])


def test_every_text_of_a_value_is_scrubbed() -> None:
    value = {"a": ["ada@example.org", 1, None, True], "b": {"c": ("10.1.2.3",)}, "d": b"ada@example.org"}
    assert scrub_value(value) == {
        "a": ["<EMAIL>", 1, None, True],
        "b": {"c": ["<IP>"]},
        "d": b"ada@example.org",
    }


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(importlib.import_module("llmops.pii.scrub")).failed == 0
