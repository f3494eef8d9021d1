"""SharePoint and OneDrive: the contract, and what only Graph has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from llmops.errors import DocumentError, SourceDeniedError, SourceError
from llmops.ingestion.sources.graph import SharePoint, open_sharepoint
from llmops.ingestion.sources.specs_api import SharePointSource
from tests.ingestion.sources.contract import (
    LIMIT,
    NAMES,
    PATIENCE,
    ApiSourceContract,
    GroupedContract,
    listing,
)
from tests.ingestion.sources.vendors.graph import (
    CLIENT,
    SECRET,
    TENANT,
    File,
    Tenant,
    granted,
    to_group,
    to_person,
)
from tests.ingestion.sources.vendors.server import Answer

DRIVE = "b!one"
GUID = "0f0e0d0c-0b0a-0908-0706-050403020100"


class GraphPlace:
    """A tenant with the contract's documents in one library."""

    listing = r"/drives/b!one/root/delta"
    secrets = (SECRET, "eyJTOKEN", "tempauth")
    renews = True

    def __init__(self, tenant: Tenant, **fields: object) -> None:
        self.tenant, self.server, self.fields = tenant, tenant.server, fields
        self.secret = SECRET

    def open(self) -> SharePoint:
        spec = SharePointSource.model_validate(
            {
                "type": "sharepoint",
                "tenant_id": TENANT,
                "client_id": CLIENT,
                "client_secret_env": "GRAPH_SECRET",
                "base_url": f"{self.server.url}/v1.0",
                "login_url": f"{self.server.url}/login",
                **({"drives": (DRIVE,)} | self.fields),
            }
        )
        return open_sharepoint(spec, {"GRAPH_SECRET": self.secret}, patience=PATIENCE)

    def file(self, name: str) -> File:
        return self.tenant.drives[DRIVE][f"01{name.upper()}"]

    def write(self, name: str, text: str) -> None:
        files = self.tenant.drives[DRIVE]
        file = files.setdefault(f"01{name.upper()}", File(key=f"01{name.upper()}", name=f"{name}.txt"))
        file.raw, file.version, file.is_deleted = text.encode(), file.version + 1, False
        self.tenant.touch(file)

    def remove(self, name: str) -> None:
        self.file(name).is_deleted = True
        self.tenant.touch(self.file(name))

    def uri(self, name: str) -> str:
        return f"{DRIVE}/01{name.upper()}"

    def fetching(self, name: str) -> str:
        return rf"/items/01{name.upper()}$"

    def principal(self, who: str) -> str:
        return f"user:{who}@contoso.example"

    def permit(self, name: str, *people: str) -> None:
        self.file(name).permissions = [to_person(one) for one in people]
        self.tenant.touch(self.file(name))

    def permit_group(self, name: str, key: str) -> str:
        self.file(name).permissions = [to_group(key)]
        self.tenant.touch(self.file(name))
        return f"group:sharepoint/{key}"

    def set_members(self, key: str, *people: str) -> None:
        self.tenant.groups[key] = people

    def hide_permissions(self, name: str) -> None:
        self.file(name).permissions = None

    def expire(self) -> None:
        self.tenant.token = "another"

    def renew(self) -> None:
        raise AssertionError("the source renews its token itself")


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    made = Tenant()
    with made.server:
        yield made


class TestContract(ApiSourceContract, GroupedContract):
    min_pages = 3

    @pytest.fixture
    def place(self, tenant: Tenant) -> GraphPlace:
        return GraphPlace(tenant)


@pytest.fixture
def place(tenant: Tenant) -> GraphPlace:
    made = GraphPlace(tenant)
    for name in NAMES:
        made.write(name, f"The text of {name}.")
    return made


@pytest.fixture
def source(place: GraphPlace) -> Iterator[SharePoint]:
    opened = place.open()
    yield opened
    opened.close()


def test_a_second_listing_asks_for_changes_only(place: GraphPlace, source: SharePoint) -> None:
    before = listing(source)
    place.server.asked.clear()
    after = listing(source, since=before.checkpoint)
    assert (after.items, after.is_everything) == ({}, False)
    assert len(place.server.asked) == 1
    assert after.existing(before) == before.items


def test_changes_resume_after_any_page(place: GraphPlace, source: SharePoint) -> None:
    before = listing(source)
    for name in NAMES[:5]:
        place.write(name, f"New {name}.")
    place.remove("golf")
    whole = listing(source, since=before.checkpoint)
    assert len(whole.uris) >= 3
    for n in range(1, len(whole.uris)):
        first = listing(source, since=before.checkpoint, n_pages=n)
        rest = listing(source, first.checkpoint, before.checkpoint)
        assert {**first.items, **rest.items} == whole.items
        assert first.removed | rest.removed == whole.removed == {place.uri("golf")}
        assert not rest.is_everything


