"""Confluence Cloud: the contract, and what only Confluence has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmops.errors import ConfigurationError
from llmops.ingestion.sources.confluence import Confluence, open_confluence
from llmops.ingestion.sources.specs_api import ConfluenceSource
from tests.ingestion.sources.contract import (
    LIMIT,
    NAMES,
    PATIENCE,
    ApiSourceContract,
    GroupedContract,
    listing,
    text_of,
)
from tests.ingestion.sources.vendors.confluence import EMAIL, TOKEN, ConfluenceSite, Content, paragraph
from tests.ingestion.sources.vendors.server import Answer

EVERYONE_HERE = "group:confluence/everyone-here"


class ConfluencePlace:
    """A site with the contract's documents as pages of the space ENG."""

    listing = r"/spaces/10/pages\?"
    secrets = (TOKEN, "Basic ")
    renews = False

    def __init__(self, site: ConfluenceSite, **fields: object) -> None:
        self.site, self.server, self.token = site, site.server, TOKEN
        self.fields = fields

    def open(self) -> Confluence:
        spec = ConfluenceSource.model_validate(
            {
                "type": "confluence",
                "base_url": f"{self.server.url}/wiki",
                "email": EMAIL,
                "token_env": "CONFLUENCE_TOKEN",
                **self.fields,
            }
        )
        return open_confluence(spec, {"CONFLUENCE_TOKEN": self.token}, patience=PATIENCE)

    def key(self, name: str) -> int:
        return 100 + NAMES.index(name)

    def write(self, name: str, text: str) -> None:
        one = self.site.content.get(self.key(name))
        if one is None:
            one = Content(key=self.key(name), space="ENG", title=name.title(), storage="", version=0)
            self.site.content[one.key] = one
        one.storage, one.version = paragraph(text), one.version + 1

    def remove(self, name: str) -> None:
        del self.site.content[self.key(name)]

    def uri(self, name: str) -> str:
        return f"ENG/pages/{self.key(name)}"

    def fetching(self, name: str) -> str:
        return rf"/api/v2/pages/{self.key(name)}\?"

    def principal(self, who: str) -> str:
        return f"user:{who}@example.org"

    def permit(self, name: str, *people: str) -> None:
        self.site.content[self.key(name)].users = people

    def permit_group(self, name: str, key: str) -> str:
        self.site.content[self.key(name)].users = ()
        self.site.content[self.key(name)].groups = (key,)
        self.site.space_groups["10"] = (key,)
        return f"group:confluence/{key}"

    def set_members(self, key: str, *people: str) -> None:
        self.site.groups[key] = people

    def hide_permissions(self, name: str) -> None:
        self.site.content[self.key(name)].is_secretive = True

    def expire(self) -> None:
        self.site.token = "another token"

    def renew(self) -> None:
        self.token = "another token"


@pytest.fixture
def site() -> Iterator[ConfluenceSite]:
    made = ConfluenceSite()
    with made.server:
        yield made


class TestContract(ApiSourceContract, GroupedContract):
    min_pages = 3

    @pytest.fixture
    def place(self, site: ConfluenceSite) -> ConfluencePlace:
        return ConfluencePlace(site)


def page(site: ConfluenceSite, key: int, **fields: object) -> Content:
    made = Content(**{"key": key, "space": "ENG", "title": f"Page {key}", "storage": paragraph("x"), **fields})  # type: ignore[arg-type]
    site.content[key] = made
    return made


def acls(site: ConfluenceSite) -> dict[str, tuple[str, ...] | None]:
    source = ConfluencePlace(site).open()
    found = {uri: item.acl for uri, item in listing(source).items.items()}
    source.close()
    return found


def test_a_page_without_restrictions_is_for_those_whom_the_space_admits(site: ConfluenceSite) -> None:
    page(site, 1)
    assert acls(site) == {"ENG/pages/1": (EVERYONE_HERE,)}


def test_a_page_is_read_by_the_intersection_of_all_restrictions_above_it(site: ConfluenceSite) -> None:
    site.groups["hr"] = ("bob", "cat", "eve")  # eve is not admitted to the space
    page(site, 1, groups=("hr",))
    page(site, 2, parent=("page", "1"))
    page(site, 3, parent=("page", "2"), users=("cat", "dan"))
    found = acls(site)
    assert found["ENG/pages/1"] == found["ENG/pages/2"] == ("user:bob@example.org", "user:cat@example.org")
    assert found["ENG/pages/3"] == ("user:cat@example.org",)


def test_a_child_that_is_listed_before_its_parent_inherits_too(site: ConfluenceSite) -> None:
    page(site, 1, parent=("folder", "77"))
    site.folders["77"] = ("page", "9")
    for key in range(2, 9):
        page(site, key)
    page(site, 9, users=("ann",))
    assert acls(site)["ENG/pages/1"] == ("user:ann@example.org",)


