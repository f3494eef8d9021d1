"""What every source must do, run against every one: a test file derives a class and gives a `place` fixture.

`SourceContract` is for all; `ApiSourceContract` adds what can go wrong over HTTP. A `Place` stands for the vendor:
it holds documents under names, which a test writes, removes and restricts, and it opens the source as after a
restart.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, Protocol

import pytest

from llmops.clients.web import Patience
from llmops.errors import (
    DocumentError,
    DocumentGoneError,
    LlmopsError,
    SourceDeniedError,
    SourceError,
)
from llmops.ingestion.sources.protocol import Acl, Checkpoint, Item, Source
from tests.ingestion.sources.vendors.server import Answer, VendorServer

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf")
PATIENCE = Patience(attempts=3, connect_s=5, read_s=5, total_s=10, backoff_s=0.01, backoff_max_s=0.05)
LIMIT = 5_000_000


class Place(Protocol):
    """Where documents are, as a test changes it. Names are among `NAMES`."""

    def open(self) -> Source:
        """The source as it is after a restart: nothing but the spec is known to it."""
        ...

    def write(self, name: str, text: str) -> None:
        """Make or change a document; its content holds `text`."""
        ...

    def remove(self, name: str) -> None: ...

    def uri(self, name: str) -> str:
        """How the source calls a document that was written."""
        ...


class Restricted(Place, Protocol):
    """A place with permissions of its own."""

    def permit(self, name: str, *people: str) -> None:
        """Let exactly these people read a document; its content stays."""
        ...

    def hide_permissions(self, name: str) -> None:
        """From now on the source cannot know who may read the document."""
        ...

    def principal(self, who: str) -> str:
        """The principal of a person."""
        ...


class Grouped(Restricted, Protocol):
    """A place with groups."""

    def permit_group(self, name: str, key: str) -> str:
        """Let exactly a group read a document; returns the group's principal."""
        ...

    def set_members(self, key: str, *people: str) -> None:
        """Make or change a group."""
        ...


class ApiPlace(Place, Protocol):
    """A place behind an HTTP server.

    Attributes:
        listing: matches the requests of the listing that is paged.
        secrets: what no error may show.
        renews: whether the source fetches a fresh token by itself.
    """

    server: VendorServer
    listing: str
    secrets: tuple[str, ...]
    renews: bool

    def fetching(self, name: str) -> str:
        """Matches the requests that fetch a document."""
        ...

    def expire(self) -> None:
        """The token that the source holds is not accepted any more."""
        ...

    def renew(self) -> None:
        """The operator puts things right; sources opened from now on are accepted."""
        ...


@dataclass(kw_only=True)
class Listed:
    """A listing, taken to its end."""

    items: dict[str, Item] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    uris: list[list[str]] = field(default_factory=list)
    is_everything: bool = True

    @property
    def checkpoint(self) -> Checkpoint:
        return self.checkpoints[-1] if self.checkpoints else {}

    def existing(self, before: Listed | None = None) -> dict[str, Item]:
        """What exists after this listing, given what did before."""
        if self.is_everything or before is None:
            return dict(self.items)
        return {uri: item for uri, item in {**before.items, **self.items}.items() if uri not in self.removed}


def listing(
    source: Source,
    checkpoint: Checkpoint | None = None,
    since: Checkpoint | None = None,
    *,
    n_pages: int | None = None,
) -> Listed:
    """Take a listing in, up to `n_pages`."""
    found = Listed()
    for page in islice(source.pages(checkpoint, since), n_pages):
        found.uris.append([item.uri for item in page.items])
        for uri in page.removed:
            found.items.pop(uri, None)
            found.removed.add(uri)
        for item in page.items:
            found.items[item.uri] = item
            found.removed.discard(item.uri)
        found.problems += page.problems
        if page.checkpoint:
            found.checkpoints.append(page.checkpoint)
        found.is_everything = page.is_everything
    return found


