"""SharePoint and OneDrive as a source, through Microsoft Graph v1.0.

`/drives/ID/root/delta` lists all at first and changes later; `/drives/ID/items/ID/permissions` tells the readers;
`@microsoft.graph.downloadUrl` (or `/content`) has the bytes; tokens come by client credentials from
`LOGIN/TENANT/oauth2/v2.0/token`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from llmops.clients.web import ClientCredentials, Patience, WebClient
from llmops.errors import DocumentError, DocumentGoneError, SourceError
from llmops.ingestion.sources.environment import secret
from llmops.ingestion.sources.graph_api import DeltaExpiredError, GraphApi
from llmops.ingestion.sources.graph_readers import organization, readers
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.specs_api import SharePointSource

_DAY_S = 86_400
_MAX_RESTARTS = 3
_RECORD_BYTES = 4_000_000


def open_sharepoint(
    spec: SharePointSource, environment: Mapping[str, str], *, patience: Patience | None = None
) -> SharePoint:
    """The libraries of a spec.

    Raises:
        ConfigurationError: the client secret is not set.
    """
    form = {
        "client_id": spec.client_id,
        "client_secret": secret(environment, spec.client_secret_env, "client secret of the app registration"),
        "scope": f"{spec.base_url.rpartition('/')[0]}/.default",
    }
    login = WebClient(spec.login_url, patience=patience)
    token = ClientCredentials(login, f"{spec.login_url}/{spec.tenant_id}/oauth2/v2.0/token", form)
    client = WebClient(spec.base_url, token=token, headers={"accept": "application/json"}, patience=patience)
    return SharePoint(spec, client, login)


@dataclass(kw_only=True, slots=True)
class _Place:
    """Where a listing is: `done` libraries with delta links, `begin` links of the last sync, the next link."""

    everything: bool
    full_at: float
    begin: dict[str, str] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    drive: str = ""
    link: str = ""
    groups: set[str] = field(default_factory=set)

    def checkpoint(self) -> Checkpoint:
        return {
            "everything": self.everything,
            "full_at": self.full_at,
            "begin": dict(self.begin),
            "done": dict(self.done),
            "drive": self.drive,
            "link": self.link,
            "groups": sorted(self.groups),
        }


class SharePoint:
    """Files of a tenant, as `Source`. A document's uri is `DRIVE/ITEM`: a deletion names nothing else."""

    def __init__(self, spec: SharePointSource, client: WebClient, login: WebClient) -> None:
        self._spec, self._client, self._login = spec, client, login
        self._api = GraphApi(client, spec.base_url)
        self._groups: set[str] | None = None

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:
        """All files, or the changes since the last sync; a delta link that Graph has forgotten lists all anew."""
        drives = self._drives()
        place = self._place(drives, checkpoint, since)
        self._groups = None
        n_restarts = 0
        while True:
            try:
                yield from self._listed(drives, place)
                break
            except DeltaExpiredError:
                n_restarts += 1
                if n_restarts > _MAX_RESTARTS:
                    raise SourceError("Graph forgets its delta links at once; try again later") from None
                place = _Place(everything=True, full_at=time.time(), groups=place.groups)
        self._groups = place.groups
        yield Page(checkpoint=place.checkpoint(), is_everything=place.everything)

    def _drives(self) -> list[str]:
        found = {*self._spec.drives}
        for site in self._spec.sites:
            found.update(self._api.drives_of_site(site))
        found.update(self._api.drive_of_user(user) for user in self._spec.users)
        return sorted(found)

    def _place(self, drives: Sequence[str], checkpoint: Checkpoint | None, since: Checkpoint | None) -> _Place:
        if checkpoint:
            return _Place(**{**checkpoint, "groups": set(checkpoint["groups"])})
        now = time.time()
        if not since:
            return _Place(everything=True, full_at=now)
        groups, age_s = set(since["groups"]), now - since["full_at"]
        is_fresh = 0 <= age_s < self._spec.relist_after_days * _DAY_S  # a clock that ran backwards proves nothing
        if not is_fresh or not set(since["done"]) <= set(drives):
            return _Place(everything=True, full_at=now, groups=groups)
        return _Place(everything=False, full_at=since["full_at"], begin=dict(since["done"]), groups=groups)

    def _listed(self, drives: Sequence[str], place: _Place) -> Iterator[Page]:
        for drive in drives:
            if drive in place.done:
                continue
            link = place.link if place.drive == drive else place.begin.get(drive, "")
            for records, following, delta in self._api.delta(drive, link):
                yield from self._shared_anew(drive, records, place)
                page = self._page(drive, records, place)
                if following:
                    place.drive, place.link = drive, following
                else:
                    place.done[drive], place.drive, place.link = delta, "", ""
                yield Page(
                    items=page.items,
                    removed=page.removed,
                    checkpoint=place.checkpoint(),
                    is_everything=place.everything,
                )

    def _shared_anew(self, drive: str, records: Sequence[Mapping[str, Any]], place: _Place) -> Iterator[Page]:
        """What lies below folders whose sharing changed: their files have other readers, and are no change."""
        if place.everything:
            return
        for record in records:
            shared = str(record.get("@microsoft.graph.sharedChanged")).lower() == "true"
            if shared and "folder" in record and "deleted" not in record:
                for below in self._api.children(drive, str(record["id"])):
                    page = self._page(drive, below, place)
                    yield Page(items=page.items, checkpoint=place.checkpoint(), is_everything=False)

    def _page(self, drive: str, records: Sequence[Mapping[str, Any]], place: _Place) -> Page:
        last = {
            str(one["id"]): one for one in records if one.get("id")
        }  # of an item that comes twice the last counts
        gone = tuple(f"{drive}/{key}" for key, one in last.items() if "deleted" in one)
        files = {
            key: one
            for key, one in last.items()
            if "deleted" not in one and "remoteItem" not in one and ("file" in one or "package" in one)
        }
        with ThreadPoolExecutor(self._spec.parallel) as pool:
            found = list(pool.map(lambda key: self._api.permissions(drive, key), files))
        items = []
        for (key, record), permissions in zip(files.items(), found, strict=True):
            acl = readers(permissions, self._spec) if permissions is not None else None
            place.groups.update(one for one in acl or () if one.startswith("group:sharepoint/"))
            items.append(_item(drive, key, record, acl))
        return Page(items=tuple(items), removed=gone)

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A file's bytes, with the version that Graph names just before they are read."""
        drive, key = str(item.handle["drive"]), str(item.handle["id"])
        record = self._api.item(drive, key, _RECORD_BYTES)
        if "deleted" in record:
            raise DocumentGoneError(f"{item.uri} was deleted")
        if "package" in record:
            kind = (record["package"] or {}).get("type") or "package"
            raise DocumentError(
                f"{item.title!r} is a {kind} package, which Graph does not give as a file; export it"
            )
        if "malware" in record:
            raise DocumentError(f"{item.title!r} is held back: SharePoint found malware in it")
        size = record.get("size")
        if isinstance(size, int) and size > max_bytes:
            raise DocumentError(f"{item.title!r} is larger than {max_bytes:,} bytes; raise max_file_bytes")
        url = record.get("@microsoft.graph.downloadUrl")
        content = f"{self._spec.base_url}/drives/{drive}/items/{key}/content"
        response = self._client.document(url if isinstance(url, str) and url else content, max_bytes=max_bytes)
        return Fetched(
            raw=response.body,
            version=_version(record),
            media_type=str((record.get("file") or {}).get("mimeType") or ""),
            title=str(record.get("name") or item.title),
        )

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """People of the groups that listings met; of all groups where none was completed here."""
        tenant = organization(self._spec)
        seen = self._groups if self._groups is not None else {*self._api.all_groups(), tenant}
        found = {one: self._api.members(one.partition("/")[2]) for one in sorted(seen - {tenant})}
        return {**found, tenant: self._api.everybody()} if tenant in seen else found

    def close(self) -> None:
        self._client.close()
        self._login.close()


def _version(record: Mapping[str, Any]) -> str:
    """The content's tag and the name, which may tell the format."""
    tag = record.get("cTag") or record.get("eTag")
    return f"{tag} {record.get('name')}" if tag else ""


def _item(drive: str, key: str, record: Mapping[str, Any], acl: tuple[str, ...] | None) -> Item:
    size, parent = record.get("size"), record.get("parentReference")
    path = str((parent if isinstance(parent, dict) else {}).get("path") or "").partition("root:")[2].strip("/")
    changed = str(record.get("lastModifiedDateTime") or "")
    url = str(record.get("webUrl") or "")
    return Item(
        uri=f"{drive}/{key}",
        acl=acl,
        version=_version(record),
        n_bytes=size if isinstance(size, int) else None,
        title=str(record.get("name") or ""),
        url=url if url.startswith("https://") else "",
        media_type=str((record.get("file") or {}).get("mimeType") or ""),
        modified_at=_moment(changed),
        metadata={"folder": unquote(path)} if path else {},
        handle={"drive": drive, "id": key},
    )


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
