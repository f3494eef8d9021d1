"""API keys: stored as hashes, looked up in memory."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from sqlalchemy import insert, select, update

from llmops.clients.database import Database
from llmops.clients.database.tables import api_keys
from llmops.errors import NotFoundError, RequestError
from llmops.records import EVERYONE, Caller
from llmops.releases.audit import append_event
from llmops.workspace.provenance import current_user

Role = Literal["viewer", "app", "prompt-engineer", "ml-engineer", "risk-officer", "source", "admin"]
ROLES: tuple[str, ...] = get_args(Role)
_PREFIX = "lk-"
_MAX_NAME = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """What is kept of a key: never the key itself."""

    key_id: str
    name: str
    role: str
    principals: tuple[str, ...]
    tenant: str
    created_at: datetime
    revoked_at: datetime | None


class KeyBook:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._callers: dict[str, Caller] = {}
        self.refresh()

    @property
    def is_empty(self) -> bool:
        """True when no valid key exists: an embedded workspace on loopback then asks for none."""
        return not self._callers

    def refresh(self) -> None:
        query = select(api_keys).where(api_keys.c.revoked_at.is_(None))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        self._callers = {
            row.key_hash: Caller(
                name=row.name, role=row.role, principals=_with_everyone(row.principals), tenant=row.tenant
            )
            for row in rows
        }

    def caller(self, secret: str) -> Caller | None:
        """Who holds this key, without a database call."""
        return self._callers.get(_hash(secret))

    def create(self, name: str, *, role: str, principals: Sequence[str], tenant: str = "") -> tuple[ApiKey, str]:
        """A new key and its secret, which is shown once and cannot be shown again.

        Args:
            tenant: its holder sees this tenant's documents and no others.
        """
        if role not in ROLES:
            raise RequestError(f"no role {role!r}; the roles are {', '.join(ROLES)}")
        if len(tenant) > _MAX_NAME:
            raise RequestError(f"the tenant {tenant[:40]!r} must have at most {_MAX_NAME} characters")
        if not 1 <= len(name) <= _MAX_NAME:
            raise RequestError(f"the key's name {name[:40]!r} must have 1 to {_MAX_NAME} characters")
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(
            key_id=uuid.uuid4().hex[:12],
            name=name,
            role=role,
            principals=tuple(principals),
            tenant=tenant,
            created_at=datetime.now(UTC),
            revoked_at=None,
        )
        with self._database.begin_alone() as connection:
            append_event(
                connection,
                actor=current_user(),
                action="key.create",
                subject=f"key:{key.key_id}",
                details={"name": name, "role": role, "principals": list(principals), "tenant": tenant},
            )
            connection.execute(
                insert(api_keys).values(
                    key_id=key.key_id,
                    name=name,
                    key_hash=_hash(secret),
                    role=role,
                    principals=list(principals),
                    tenant=tenant,
                    created_at=key.created_at,
                )
            )
        self.refresh()
        return key, secret

    def all(self) -> list[ApiKey]:
        columns = [c for c in api_keys.c if c.name != "key_hash"]
        with self._database.read() as connection:
            rows = connection.execute(select(*columns).order_by(api_keys.c.created_at)).all()
        return [ApiKey(**{**row._mapping, "principals": tuple(row.principals)}) for row in rows]

    def revoke(self, key_id: str) -> None:
        here = (api_keys.c.key_id == key_id) & api_keys.c.revoked_at.is_(None)
        with self._database.begin_alone() as connection:
            done = connection.execute(update(api_keys).where(here).values(revoked_at=datetime.now(UTC)))
            if not done.rowcount:
                raise NotFoundError(f"no valid key {key_id!r}; `llmops key list` shows them")
            append_event(
                connection, actor=current_user(), action="key.revoke", subject=f"key:{key_id}", details={}
            )
        self.refresh()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _with_everyone(principals: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*principals, EVERYONE)))
