"""A web site as a source: a real server on loopback, with robots.txt, sitemaps, tags, redirects and traps."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops.errors import DocumentError, DocumentGoneError, SourceError
from llmops.ingestion.sources import web
from llmops.ingestion.sources.protocol import Item, Source
from llmops.ingestion.sources.specs_data import WebSource
from llmops.ingestion.sources.web import WebSite
from llmops.ingestion.sources.web_addresses import normal
from llmops.ingestion.sources.web_sitemap import SitemapError, entries_of
from tests.ingestion.sources.contract import LIMIT, PATIENCE, Place, SourceContract, listing
from tests.ingestion.sources.vendors.server import Answer, Asked, VendorServer


class Site:
    """Pages by path; a page is its HTML, or an answer as it is. Tags are kept unless `has_tags` is False."""

    def __init__(self) -> None:
        self.pages: dict[str, str | Answer | Callable[[Asked], Answer]] = {}
        self.has_tags = True
        self.server = VendorServer(self.answer)

    def answer(self, asked: Asked) -> Answer:
        page = self.pages.get(asked.target, self.pages.get(asked.path))
        if callable(page):
            page = page(asked)
        if page is None:
            return Answer(status=404, body=b"not here")
        if isinstance(page, Answer):
            return page
        body = page.encode()
        headers = {"Content-Type": "text/html; charset=utf-8" if "<" in page else "text/plain"}
        if self.has_tags:
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
            if asked.headers.get("if-none-match") == headers["ETag"]:
                return Answer(status=304, headers=headers)
        return Answer(body=body, headers=headers)

    @property
    def url(self) -> str:
        return self.server.url

    def asked(self, pattern: str = ".") -> list[str]:
        return [one.target for one in self.server.matching(pattern) if one.target != "/robots.txt"]


@pytest.fixture
def site() -> Iterator[Site]:
    one = Site()
    with one.server:
        yield one


Make = Callable[..., WebSite]


@pytest.fixture
def make(site: Site, tmp_path: Path) -> Iterator[Make]:
    made: list[WebSite] = []

    def source(**fields: Any) -> WebSite:
        given = {"type": "web", "acl": ["everyone"], "delay_s": 0, "allow_private": True, **fields}
        if "sitemaps" not in given:
            given = {"start": [f"{site.url}/"], "crawl": {}, **given}
        spec = WebSource.model_validate_json(json.dumps(given))
        made.append(WebSite(spec, tmp_path / "state", patience=PATIENCE))
        return made[-1]

    yield source
    for one in made:
        one.close()


def page(*links: str, text: str = "", head: str = "") -> str:
    anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
    return f"<html><head>{head}</head><body>{text}{anchors}</body></html>"


def sitemap(*urls: str, lastmod: str = "", kind: str = "url") -> str:
    outer = "urlset" if kind == "url" else "sitemapindex"
    when = f"<lastmod>{lastmod}</lastmod>" if lastmod else ""
    entries = "".join(f"<{kind}><loc>{url}</loc>{when}</{kind}>" for url in urls)
    return f'<?xml version="1.0"?><{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{outer}>'


def paths(source: Source, site: Site) -> list[str]:
    return sorted(uri.removeprefix(site.url) for uri in listing(source).items)


class WebPlace:
    """The contract's documents as pages of a sitemap."""

    def __init__(self, site: Site, state: Path) -> None:
        self.site, self.state = site, state
        self.names: dict[str, str] = {}
        site.pages["/sitemap.xml"] = lambda _: Answer(body=sitemap(*map(self.uri, self.names)).encode())

    def open(self) -> WebSite:
        spec = WebSource(
            type="web",
            sitemaps=(f"{self.site.url}/sitemap.xml",),
            acl=("everyone",),
            delay_s=0,
            allow_private=True,
            max_file_bytes=1_000_000,
        )
        return WebSite(spec, self.state, patience=PATIENCE)

    def write(self, name: str, text: str) -> None:
        self.names[name] = text
        self.site.pages[f"/{name}"] = page(text=text)

    def remove(self, name: str) -> None:
        del self.names[name], self.site.pages[f"/{name}"]

    def uri(self, name: str) -> str:
        return f"{self.site.url}/{name}"