def test_a_delta_link_that_graph_forgot_lists_everything_anew(
    place: GraphPlace, source: SharePoint, tenant: Tenant
) -> None:
    before = listing(source)
    place.remove("alpha")
    tenant.forgotten_before = tenant.n_changes + 1
    after = listing(source, since=before.checkpoint)
    assert after.is_everything
    assert set(after.items) == {place.uri(name) for name in NAMES[1:]}


def test_a_graph_that_always_forgets_is_left(place: GraphPlace, source: SharePoint) -> None:
    place.server.fail(place.listing, Answer(status=410))
    with pytest.raises(SourceError, match="forgets its delta links"):
        listing(source)


@pytest.mark.parametrize("age_s", [8 * 86_400, -3_600], ids=["old", "from the future"])
def test_everything_is_listed_again_after_some_days(place: GraphPlace, source: SharePoint, age_s: float) -> None:
    before = dict(listing(source).checkpoint)
    before["full_at"] -= age_s
    assert listing(source, since=before).is_everything


def test_a_library_that_left_the_spec_lists_everything_so_that_its_files_go(
    place: GraphPlace, tenant: Tenant
) -> None:
    tenant.drives["b!two"] = {}
    both = GraphPlace(tenant, drives=(DRIVE, "b!two")).open()
    before = listing(both)
    both.close()
    source = place.open()
    assert listing(source, since=before.checkpoint).is_everything
    source.close()


def test_files_below_a_folder_that_was_shared_anew_are_listed_with_their_new_readers(
    place: GraphPlace, source: SharePoint, tenant: Tenant
) -> None:
    folder = File(key="01FOLDER", name="Folder", is_folder=True)
    below = File(key="01BELOW", name="Sub", is_folder=True, parent="01FOLDER")
    tenant.drives[DRIVE] |= {"01FOLDER": folder, "01BELOW": below}
    place.file("alpha").parent, place.file("bravo").parent = "01FOLDER", "01BELOW"
    tenant.touch(folder)
    before = listing(source)
    for name in ("alpha", "bravo"):
        place.file(name).permissions = [to_person("cat")]
    folder.is_shared_anew = True
    tenant.touch(folder)
    after = listing(source, since=before.checkpoint)
    assert {uri: item.acl for uri, item in after.items.items()} == {
        place.uri("alpha"): ("user:cat@contoso.example",),
        place.uri("bravo"): ("user:cat@contoso.example",),
    }


def test_folders_are_no_documents_and_packages_say_what_they_are(
    place: GraphPlace, source: SharePoint, tenant: Tenant
) -> None:
    files = tenant.drives[DRIVE]
    files["02F"] = File(key="02F", name="Folder", is_folder=True)
    files["02N"] = File(key="02N", name="Notes", facets={"package": {"type": "oneNote"}})
    files["02R"] = File(key="02R", name="Shortcut", facets={"file": {}, "remoteItem": {"id": "x"}})
    files["02M"] = File(key="02M", name="bad.exe", facets={"file": {}, "malware": {"description": "x"}})
    for key in ("02F", "02N", "02R", "02M"):
        tenant.touch(files[key])
    items = listing(source).items
    assert set(items) - {place.uri(name) for name in NAMES} == {f"{DRIVE}/02N", f"{DRIVE}/02M"}
    with pytest.raises(DocumentError, match="oneNote package"):
        source.fetch(items[f"{DRIVE}/02N"], max_bytes=LIMIT)
    with pytest.raises(DocumentError, match="malware"):
        source.fetch(items[f"{DRIVE}/02M"], max_bytes=LIMIT)


def test_a_file_without_a_download_address_is_read_through_its_content(
    place: GraphPlace, source: SharePoint, tenant: Tenant
) -> None:
    item = listing(source).items[place.uri("alpha")]
    record = {"id": "01ALPHA", "name": "alpha.txt", "cTag": "c1", "file": {"mimeType": "text/plain"}}
    place.server.fail(r"/items/01ALPHA$", Answer(body=record))
    aside = Answer(status=302, headers={"Location": f"/download/{DRIVE}/01ALPHA?tempauth=v1"})
    place.server.fail(r"/items/01ALPHA/content$", aside)
    assert source.fetch(item, max_bytes=LIMIT).raw == b"The text of alpha."
    assert item.url == "https://contoso.sharepoint.example/alpha.txt"
    assert item.metadata == {"folder": "Plans A"}


def test_sites_and_people_lead_to_their_libraries(tenant: Tenant) -> None:
    tenant.drives = {"b!one": {}, "b!two": {}, "b!ann": {}}
    place = GraphPlace(
        tenant, drives=(), sites=("contoso.sharepoint.example:/sites/team",), users=("ann@contoso.example",)
    )
    source = place.open()
    assert sorted(listing(source).checkpoint["done"]) == ["b!ann", "b!one", "b!two"]
    source.close()