def said(error: BaseException) -> str:
    """All that an error shows: messages and tracebacks of it and of what caused it."""
    return "".join(traceback.format_exception(error))


class SourceContract:
    """For every source.

    Attributes:
        min_pages: how many pages the seven documents come in at least.
        resumes: whether a listing goes on within; else it begins again.
        is_snapshot: a source that is open sees what there was when it was opened.
    """

    min_pages: ClassVar[int] = 2
    resumes: ClassVar[bool] = True
    is_snapshot: ClassVar[bool] = False

    @contextmanager
    def later(self, place: Place, source: Source) -> Iterator[Source]:
        """The source as it sees a change."""
        if not self.is_snapshot:
            yield source
            return
        with closing(place.open()) as opened:
            yield opened

    @pytest.fixture
    def filled(self, place: Place) -> Place:
        for name in NAMES:
            place.write(name, f"The text of {name}.")
        return place

    @pytest.fixture
    def source(self, filled: Place) -> Iterator[Source]:
        source = filled.open()
        yield source
        source.close()

    def test_all_documents_are_listed_over_several_pages(self, filled: Place, source: Source) -> None:
        found = listing(source)
        assert set(found.items) == {filled.uri(name) for name in NAMES}
        assert sum(1 for uris in found.uris if uris) >= self.min_pages
        assert len([uri for uris in found.uris for uri in uris]) == len(NAMES), "nothing is listed twice"
        assert found.is_everything
        assert found.problems == []

    def test_each_document_can_be_fetched(self, filled: Place, source: Source) -> None:
        items = listing(source).items
        for name in NAMES:
            fetched = source.fetch(items[filled.uri(name)], max_bytes=LIMIT)
            assert f"The text of {name}." in text_of(fetched.raw)
            assert (
                fetched.version in ("", items[filled.uri(name)].version) or items[filled.uri(name)].version == ""
            )

    def test_checkpoints_and_handles_are_json(self, source: Source) -> None:
        found = listing(source)
        for value in (*found.checkpoints, *(dict(item.handle) for item in found.items.values())):
            assert json.loads(json.dumps(value)) == value

    def test_what_does_not_change_keeps_its_version(self, filled: Place, source: Source) -> None:
        first, again = listing(source), filled.open()
        second = listing(again)
        again.close()
        assert second.items == first.items

    def test_a_change_of_content_changes_the_version(self, filled: Place, source: Source) -> None:
        before, uri = listing(source), filled.uri("delta")
        filled.write("delta", "Something else altogether.")
        with self.later(filled, source) as now:
            after = listing(now, since=before.checkpoint).existing(before)
            assert "Something else altogether." in text_of(now.fetch(after[uri], max_bytes=LIMIT).raw)
        assert after[uri].version == "" or after[uri].version != before.items[uri].version
        others = {one for one in before.items if one != uri}
        assert all(after[one].version == before.items[one].version for one in others)

    def test_a_new_document_is_seen(self, filled: Place, source: Source) -> None:
        filled.remove("echo")
        with self.later(filled, source) as then:
            before = listing(then)
        filled.write("echo", "It is back.")
        with self.later(filled, source) as now:
            after = listing(now, since=before.checkpoint).existing(before)
            assert filled.uri("echo") in after.keys() - before.items.keys()
            assert "It is back." in text_of(now.fetch(after[filled.uri("echo")], max_bytes=LIMIT).raw)

    def test_a_deletion_is_seen(self, filled: Place, source: Source) -> None:
        before, gone = listing(source), filled.uri("bravo")
        filled.remove("bravo")
        with self.later(filled, source) as now:
            after = listing(now, since=before.checkpoint)
        assert set(after.existing(before)) == set(before.items) - {gone}
        assert after.problems == []

    def test_a_document_that_changed_after_the_listing_comes_with_its_newer_version(
        self, filled: Place, source: Source
    ) -> None:
        before, uri = listing(source), filled.uri("golf")
        filled.write("golf", "Newer than the listing.")
        with self.later(filled, source) as now:
            fetched = now.fetch(before.items[uri], max_bytes=LIMIT)
            after = listing(now, since=before.checkpoint).existing(before)
        assert "Newer than the listing." in text_of(fetched.raw)
        if after[uri].version:
            assert fetched.version == after[uri].version != before.items[uri].version

    def test_a_document_that_went_after_the_listing_is_gone(self, filled: Place, source: Source) -> None:
        before = listing(source)
        filled.remove("golf")
        with self.later(filled, source) as now, pytest.raises(DocumentGoneError, match=r"\S"):
            now.fetch(before.items[filled.uri("golf")], max_bytes=LIMIT)

    def test_a_document_over_the_limit_is_refused_alone(self, filled: Place, source: Source) -> None:
        filled.write("charlie", "large " * 500_000)
        with self.later(filled, source) as now:
            items = listing(now).items
            with pytest.raises(DocumentError, match="larger than"):
                now.fetch(items[filled.uri("charlie")], max_bytes=100_000)
            assert now.fetch(items[filled.uri("alpha")], max_bytes=100_000).raw

    def test_a_listing_that_breaks_off_goes_on_after_any_page(self, filled: Place, source: Source) -> None:
        if not self.resumes:
            pytest.skip("this source lists in one go")
        whole = listing(source)
        n_pages = len(whole.uris)
        for n in range(1, n_pages):
            first = listing(source, n_pages=n)
            restarted = filled.open()
            rest = listing(restarted, first.checkpoint)
            restarted.close()
            assert {**first.items, **rest.items} == whole.items, f"after page {n}"
            assert not first.items.keys() & rest.items.keys(), f"doubled after page {n}"
            assert rest.is_everything

    def test_an_empty_place_is_listed_as_everything(self, place: Place) -> None:
        source = place.open()
        found = listing(source)
        source.close()
        assert found.items == {}
        assert found.is_everything
        assert found.problems == []
        assert found.uris, "a page must say that nothing is everything"