class TestSite(SourceContract):
    """The contract. A crawl keeps what it read until it is taken: that is what the first fetch hands over."""

    @pytest.fixture
    def place(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WebPlace:
        monkeypatch.setattr(web, "_BATCH", 3)
        return WebPlace(site, tmp_path / "state")

    def test_a_document_that_changed_after_the_listing_comes_with_its_newer_version(
        self, filled: Place, source: Source
    ) -> None:
        before = listing(source).items[filled.uri("golf")]
        filled.write("golf", "Newer than the listing.")
        first, second = (source.fetch(before, max_bytes=LIMIT) for _ in range(2))
        after = listing(source).items[filled.uri("golf")]
        assert (b"The text of golf." in first.raw, first.version) == (True, before.version)
        assert (b"Newer than the listing." in second.raw, second.version) == (True, after.version)

    def test_a_document_that_went_after_the_listing_is_gone(self, filled: Place, source: Source) -> None:
        item = listing(source).items[filled.uri("golf")]
        source.fetch(item, max_bytes=LIMIT)
        filled.remove("golf")
        with pytest.raises(DocumentGoneError, match=r"is not there any more \(404\)"):
            source.fetch(item, max_bytes=LIMIT)


def test_links_are_followed_on_the_host_and_to_the_depth(site: Site, make: Make) -> None:
    site.pages |= {
        "/": page("a", "/b/", "https://elsewhere.example.org/x", "mailto:x@example.org", "javascript:void(0)"),
        "/a": page("c?x=1#part", "c?x=1&utm_source=y"),
        "/b/": page("../a", "file.pdf", head='<base href="/files/">'),
        "/c?x=1": page("/deeper"),
        "/deeper": page("/deepest"),
        "/deepest": page(),
        "/files/file.pdf": Answer(body=b"%PDF-1.7", headers={"Content-Type": "application/pdf"}),
    }
    assert paths(make(crawl={"max_depth": 2}), site) == ["/", "/a", "/b/", "/c?x=1", "/files/file.pdf"]
    source = make(crawl={"max_depth": 9}, include=["**"], exclude=["files/**"], keep_query=False)
    assert paths(source, site) == ["/", "/a", "/b/"]  # without its query, /c is no page
    item = listing(make()).items[f"{site.url}/files/file.pdf"]
    assert item.media_type == "application/pdf"


def test_a_prefix_and_globs_choose_pages(site: Site, make: Make) -> None:
    site.pages |= {
        "/": page("/docs/", "/docs-old/x", "/blog/1"),
        "/docs/": page("a.html", "b.txt", "/blog/1"),
        "/docs/a.html": page(),
        "/docs/b.txt": "text",
        "/blog/1": page(),
    }
    only = make(start=[f"{site.url}/docs/"], crawl={"prefix": [f"{site.url}/docs"]})
    assert paths(only, site) == ["/docs/", "/docs/a.html", "/docs/b.txt"]
    site.server.asked.clear()
    assert paths(make(include=["**/*.html"], exclude=["blog/**"]), site) == ["/docs/a.html"]
    assert not site.asked("/blog")


def test_a_sync_without_changes_transfers_no_page(site: Site, make: Make) -> None:
    site.pages |= {"/": page("/a", "/b"), "/a": page("/c"), "/b": page(), "/c": page()}
    source = make()
    before = listing(source)
    site.server.asked.clear()
    site.pages["/b"] = page(text="changed")
    after = listing(make())
    conditional = {one.target: one.headers.get("if-none-match", "") for one in site.server.asked}
    assert all(conditional[path] for path in ("/", "/a", "/b", "/c"))
    assert set(after.items) == set(before.items)
    assert [uri for uri in after.items if after.items[uri] != before.items[uri]] == [f"{site.url}/b"]


def test_times_are_used_where_there_is_no_tag(site: Site, make: Make) -> None:
    stamp = formatdate(1_700_000_000, usegmt=True)

    def answer(asked: Asked) -> Answer:
        if asked.headers.get("if-modified-since") == stamp:
            return Answer(status=304)
        return Answer(body=page().encode(), headers={"Content-Type": "text/html", "Last-Modified": stamp})

    site.pages["/"] = answer
    first, second = listing(make()), listing(make())
    assert first.items == second.items
    assert [one.headers.get("if-modified-since") for one in site.server.matching("^/$")] == [None, stamp]


def test_a_server_without_tags_is_read_anew_and_only_content_counts(site: Site, make: Make) -> None:
    site.has_tags = False
    site.pages |= {"/": page("/a"), "/a": page(text="one")}
    before = listing(make()).items
    assert listing(make()).items == before
    site.pages["/a"] = page(text="two")
    assert listing(make()).items[f"{site.url}/a"].version != before[f"{site.url}/a"].version


def test_a_page_is_transferred_once_for_a_listing_and_its_fetch(site: Site, make: Make) -> None:
    site.pages |= {"/": page("/a"), "/a": page(text="one")}
    source = make()
    items = listing(source).items
    assert b"one" in source.fetch(items[f"{site.url}/a"], max_bytes=LIMIT).raw
    assert site.asked("/a") == ["/a"]
    assert b"one" in source.fetch(items[f"{site.url}/a"], max_bytes=LIMIT).raw  # asked for again by a retry
    assert site.asked("/a") == ["/a", "/a"]


def test_what_is_known_too_long_is_read_anew(site: Site, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages["/"] = page()
    listing(make())
    for shift in (-100_000, 31 * 86_400):  # a clock that runs backwards, and a month
        monkeypatch.setattr("llmops.ingestion.sources.web_state.time.time", lambda s=shift: 1_900_000_000 + s)
        site.server.asked.clear()
        listing(make())
        assert "if-none-match" not in site.server.matching("^/$")[0].headers


def test_robots_txt_is_obeyed(site: Site, make: Make) -> None:
    site.pages["/robots.txt"] = (
        "User-agent: llmops\nDisallow: /private\nAllow: /private/open\n\nUser-agent: *\nDisallow: /"
    )
    site.pages |= {
        "/": page("/private/x", "/private/open", "/a"),
        "/private/x": page(),
        "/private/open": page(),
        "/a": page(),
    }
    assert paths(make(), site) == ["/", "/a", "/private/open"]
    assert not site.asked("/private/x")
    agents = {one.headers["user-agent"] for one in site.server.asked}
    assert agents == {"llmops"}
    assert paths(make(user_agent="other-bot", contact="https://example.org/bot"), site) == []
    assert site.server.asked[-1].headers["user-agent"] == "other-bot (+https://example.org/bot)"


@pytest.mark.parametrize("answer", [Answer(status=500), Answer(status=503), Answer(drop=True)])
def test_a_site_whose_robots_txt_fails_is_not_read(site: Site, make: Make, answer: Answer) -> None:
    site.pages |= {"/": page(), "/robots.txt": answer}
    with pytest.raises(SourceError, match=r"robots\.txt of .* cannot be had, so nothing is read there"):
        listing(make())
    assert not site.asked()


def test_a_site_without_robots_txt_is_read(site: Site, make: Make) -> None:
    site.pages |= {"/": page(), "/robots.txt": Answer(status=403)}
    assert paths(make(), site) == ["/"]


def test_requests_to_a_host_are_spaced(site: Site, make: Make) -> None:
    site.pages |= {
        "/robots.txt": "User-agent: *\nCrawl-delay: 0.05",
        "/": page("/a", "/b"),
        "/a": page(),
        "/b": page(),
    }
    listing(make(delay_s=0.01))
    times = [one.at_s for one in site.server.asked if one.target != "/robots.txt"]
    assert all(later - earlier >= 0.04 for earlier, later in itertools.pairwise(times))


def test_noindex_nofollow_and_canonical(site: Site, make: Make) -> None:
    site.pages |= {
        "/": page("/hidden", "/closed", "/print", "/header", "/other-bot", "/self", "/gone-main"),
        "/hidden": page("/behind", head='<meta name="robots" content="noindex">'),
        "/behind": page(),
        "/closed": page("/never", head='<meta name="ROBOTS" content="NOFOLLOW">'),
        "/never": page(),
        "/print": page(head='<link rel="canonical" href="/main">'),
        "/main": page(),
        "/header": Answer(body=page().encode(), headers={"Content-Type": "text/html", "X-Robots-Tag": "noindex"}),
        "/other-bot": Answer(body=b"text", headers={"X-Robots-Tag": "googlebot: noindex"}),
        "/self": page(head='<link rel="canonical" href="/self?utm_source=x">'),
        "/gone-main": page(head='<link rel="canonical" href="/404">'),
    }
    found = paths(make(), site)
    assert found == ["/", "/behind", "/closed", "/gone-main", "/main", "/other-bot", "/self"]


def test_pages_that_name_each_other_as_canonical_are_one_document(site: Site, make: Make) -> None:
    site.pages |= {
        "/": page("/a", "/b"),
        "/a": page(head='<link rel="canonical" href="/b">'),
        "/b": page(head='<link rel="canonical" href="/a">'),
    }
    assert len([path for path in paths(make(), site) if path != "/"]) == 1


def test_a_page_that_went_is_absent_and_one_that_fails_is_a_problem(site: Site, make: Make) -> None:
    site.pages |= {"/": page("/a", "/b", "/c", "/d"), "/a": page(), "/b": page(), "/c": page(), "/d": page()}
    listing(make())
    site.pages |= {"/a": Answer(status=410), "/b": Answer(status=500), "/c": Answer(status=403)}
    found = listing(make())
    assert sorted(found.items) == [f"{site.url}/", f"{site.url}/d"]
    assert len(found.problems) == 2
    assert "/b cannot be had after 3 tries: it answered 500" in found.problems[0]
    assert "/c cannot be had (403); check who may read it" in found.problems[1]


def test_redirects_lead_to_one_document_and_never_in_circles(site: Site, make: Make) -> None:
    def to(place: str, status: int = 301) -> Answer:
        return Answer(status=status, headers={"Location": place})

    site.pages |= {
        "/": page("/old", "/one", "/away", "/sign-in", "/self", "/nowhere"),
        "/old": to("new"),
        "/new": page(),
        "/one": to("/two"),
        "/two": to("/one", 302),
        "/self": to("/self"),
        "/away": to("https://elsewhere.example.org/"),
        "/sign-in": to("https://sign-in.example.org/?next=x", 302),
        "/nowhere": to("mailto:x@example.org"),
    }
    found = listing(make())
    assert sorted(found.items) == [f"{site.url}/", f"{site.url}/new"]
    problems = " ".join(found.problems)
    assert "/self redirects in a circle" in problems
    assert "/two redirects in a circle" in problems
    assert "/sign-in leads out of the source, to sign-in.example.org; name it in start" in problems
    assert "/nowhere redirects to no address of a page" in problems
    assert "/away" not in problems


def test_pages_that_redirect_to_each_other_are_a_problem_wherever_they_were_met(site: Site, make: Make) -> None:
    site.pages |= {
        "/": page("/one", "/two"),
        "/one": Answer(status=301, headers={"Location": "/two"}),
        "/two": Answer(status=301, headers={"Location": "/one"}),
    }
    assert "redirects in a circle" in " ".join(listing(make()).problems)


def test_an_endless_calendar_ends_at_the_limit_and_removes_nothing(site: Site, make: Make) -> None:
    def calendar(asked: Asked) -> Answer:
        month = int(asked.query.get("month", "0"))
        return Answer(body=page(f"?month={month + 1}").encode(), headers={"Content-Type": "text/html"})

    site.pages |= {"/": page("/calendar"), "/calendar": calendar}
    found = listing(make(max_pages=20, crawl={"max_depth": 1000}))
    assert len(found.items) == 20
    assert found.problems == ["there are more than 20 pages: raise source.max_pages, or exclude some"]


def test_a_page_over_the_limit_is_listed_and_refused(site: Site, make: Make) -> None:
    site.pages |= {"/": page("/large"), "/large": page(text="x" * 5000)}
    source = make(max_file_bytes=1000)
    found = listing(source)
    assert found.problems == []
    with pytest.raises(DocumentError, match="is larger than 1,000 bytes"):
        source.fetch(found.items[f"{site.url}/large"], max_bytes=1000)


def test_a_site_that_goes_away_stops_the_crawl_which_goes_on_later(
    site: Site, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_BATCH", 4)
    names = [f"/{n}" for n in range(12)]
    site.pages |= {"/": page(*names), **{name: page(text=name) for name in names}}
    whole = listing(make()).items
    away = site.server.fail(r"^/[5-9]$|^/1[01]$", Answer(drop=True))
    first: dict[str, Item] = {}
    checkpoint: Any = None
    with pytest.raises(SourceError, match="5 pages in a row cannot be had"):
        for one in make().pages(None, None):
            first |= {item.uri: item for item in one.items}
            checkpoint = json.loads(json.dumps(one.checkpoint))
    assert 0 < len(first) < len(whole)
    site.server.faults.remove(away)
    site.server.asked.clear()
    rest = listing(make(), checkpoint)
    assert rest.problems == []
    assert {**first, **rest.items} == whole
    assert "/0" not in site.asked()


def test_a_crawl_whose_state_was_lost_begins_again(site: Site, make: Make, tmp_path: Path) -> None:
    site.pages |= {"/": page("/a"), "/a": page()}
    found = listing(make())
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    assert listing(make(), found.checkpoint).items == found.items


def test_sitemaps_in_all_their_forms(site: Site, make: Make) -> None:
    site.pages |= {
        "/index.xml": sitemap(
            f"{site.url}/1.xml.gz", f"{site.url}/2.txt", f"{site.url}/index.xml", kind="sitemap"
        ),
        "/1.xml.gz": Answer(
            body=gzip.compress(sitemap(f"{site.url}/a", "https://elsewhere.example.org/").encode())
        ),
        "/2.txt": f"{site.url}/b\n\n{site.url}/c\n",
        **{f"/{name}": page("/not-followed") for name in "abc"},
        "/not-followed": page(),
    }
    source = make(sitemaps=[f"{site.url}/index.xml"])
    assert paths(source, site) == ["/a", "/b", "/c"]
    site.pages["/2.txt"] = Answer(status=500)
    found = listing(source)
    assert sorted(found.items) == [f"{site.url}/a"]
    assert "2.txt cannot be read" in found.problems[0]
    site.pages["/index.xml"] = Answer(status=404)
    with pytest.raises(SourceError, match=r"index\.xml cannot be read: it answers 404"):
        listing(source)


def test_a_page_whose_lastmod_is_trusted_is_not_asked_for(site: Site, make: Make) -> None:
    urls = [f"{site.url}/a", f"{site.url}/b"]
    site.pages |= {"/sitemap.xml": sitemap(*urls, lastmod="2026-05-01"), "/a": page(), "/b": page()}
    source = make(sitemaps=[f"{site.url}/sitemap.xml"], trust_lastmod=True)
    before = listing(source).items
    site.server.asked.clear()
    assert listing(source).items == before
    assert site.asked() == ["/sitemap.xml"]
    site.pages["/sitemap.xml"] = sitemap(*urls, lastmod="2025-01-01")  # another one, though an older one
    listing(source)
    assert site.asked("/[ab]$") == ["/a", "/b"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><body>Sign in</body></html>", "no sitemap"),
        (b"<urlset><url><loc>https://e", "cannot be read"),
        (b"no list at all", "neither XML nor a list"),
        (gzip.compress(b" " * 70_000_000), "when unpacked"),
        (b"\x1f\x8b damaged", "packed and damaged"),
        (
            b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>',
            "DTDForbidden",
        ),
        (sitemap(*[f"https://e.org/{n}" for n in range(11)]).encode(), "more than 10 addresses"),
    ],
)
def test_a_sitemap_that_is_none_or_a_bomb_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(SitemapError, match=said):
        list(entries_of(body, limit=10))


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("HTTP://Example.ORG:80", "http://example.org/"),
        ("https://example.org:443/a/../b/./c/", "https://example.org/b/c/"),
        ("https://example.org/a/..", "https://example.org/"),
        ("https://example.org/%7euser/%e4?x=%2f#part", "https://example.org/~user/%E4?x=%2F"),
        ("https://example.org/?utm_source=a&b=2&gclid=x&a=1", "https://example.org/?b=2&a=1"),
        ("https://example.org/a;jsessionid=1A2B?b", "https://example.org/a?b"),
        ("../x y?q=ä", "https://example.org/x%20y?q=%C3%A4"),
        ("//other.org/a", "https://other.org/a"),
        ("?page=2", "https://example.org/dir/page?page=2"),
        ("javascript:alert(1)", None),
        ("ftp://example.org/", None),
        ("https://example.org/" + "a" * 3000, None),
        ("https://[::1", None),
    ],
)
def test_an_address_has_one_form(url: str, form: str | None) -> None:
    assert normal(url, base="https://example.org/dir/page") == form
    if form is not None:
        assert normal(form) == form


