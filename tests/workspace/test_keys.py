"""API keys: shown once, kept as hashes, looked up in memory."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from llmops.clients.database import Database
from llmops.clients.database.tables import api_keys
from llmops.errors import NotFoundError, RequestError
from llmops.records import Caller
from llmops.workspace.keys import ROLES, KeyBook


def test_a_key_leads_to_its_caller(database: Database) -> None:
    book = KeyBook(database)
    assert book.is_empty
    key, secret = book.create("shop", role="app", principals=["staff", "eu"])
    assert re.fullmatch(r"lk-[\w-]{43}", secret)
    assert book.caller(secret) == Caller(name="shop", role="app", principals=("staff", "eu", "everyone"))
    assert book.caller(secret[:-1]) is None
    assert book.caller("") is None
    assert book.caller(key.key_id) is None
    assert not book.is_empty


def test_only_the_hash_of_a_key_is_kept(database: Database) -> None:
    _, secret = KeyBook(database).create("shop", role="app", principals=[])
    with database.read() as connection:
        [row] = connection.execute(select(api_keys)).all()
    assert secret not in repr(row)
    assert secret.removeprefix("lk-") not in repr(row)
    assert re.fullmatch(r"[0-9a-f]{64}", row.key_hash)


def test_two_keys_are_never_the_same(database: Database) -> None:
    book = KeyBook(database)
    made = [book.create("shop", role="viewer", principals=[]) for _ in range(3)]
    assert len({secret for _, secret in made}) == len({key.key_id for key, _ in made}) == 3


def test_a_revoked_key_leads_nowhere_and_stays_listed(database: Database) -> None:
    book = KeyBook(database)
    key, secret = book.create("shop", role="app", principals=["a"])
    other, other_secret = book.create("desk", role="admin", principals=[])
    book.revoke(key.key_id)
    assert book.caller(secret) is None
    assert book.caller(other_secret) is not None
    assert [(one.key_id, one.name, one.revoked_at is None) for one in book.all()] == [
        (key.key_id, "shop", False),
        (other.key_id, "desk", True),
    ]
    assert book.all()[1] == other
    with pytest.raises(NotFoundError, match=f"no valid key '{key.key_id}'; `llmops key list` shows them"):
        book.revoke(key.key_id)
    book.revoke(other.key_id)
    assert book.is_empty


def test_another_process_sees_a_change_when_it_refreshes(database: Database) -> None:
    first, second = KeyBook(database), KeyBook(database)
    key, secret = first.create("shop", role="app", principals=[])
    assert second.caller(secret) is None
    second.refresh()
    assert second.caller(secret) == first.caller(secret)
    first.revoke(key.key_id)
    second.refresh()
    assert second.caller(secret) is None


def test_everyone_is_held_once(database: Database) -> None:
    book = KeyBook(database)
    _, secret = book.create("shop", role="app", principals=["everyone", "a"])
    caller = book.caller(secret)
    assert caller is not None
    assert caller.principals == ("everyone", "a")


def test_an_unknown_role_is_refused_with_those_there_are(database: Database) -> None:
    with pytest.raises(RequestError, match=f"no role 'root'; the roles are {', '.join(ROLES)}"):
        KeyBook(database).create("shop", role="root", principals=[])


@pytest.mark.parametrize("name", ["", "x" * 129])
def test_a_key_has_a_name_that_fits(name: str, database: Database) -> None:
    with pytest.raises(RequestError, match=r"the key's name 'x*' must have 1 to 128 characters"):
        KeyBook(database).create(name, role="app", principals=[])


def test_any_text_may_be_tried_as_a_key(database: Database) -> None:
    assert KeyBook(database).caller("\ud800\x00é" * 1000) is None
