"""A tenant behind Microsoft Graph v1.0 and its token endpoint, as the vendor documents them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from tests.ingestion.sources.vendors.server import Answer, Asked, VendorServer

TENANT, CLIENT, SECRET = "contoso.example", "11111111-2222-3333-4444-555555555555", "Q~CLIENTSECRET"


@dataclass(kw_only=True)
class File:
    """An item of a library; `changed` is the number of the change that touched it last."""

    key: str
    name: str
    raw: bytes = b""
    version: int = 0
    changed: int = 0
    is_folder: bool = False
    is_deleted: bool = False
    facets: dict[str, Any] = field(default_factory=dict)
    parent: str = "root"
    permissions: list[dict[str, Any]] | None = field(default_factory=list)
    is_shared_anew: bool = False


class Tenant:
    """Libraries by id. A delta link holds the number of the last change it covers."""

    def __init__(self, page_size: int = 3) -> None:
        self.page_size = page_size
        self.drives: dict[str, dict[str, File]] = {"b!one": {}}
        self.groups: dict[str, tuple[str, ...]] = {}
        self.people: tuple[str, ...] = ("ann", "bob", "cat")
        self.n_changes = 0
        self.forgotten_before = 0
        self.n_tokens = 0
        self.token = ""
        self.server = VendorServer(self.answer)

    def touch(self, file: File) -> None:
        self.n_changes += 1
        file.changed = self.n_changes

    def answer(self, asked: Asked) -> Answer:
        if asked.path == f"/login/{TENANT}/oauth2/v2.0/token":
            return self._issue(asked)
        if asked.path.startswith("/download/"):  # pre-authenticated, elsewhere in reality
            return self._download(asked)
        if not self.token or asked.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(status=401, body={"error": {"code": "InvalidAuthenticationToken", "message": "expired"}})
        match asked.path.removeprefix("/v1.0/").split("/"):
            case ["drives", drive, "root", "delta"]:
                return self._delta(asked, drive)
            case ["drives", drive, "items", key]:
                file = self.drives[drive].get(key)
                gone = file is None or file.is_deleted
                return _missing() if gone or file is None else Answer(body=self._record(drive, file, whole=True))
            case ["drives", drive, "items", key, "permissions"]:
                found = self.drives[drive][key].permissions
                if found is None:
                    return Answer(status=403, body={"error": {"code": "accessDenied", "message": "no"}})
                return self._collection(asked, found)
            case ["drives", drive, "items", key, "children"]:
                alive = [one for one in self.drives[drive].values() if one.parent == key and not one.is_deleted]
                return self._collection(asked, [self._record(drive, one) for one in alive])
            case ["sites", "contoso.sharepoint.example:", "sites", "team"]:
                return Answer(body={"id": "contoso.sharepoint.example,aa,bb", "displayName": "Team"})
            case ["sites", "contoso.sharepoint.example,aa,bb", "drives"]:
                return self._collection(
                    asked, [{"id": one, "driveType": "documentLibrary"} for one in self.drives]
                )
            case ["users", "ann@contoso.example", "drive"]:
                return Answer(body={"id": "b!ann", "driveType": "business"})
            case ["users"]:
                assert asked.query["$filter"] == "userType eq 'Member' and accountEnabled eq true"
                return self._collection(asked, [_person(one) for one in self.people])
            case ["groups"]:
                return self._collection(asked, [{"id": one} for one in self.groups])
            case ["groups", key, "transitiveMembers"]:
                if key not in self.groups:
                    return _missing()
                nested = {"@odata.type": "#microsoft.graph.group", "id": "nested"}
                people = [{"@odata.type": "#microsoft.graph.user", **_person(one)} for one in self.groups[key]]
                return self._collection(asked, [nested, *people])
        return _missing()

    def _issue(self, asked: Asked) -> Answer:
        form = dict(parse_qsl(asked.body.decode()))
        if form.get("client_secret") != SECRET or form.get("grant_type") != "client_credentials":
            said = f"AADSTS7000215: Invalid client secret provided: {form.get('client_secret')}"
            return Answer(status=401, body={"error": "invalid_client", "error_description": said})
        self.n_tokens += 1
        self.token = f"eyJTOKEN{self.n_tokens}"
        return Answer(body={"token_type": "Bearer", "expires_in": 3599, "access_token": self.token})

    def _delta(self, asked: Asked, drive: str) -> Answer:
        assert "deltashowsharingchanges" in asked.headers["prefer"]
        since, _, start = asked.query.get("token", "0.0").partition(".")
        if int(since) and int(since) < self.forgotten_before:
            return Answer(
                status=410, body={"error": {"code": "resyncChangesApplyDifferences", "message": "resync"}}
            )
        changed = [one for one in self.drives[drive].values() if one.changed > int(since)]
        if not int(since):
            changed = [one for one in changed if not one.is_deleted]
        changed.sort(key=lambda one: one.key)
        root = {"id": f"root-{drive}", "name": "root", "root": {}, "folder": {"childCount": 1}}
        found = [root, *(self._record(drive, one) for one in changed)]
        some = found[int(start) : int(start) + self.page_size]
        link = f"{self.server.url}/v1.0/drives/{quote(drive, safe='!')}/root/delta?token="
        if int(start) + self.page_size < len(found):
            ends = {"@odata.nextLink": f"{link}{since}.{int(start) + self.page_size}"}
        else:
            ends = {"@odata.deltaLink": f"{link}{self.n_changes}.0"}
        return Answer(body={"@odata.context": "...", "value": some, **ends})

    def _record(self, drive: str, file: File, *, whole: bool = False) -> dict[str, Any]:
        if file.is_deleted:
            return {"id": file.key, "deleted": {"state": "deleted"}, **({"folder": {}} if file.is_folder else {})}
        found: dict[str, Any] = {
            "id": file.key,
            "name": file.name,
            "eTag": f'"{{{file.key}}},{file.changed}"',
            "webUrl": f"https://contoso.sharepoint.example/{file.name}",
            "lastModifiedDateTime": "2024-05-06T07:08:09Z",
            "parentReference": {"driveId": drive, "id": file.parent, "path": f"/drives/{drive}/root:/Plans%20A"},
            **({"folder": {"childCount": 1}} if file.is_folder else {}),
            **({"@microsoft.graph.sharedChanged": "True"} if file.is_shared_anew else {}),
        }
        if not file.is_folder:
            found |= {"cTag": f'"c:{{{file.key}}},{file.version}"', "size": len(file.raw)}
            found |= file.facets or {"file": {"mimeType": "text/plain"}}
            if whole:
                found["@microsoft.graph.downloadUrl"] = (
                    f"{self.server.url}/download/{drive}/{file.key}?tempauth=v1"
                )
        return found

    def _download(self, asked: Asked) -> Answer:
        _, _, drive, key = asked.path.split("/")
        return Answer(body=self.drives[drive][key].raw)

    def _collection(self, asked: Asked, found: list[dict[str, Any]]) -> Answer:
        start = int(asked.query.get("$skiptoken", "0"))
        body: dict[str, Any] = {"value": found[start : start + self.page_size]}
        if start + self.page_size < len(found):
            body["@odata.nextLink"] = f"{self.server.url}{quote(asked.path)}?$skiptoken={start + self.page_size}"
            if "$filter" in asked.query:
                body["@odata.nextLink"] += f"&$filter={quote(asked.query['$filter'])}"
        return Answer(body=body)


def granted(**identity: Any) -> dict[str, Any]:
    """A direct permission."""
    return {"id": "p", "roles": ["read"], "grantedToV2": identity, "grantedTo": identity}


def to_person(name: str) -> dict[str, Any]:
    return granted(
        user={"id": f"oid-{name}", "displayName": name.title(), "email": f"{name.title()}@contoso.example"},
        siteUser={"id": "9", "loginName": f"i:0#.f|membership|{name}@contoso.example"},
    )


def to_group(key: str) -> dict[str, Any]:
    return granted(group={"id": key, "displayName": key}, siteUser={"loginName": f"c:0t.c|tenant|{key}"})


def _person(name: str) -> dict[str, Any]:
    return {
        "id": f"oid-{name}",
        "mail": f"{name.title()}@contoso.example",
        "userPrincipalName": f"{name}@x.example",
    }


def _missing() -> Answer:
    return Answer(
        status=404, body={"error": {"code": "itemNotFound", "message": "The resource could not be found."}}
    )