def test_private_addresses_are_not_read_unless_the_spec_says_so(site: Site, make: Make) -> None:
    site.pages["/"] = page()
    with pytest.raises(SourceError, match="not on the public internet"):
        listing(make(allow_private=False))
    assert site.server.asked == []


def test_a_text_in_another_encoding_is_handed_on_as_utf8(site: Site, make: Make) -> None:
    headers = {"Content-Type": "text/html; charset=iso-8859-1"}
    site.pages["/"] = Answer(body="<p>Größe".encode("latin-1"), headers=headers)
    source = make()
    item = listing(source).items[f"{site.url}/"]
    assert source.fetch(item, max_bytes=LIMIT).raw.decode("utf-8-sig") == "<p>Größe"
    again = source.fetch(item, max_bytes=LIMIT)
    assert (again.raw.decode("utf-8-sig"), again.version) == ("<p>Größe", item.version)


def test_a_page_that_cannot_be_fetched_says_why(site: Site, make: Make) -> None:
    site.pages |= {"/": page("/a"), "/a": page()}
    source = make()
    item = listing(source).items[f"{site.url}/a"]
    source.fetch(item, max_bytes=LIMIT)
    for answer, said in (
        (Answer(status=403), r"cannot be had \(403\)"),
        (Answer(status=302, headers={"Location": "/b"}), "leads elsewhere now"),
        (Answer(status=500), "it answered 500"),
        (page(head='<meta name="robots" content="none">'), "asks not to be indexed"),
    ):
        site.pages["/a"] = answer
        with pytest.raises(DocumentError, match=said):
            source.fetch(item, max_bytes=LIMIT)
    site.pages |= {"/a": page(), "/robots.txt": "User-agent: *\nDisallow: /a"}
    with pytest.raises(DocumentError, match=r"robots\.txt forbids it"):
        make().fetch(item, max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "name at least one address"),
        ({"start": ("file:///etc/passwd",)}, "is no http or https address"),
        ({"start": ("https://me:secret@example.org/",)}, "is no http or https address"),
    ],
)
def test_a_source_begins_somewhere(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WebSource.model_validate({"type": "web", "acl": ("everyone",), **fields})