class RestrictedContract(SourceContract):
    """For sources that inherit permissions."""

    def acl(self, source: Source, place: Place, name: str, before: Listed | None = None) -> Acl:
        found = listing(source, since=before.checkpoint if before else None)
        return found.existing(before)[place.uri(name)].acl

    def test_permissions_are_inherited(self, filled: Restricted, source: Source) -> None:
        filled.permit("alpha", "ann", "bob")
        acl = self.acl(source, filled, "alpha")
        assert acl is not None
        assert set(acl) == {filled.principal("ann"), filled.principal("bob")}

    def test_a_change_of_permission_changes_the_acl(self, filled: Restricted, source: Source) -> None:
        filled.permit("alpha", "ann", "bob")
        before = listing(source)
        filled.permit("alpha", "bob")
        acl = self.acl(source, filled, "alpha", before)
        assert acl == (filled.principal("bob"),)

    def test_unknown_permissions_hide_the_document(self, filled: Restricted, source: Source) -> None:
        filled.permit("alpha", "ann")
        before = listing(source)
        filled.hide_permissions("alpha")
        found = listing(source)
        assert found.items[filled.uri("alpha")].acl is None
        assert set(found.items) == set(before.items), "hidden is not removed"


class GroupedContract(RestrictedContract):
    """For sources with groups."""

    def test_a_membership_change_shows_in_the_groups_and_not_in_the_acl(
        self, filled: Grouped, source: Source
    ) -> None:
        filled.set_members("staff", "ann", "bob")
        staff = filled.permit_group("alpha", "staff")
        before = listing(source)
        assert before.items[filled.uri("alpha")].acl == (staff,)
        assert set(source.groups()[staff]) == {filled.principal("ann"), filled.principal("bob")}
        filled.set_members("staff", "bob", "cat")
        assert set(source.groups()[staff]) == {filled.principal("bob"), filled.principal("cat")}
        after = listing(source, since=before.checkpoint).existing(before)
        assert after[filled.uri("alpha")].acl == (staff,)

    def test_groups_are_known_without_a_listing(self, filled: Grouped, source: Source) -> None:
        filled.set_members("staff", "ann")
        staff = filled.permit_group("alpha", "staff")
        assert source.groups()[staff] == (filled.principal("ann"),)