def link(scope: str, *people: str, **more: Any) -> dict[str, Any]:
    identities = [to_person(one)["grantedToV2"] for one in people]
    return {
        "id": "l",
        "roles": ["read"],
        "link": {"scope": scope, "type": "view", "webUrl": "https://x.example/secret"},
        "grantedToIdentitiesV2": identities,
        **more,
    }


SITE_GROUP = granted(siteGroup={"id": "5", "displayName": "Team Members", "loginName": "Team Members"})


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ([], ()),
        ([to_person("ann"), to_group(GUID)], (f"group:sharepoint/{GUID}", "user:ann@contoso.example")),
        (
            [{**to_person("ann"), "inheritedFrom": {"id": "x", "path": "/drives/d/root:"}}],
            ("user:ann@contoso.example",),
        ),
        ([{**to_person("ann"), "roles": ["sp.limited access"]}], ()),
        ([{**to_person("ann"), "expirationDateTime": "2020-01-01T00:00:00Z"}], ()),
        ([link("users", "ann", "bob")], ("user:ann@contoso.example", "user:bob@contoso.example")),
        ([link("anonymous")], ()),
        ([link("organization")], ()),
        ([granted(siteUser={"loginName": f"c:0t.c|tenant|{GUID}"})], (f"group:sharepoint/{GUID}",)),
        ([granted(siteUser={"loginName": f"c:0o.c|federateddirectoryclaimprovider|{GUID}_o"})], None),
        (
            [granted(siteUser={"loginName": f"c:0-.f|rolemanager|spo-grid-all-users/{GUID}"})],
            ("group:sharepoint/contoso.example",),
        ),
        (
            [granted(siteUser={"loginName": "i:0#.f|membership|Zoe@contoso.example"})],
            ("user:zoe@contoso.example",),
        ),
        ([granted(user={"id": "OID-7", "displayName": "No address"})], ("user:oid-7",)),
        ([SITE_GROUP], None),
        ([SITE_GROUP, to_person("ann")], ("user:ann@contoso.example",)),
        ([granted(application={"id": "app"})], None),
    ],
)
def test_readers_of_a_file(
    place: GraphPlace, source: SharePoint, permissions: list[dict[str, Any]], expected: tuple[str, ...] | None
) -> None:
    place.file("alpha").permissions = permissions
    assert listing(source).items[place.uri("alpha")].acl == expected


def test_links_and_site_groups_count_where_the_spec_says_so(place: GraphPlace, tenant: Tenant) -> None:
    open_to = GraphPlace(
        tenant,
        organization_links=True,
        anonymous_links=True,
        site_groups={"Team Members": (f"group:sharepoint/{GUID}",)},
    )
    place.file("alpha").permissions = [SITE_GROUP]
    place.file("bravo").permissions = [link("organization")]
    place.file("charlie").permissions = [link("anonymous")]
    place.file("delta").permissions = [link("anonymous", hasPassword=True)]
    tenant.groups[GUID] = ("ann",)
    source = open_to.open()
    items = listing(source).items
    assert items[place.uri("alpha")].acl == (f"group:sharepoint/{GUID}",)
    assert items[place.uri("bravo")].acl == ("group:sharepoint/contoso.example",)
    assert items[place.uri("charlie")].acl == ("everyone",)
    assert items[place.uri("delta")].acl == ()
    everybody = ("user:ann@contoso.example", "user:bob@contoso.example", "user:cat@contoso.example")
    assert source.groups() == {
        f"group:sharepoint/{GUID}": ("user:ann@contoso.example",),
        "group:sharepoint/contoso.example": everybody,
    }
    source.close()


def test_a_wrong_secret_is_refused_without_showing_it(place: GraphPlace) -> None:
    place.secret = "Q~WRONG"
    source = place.open()
    with pytest.raises(SourceDeniedError, match=r"gives us no token \(401, invalid_client\)") as raised:
        listing(source)
    assert "Q~WRONG" not in str(raised.value)
    source.close()


def test_a_next_link_that_leads_away_is_not_followed(place: GraphPlace, source: SharePoint) -> None:
    away = {"value": [], "@odata.nextLink": "https://evil.example/v1.0/drives/x/root/delta"}
    place.server.fail(place.listing, Answer(body=away), times=1)
    with pytest.raises(SourceError, match="leads away from"):
        listing(source)


def test_a_spec_names_at_least_one_library() -> None:
    with pytest.raises(ValidationError, match="at least one of sites, drives and users"):
        SharePointSource(type="sharepoint", tenant_id="t", client_id="c", client_secret_env="S")