@pytest.mark.parametrize("parent", [("page", "404"), ("whiteboard", "5"), ("page", "1"), ("unheard-of", "5")])
def test_an_ancestor_that_cannot_be_asked_hides_the_page(site: ConfluenceSite, parent: tuple[str, str]) -> None:
    page(site, 1, parent=parent)
    assert acls(site) == {"ENG/pages/1": None}


def test_a_space_whose_permissions_may_not_be_read_is_hidden(site: ConfluenceSite) -> None:
    page(site, 1)
    site.secretive_spaces.add("10")
    assert acls(site) == {"ENG/pages/1": None}


def test_members_that_may_not_be_read_admit_nobody_and_stop_nothing(site: ConfluenceSite) -> None:
    page(site, 1, users=("ann",))
    page(site, 2)
    page(site, 3, groups=("everyone-here",))
    site.server.fail("membersByGroupId", Answer(status=403))
    assert acls(site) == {
        "ENG/pages/1": None,
        "ENG/pages/2": (EVERYONE_HERE,),
        "ENG/pages/3": (EVERYONE_HERE,),
    }


def test_restrictions_that_fit_no_single_answer_are_read_to_the_end(site: ConfluenceSite) -> None:
    people = tuple(f"p{i:03}" for i in range(450))
    site.groups["everyone-here"] = people
    page(site, 1, users=people)
    readers = acls(site)["ENG/pages/1"]
    assert readers is not None
    assert len(readers) == 450


def test_a_person_whose_address_is_hidden_goes_by_the_account(site: ConfluenceSite) -> None:
    site.hidden_addresses.add("ann")
    page(site, 1, users=("ann", "bob"))
    assert acls(site)["ENG/pages/1"] == ("user:acc-ann", "user:bob@example.org")


def test_permissions_of_the_spec_replace_the_sites(site: ConfluenceSite) -> None:
    page(site, 1, users=("ann",))
    source = ConfluencePlace(site, acl=("team-x",)).open()
    assert listing(source).items["ENG/pages/1"].acl == ("team-x",)
    assert site.server.matching("restriction") == []
    source.close()


def test_spaces_blog_posts_and_attachments(site: ConfluenceSite) -> None:
    page(site, 1, files={"plan.pdf": b"%PDF-1.7 plan"}, users=("ann",))
    page(site, 2, kind="blogposts")
    page(site, 3, space="HR", kind="blogposts")
    source = ConfluencePlace(site, attachments=True).open()
    found = listing(source).items
    assert list(found) == ["ENG/pages/1", "ENG/attachments/att1-plan.pdf", "ENG/blogposts/2", "HR/blogposts/3"]
    attached = found["ENG/attachments/att1-plan.pdf"]
    assert (attached.acl, attached.media_type, attached.n_bytes) == (
        ("user:ann@example.org",),
        "application/pdf",
        13,
    )
    assert source.fetch(attached, max_bytes=LIMIT).raw == b"%PDF-1.7 plan"
    assert found["ENG/pages/1"].url == f"{site.server.url}/wiki/spaces/ENG/pages/1"
    source.close()


def test_a_space_that_the_account_does_not_see_is_a_problem_and_deletes_nothing(site: ConfluenceSite) -> None:
    page(site, 1)
    source = ConfluencePlace(site, spaces=("ENG", "SECRET")).open()
    found = listing(source)
    assert found.problems == ["no space SECRET that the account may see; mend spaces or the permissions"]
    assert list(found.items) == ["ENG/pages/1"]
    source.close()


def test_labels_and_mentions_come_with_the_page(site: ConfluenceSite) -> None:
    mention = '<p>Ask <ac:link><ri:user ri:account-id="acc-ann" /></ac:link>&nbsp;today</p>'
    page(site, 1, storage=mention, labels=("runbook", "on-call"))
    source = ConfluencePlace(site).open()
    fetched = source.fetch(listing(source).items["ENG/pages/1"], max_bytes=LIMIT)
    assert "Ask <span>@Ann</span> today" in text_of(fetched.raw)
    assert fetched.metadata == {"labels": ["on-call", "runbook"]}
    assert (fetched.media_type, fetched.title) == ("text/html", "Page 1")
    source.close()


def test_a_cursor_that_the_site_has_forgotten_begins_the_space_again(site: ConfluenceSite) -> None:
    for key in range(1, 6):
        page(site, key)
    source = ConfluencePlace(site).open()
    stale = {"stop": ["10", "pages"], "cursor": "expired", "groups": []}
    assert len(listing(source, stale).items) == 5
    source.close()


def test_a_missing_token_names_its_variable(site: ConfluenceSite) -> None:
    place = ConfluencePlace(site)
    place.token = ""
    with pytest.raises(ConfigurationError, match="'CONFLUENCE_TOKEN' is not set"):
        place.open()