class ApiSourceContract(SourceContract):
    """For sources over HTTP."""

    def test_a_listing_waits_as_long_as_it_is_told(self, filled: ApiPlace, source: Source) -> None:
        filled.server.fail(filled.listing, Answer(status=429, headers={"Retry-After": "0.3"}), after=1, times=1)
        assert len(listing(source).items) == len(NAMES)
        times = [one.at_s for one in filled.server.matching(filled.listing)]
        assert times[2] - times[1] >= 0.3

    def test_a_fetch_waits_as_long_as_it_is_told(self, filled: ApiPlace, source: Source) -> None:
        items = listing(source).items
        filled.server.asked.clear()
        filled.server.fail(filled.fetching("echo"), Answer(status=429, headers={"Retry-After": "0.3"}), times=1)
        assert "The text of echo." in text_of(source.fetch(items[filled.uri("echo")], max_bytes=LIMIT).raw)
        times = [one.at_s for one in filled.server.matching(filled.fetching("echo"))]
        assert times[1] - times[0] >= 0.3

    def test_too_long_a_wait_is_given_up_and_said(self, filled: ApiPlace, source: Source) -> None:
        filled.server.fail(filled.listing, Answer(status=429, headers={"Retry-After": "86400"}))
        with pytest.raises(SourceError, match="asks us to wait 86400 s"):
            listing(source)

    def test_a_token_that_expires_during_a_listing_loses_nothing(self, filled: ApiPlace, source: Source) -> None:
        pages, items = source.pages(None, None), dict[str, Item]()
        checkpoint = self._some_items(pages, items)
        filled.expire()
        if not filled.renews:
            with pytest.raises(SourceDeniedError, match=r"refuse|401|token"):
                list(pages)
            filled.renew()
            restarted = filled.open()
            items |= listing(restarted, checkpoint).items
            restarted.close()
        items |= {item.uri: item for page in pages for item in page.items}
        assert set(items) == {filled.uri(name) for name in NAMES}

    @staticmethod
    def _some_items(pages: Iterator[Any], items: dict[str, Item]) -> Mapping[str, Any]:
        """Take pages until one brought items; returns its checkpoint."""
        for page in pages:
            items |= {item.uri: item for item in page.items}
            if page.items:
                return dict(page.checkpoint)
        raise AssertionError("no page had items")

    def test_a_token_that_expires_before_a_fetch(self, filled: ApiPlace, source: Source) -> None:
        item = listing(source).items[filled.uri("alpha")]
        filled.expire()
        if filled.renews:
            assert "The text of alpha." in text_of(source.fetch(item, max_bytes=LIMIT).raw)
            return
        with pytest.raises(SourceDeniedError, match=r"refuse|401|token"):
            source.fetch(item, max_bytes=LIMIT)

    @pytest.mark.parametrize("n_served", [0, 1, 2])
    def test_a_page_that_fails_for_good_is_never_a_shorter_listing(
        self, filled: ApiPlace, source: Source, n_served: int
    ) -> None:
        filled.server.fail(filled.listing, Answer(status=500), after=n_served)
        try:
            found = listing(source)
        except SourceError:
            return
        assert found.problems, "absence must prove nothing"

    def test_a_document_that_fails_fails_alone(self, filled: ApiPlace, source: Source) -> None:
        items = listing(source).items
        filled.server.fail(filled.fetching("bravo"), Answer(status=500))
        with pytest.raises((DocumentError, SourceError), match=r"500|internal"):
            source.fetch(items[filled.uri("bravo")], max_bytes=LIMIT)
        assert "The text of alpha." in text_of(source.fetch(items[filled.uri("alpha")], max_bytes=LIMIT).raw)

    def test_a_connection_that_closes_is_opened_again(self, filled: ApiPlace, source: Source) -> None:
        filled.server.fail(filled.listing, Answer(drop=True), after=1, times=1)
        assert len(listing(source).items) == len(NAMES)

    def test_a_source_that_is_away_says_after_how_many_tries(self, filled: ApiPlace, source: Source) -> None:
        filled.server.fail(".", Answer(drop=True))
        with pytest.raises(SourceError, match="after 3 tries"):
            listing(source)

    @pytest.mark.parametrize(
        "body",
        [
            b"<!DOCTYPE html><html><body>Sign in</body></html>",
            b"[" * 200_000,
            b"null",
            b'{"ok": true, "value": 7}',
        ],
        ids=["html", "deep", "null", "another shape"],
    )
    def test_an_answer_that_is_none_is_refused(self, filled: ApiPlace, source: Source, body: bytes) -> None:
        filled.server.fail(filled.listing, Answer(body=body, headers={"Content-Type": "text/html"}))
        with pytest.raises(SourceError, match=r"JSON|listing of"):
            listing(source)

    def test_an_answer_that_is_huge_is_not_read(self, filled: ApiPlace, source: Source) -> None:
        filled.server.fail(filled.listing, Answer(body=b" " * 65_000_000))
        with pytest.raises(SourceError, match="larger than"):
            listing(source)

    def test_an_endless_listing_is_left(self, filled: ApiPlace, source: Source) -> None:
        listing(source)
        first = filled.server.matching(filled.listing)[0]
        answer = filled.server.answer(first)
        filled.server.fail(filled.listing, answer)
        with pytest.raises(SourceError, match="in a circle"):
            listing(source)

    def test_a_redirect_to_a_private_address_is_not_followed(self, filled: ApiPlace, source: Source) -> None:
        items = listing(source).items
        with VendorServer(lambda _: Answer(body=b"secret of the inner network")) as inner:
            aside = Answer(status=302, headers={"Location": f"{inner.url}/latest/meta-data"})
            filled.server.fail(filled.listing, aside, times=1)
            filled.server.fail(filled.fetching("alpha"), aside)
            with pytest.raises(SourceError, match="not on the public internet"):
                listing(source)
            with pytest.raises(DocumentError, match="not on the public internet"):
                source.fetch(items[filled.uri("alpha")], max_bytes=LIMIT)
            assert inner.asked == []

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(status=401, body=b"who are you"),
            Answer(status=403, body=b"no"),
            Answer(status=500, body=b"oops"),
            Answer(drop=True),
            Answer(body=b"<html>"),
            Answer(status=302, headers={"Location": "http://10.0.0.1/?token=x"}),
        ],
        ids=["401", "403", "500", "closed", "html", "redirect"],
    )
    def test_no_error_shows_a_secret(self, filled: ApiPlace, answer: Answer) -> None:
        filled.server.fail(".", answer)
        for again in (False, True):
            source = filled.open()
            with pytest.raises(LlmopsError, match=r"\S") as raised:
                listing(source) if not again else source.groups() or listing(source)
            source.close()
            for secret in filled.secrets:
                assert secret not in said(raised.value)

    def test_the_token_goes_to_its_own_host_only(self, filled: ApiPlace, source: Source) -> None:
        items = listing(source).items
        source.fetch(items[filled.uri("alpha")], max_bytes=LIMIT)
        assert any("authorization" in one.headers for one in filled.server.asked)


def text_of(raw: bytes) -> str:
    """Text of a document for a look; spaces folded."""
    return " ".join(raw.decode("utf-8", "replace").split())
