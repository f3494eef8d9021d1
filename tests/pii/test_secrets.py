"""Secrets of known formats, assigned secrets, and what only looks like one."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from llmops.pii.secrets import entropy_bits, find_secrets

RANDOM = "hT7k2pQ9xZ1mW4vB8nL3"


@pytest.mark.parametrize(
    ("text", "kind", "secret"),
    [
        ("key AKIAIOSFODNN7ABCDEFG here", "AWS_ACCESS_KEY", "AKIAIOSFODNN7ABCDEFG"),
        (f"ghp_{'a1' * 18}", "GITHUB_TOKEN", f"ghp_{'a1' * 18}"),
        (f"glpat-{RANDOM}", "GITLAB_TOKEN", f"glpat-{RANDOM}"),
        ("xoxb-12345-abcdefghij", "SLACK_TOKEN", "xoxb-12345-abcdefghij"),
        (f"sk_live_{RANDOM}", "STRIPE_KEY", f"sk_live_{RANDOM}"),
        (f"sk-proj-{RANDOM * 2}", "OPENAI_KEY", f"sk-proj-{RANDOM * 2}"),
        (f"lk-{'Ab1' * 14}x", "LLMOPS_KEY", f"lk-{'Ab1' * 14}x"),
        ("postgresql://app:s3cr3tPa55@db.local/x", "PASSWORD_IN_ADDRESS", "app:s3cr3tPa55"),
        (f'password: "{RANDOM}"', "ASSIGNED_SECRET", RANDOM),
        (f"export DB_TOKEN={RANDOM}", "ASSIGNED_SECRET", RANDOM),
        ("-----BEGIN EC PRIVATE KEY-----\nMIIE\n-----END EC PRIVATE KEY-----", "PRIVATE_KEY", None),
    ],
)
def test_a_secret_is_found_with_its_kind_and_place(text: str, kind: str, secret: str | None) -> None:
    [found] = find_secrets(text)
    assert (found.kind, text[found.start : found.end]) == (kind, secret or text)


@pytest.mark.parametrize(
    "text",
    [
        "The password is changed every month.",
        'token = os.environ["TOKEN_1"]',
        "password: correcthorsebattery",
        "api_key: YOUR-KEY-1234567890",
        "postgresql://user:password@host/name",
        "secret: ${SECRET_42}",
        "?token=6b63548e-98e0-4cb2-b63f-6b408090a5f9",
        "sk-learn is a library, and AKIA is no key",
        "the secret_store.get_secret_2 function",
        "",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(text: str) -> None:
    assert find_secrets(text) == []


def test_secrets_come_in_order_and_never_overlap() -> None:
    text = f"a ghp_{'a1' * 18} b password={RANDOM} c token: ghp_{'b2' * 18}"
    found = find_secrets(text)
    assert [one.kind for one in found] == ["GITHUB_TOKEN", "ASSIGNED_SECRET", "GITHUB_TOKEN"]
    assert all(first.end <= second.start for first, second in pairwise(found))


def test_entropy_is_that_of_the_characters() -> None:
    assert entropy_bits("") == 0.0
    assert entropy_bits("aaaa") == 0.0
    assert entropy_bits("ab") == pytest.approx(1.0)
    assert entropy_bits("abcdefgh") == pytest.approx(3.0)


@pytest.mark.parametrize(
    "unit", ["password", "a:b@", "-----BEGIN PRIVATE KEY-----", "://", "token:", "eyJ", "sk-"]
)
def test_hostile_repetition_is_read_in_bounded_time(unit: str) -> None:
    began = time.process_time()
    find_secrets(unit * (100_000 // len(unit)))
    assert time.process_time() - began < 30  # a guard against hanging, not a measure
