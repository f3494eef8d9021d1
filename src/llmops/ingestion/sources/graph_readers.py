"""Who may read a file of SharePoint or OneDrive, out of its sharing permissions (`permission` of Graph)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from llmops.ingestion.sources.graph_api import GROUP_SOURCE
from llmops.ingestion.sources.principals import group, person
from llmops.ingestion.sources.protocol import Acl
from llmops.ingestion.sources.specs_api import SharePointSource
from llmops.records import EVERYONE

_READING = frozenset(("read", "write", "owner", "sp.full control", "sp.owner", "sp.member"))
_PERSON = re.compile(r"i:0#\.f\|membership\|(.+)", re.IGNORECASE)
_GROUP = re.compile(r"c:0[to]\.c\|(?:tenant|federateddirectoryclaimprovider)\|([0-9a-f-]{36})", re.IGNORECASE)
_ALL_PEOPLE = ("c:0-.f|rolemanager|spo-grid-all-users", "c:0(.s|true")


def readers(permissions: Iterable[Mapping[str, Any]], spec: SharePointSource) -> Acl:
    """Principals who may read, sorted.

    What is not understood admits nobody; where nothing was understood, the readers are unknown (None).
    """
    found: set[str] = set()
    unclear = False
    for one in permissions:
        roles = one.get("roles")
        if not isinstance(roles, list) or not _READING.intersection(map(str, roles)) or _has_expired(one):
            continue
        admitted = _admitted(one, spec)
        unclear = unclear or admitted is None
        found.update(admitted or ())
    return None if unclear and not found else tuple(sorted(found))


def organization(spec: SharePointSource) -> str:
    """The principal of all people of the tenant."""
    return group(GROUP_SOURCE, spec.tenant_id)


def _admitted(permission: Mapping[str, Any], spec: SharePointSource) -> list[str] | None:
    link = permission.get("link")
    scope = str(link.get("scope") or "") if isinstance(link, dict) else ""
    if scope == "anonymous":
        return [EVERYONE] if spec.anonymous_links and not permission.get("hasPassword") else []
    if scope == "organization":
        return [organization(spec)] if spec.organization_links else []
    many = permission.get("grantedToIdentitiesV2") or permission.get("grantedToIdentities") or []
    single = permission.get("grantedToV2") or permission.get("grantedTo")
    sets = [one for one in (*many, single) if isinstance(one, dict)]
    named = [_principals(one, spec) for one in sets]
    if not any(named) and (sets or not scope):
        return None
    return [principal for some in named for principal in some]


def _principals(identity: Mapping[str, Any], spec: SharePointSource) -> list[str]:
    """Of a `sharePointIdentitySet`; the same person or group may stand in it in two forms."""
    of_directory, of_site = (_part(identity, name) for name in ("group", "siteUser"))
    if of_directory.get("id"):
        return [group(GROUP_SOURCE, str(of_directory["id"]))]
    login = str(of_site.get("loginName") or "")
    if found := _GROUP.fullmatch(login):
        return [group(GROUP_SOURCE, found[1])]
    if login.startswith(_ALL_PEOPLE):
        return [organization(spec)]
    user, member = _part(identity, "user"), _PERSON.fullmatch(login)
    if user or member:
        addresses = (user.get("email"), of_site.get("email"), user.get("userPrincipalName"))
        who = person(*addresses, member[1] if member else None, user.get("id"))
        return [who] if who else []
    site_group = _part(identity, "siteGroup")
    names = (str(site_group.get(key) or "") for key in ("displayName", "loginName"))
    return next((list(spec.site_groups[name]) for name in names if name in spec.site_groups), [])


def _part(identity: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = identity.get(name)
    return part if isinstance(part, dict) else {}


def _has_expired(permission: Mapping[str, Any]) -> bool:
    try:
        until = datetime.fromisoformat(str(permission.get("expirationDateTime")))
    except ValueError:
        return False
    return until.tzinfo is not None and until <= datetime.now(UTC)
