"""A crawl: one address after the other, each to its outcome; what is known is confirmed, not transferred."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from urllib.parse import urlsplit

from llmops.clients.web import Response
from llmops.clients.web.addresses import LinkError, shown
from llmops.clients.web.response import BodyTooLargeError, ServerFailureError
from llmops.errors import SourceError
from llmops.ingestion.sources.rows import digest_of
from llmops.ingestion.sources.specs_data import WebSource
from llmops.ingestion.sources.web_addresses import Scope, normal
from llmops.ingestion.sources.web_manners import Manners, RobotsError
from llmops.ingestion.sources.web_page import Told, text_of, told_by
from llmops.ingestion.sources.web_sitemap import Entry, SitemapError, entries_of
from llmops.ingestion.sources.web_state import CrawlState, Known, Outcome, Waiting, is_fresh

_MAX_HOPS = 10
_MAX_SITEMAPS = 1_000
_SITEMAP_BYTES = 60_000_000
_FAILURES_IN_A_ROW = 5
_PERMANENT = (301, 308)
_REDIRECTS = (*_PERMANENT, 302, 303, 307)
_GONE = (404, 410)


class Crawl:
    """Reads a site's pages in the order in which they were met."""

    def __init__(self, spec: WebSource, manners: Manners, state: CrawlState) -> None:
        self._spec, self._manners, self._state = spec, manners, state
        named = [url for one in (*spec.start, *spec.sitemaps) if (url := self._normal(one)) is not None]
        self._scope = Scope(spec, named)
        self._starts = {url for one in spec.start if (url := self._normal(one)) is not None}
        self._n_failed = 0

    def begin(self) -> list[str]:
        """Queue what the spec names; what of it could not be read.

        Raises:
            SourceError: a sitemap that the spec names cannot be read.
        """
        problems: list[str] = []
        waiting, met = [(url, True) for url in self._spec.sitemaps], set(self._spec.sitemaps)
        while waiting:
            url, is_named = waiting.pop(0)
            try:
                entries = self._sitemap(url)
            except (SourceError, SitemapError) as error:
                if is_named:
                    raise SourceError(f"the sitemap {url} cannot be read: {error}") from error
                problems.append(f"the sitemap {url} cannot be read: {error}")
                continue
            for entry in entries:
                if not entry.is_sitemap:
                    self._add(entry.url, base=url, depth=0, lastmod=entry.modified)
                elif entry.url not in met and len(met) < _MAX_SITEMAPS:
                    met.add(entry.url)
                    waiting.append((entry.url, False))
                elif entry.url not in met:
                    problems.append(f"there are more than {_MAX_SITEMAPS:,} sitemaps")
        for url in self._spec.start:
            self._add(url, depth=0)
        return list(dict.fromkeys(problems))

    def visit(self, waiting: Waiting) -> tuple[Outcome, str]:
        """What becomes of an address, and the address or reason that belongs to it.

        Raises:
            SourceError: the site is away: so many pages in a row could not be had.
        """
        try:
            outcome = self._visit(waiting)
        except BodyTooLargeError:
            self._keep(waiting, None, Told())
            outcome = ("listed" if self._scope.lists(waiting.url) else "read", "")
        except (ServerFailureError, LinkError) as error:
            outcome = ("failed", str(error))
        except RobotsError:
            raise
        except SourceError as error:
            self._n_failed += 1
            if self._n_failed >= _FAILURES_IN_A_ROW:
                raise SourceError(f"{self._n_failed} pages in a row cannot be had; the last: {error}") from error
            return ("failed", str(error))
        self._n_failed = 0
        return outcome

    def _visit(self, waiting: Waiting) -> tuple[Outcome, str]:
        url = waiting.url
        if not self._manners.allows(url):
            return ("forbidden", "")
        known = self._state.page(url)
        if known is not None and not is_fresh(known, days=self._spec.refresh_days):
            known = None
        is_trusted = self._spec.trust_lastmod and waiting.lastmod != ""
        if is_trusted and known is not None and known.lastmod == waiting.lastmod:
            return self._judged(waiting, Told(**known.told))
        response = self._manners.get(url, max_bytes=self._spec.max_file_bytes, headers=_conditions(known))
        if response.status == 304 and known is not None:
            if known.lastmod != waiting.lastmod:
                self._state.keep(url, replace(known, lastmod=waiting.lastmod), None)
            return self._judged(waiting, Told(**known.told))
        if response.status == 200:
            raw = text_of(response)
            told = told_by(raw, response.headers, url=url, name=self._spec.user_agent)
            told = self._resolved(told, url)
            self._keep(waiting, replace(response, body=raw), told)
            return self._judged(waiting, told)
        if response.status in _REDIRECTS:
            return self._redirected(waiting, response)
        if response.status in _GONE:
            self._state.forget(url)
            return ("gone", "")
        return ("failed", f"{response.shown} cannot be had ({response.status}); check who may read it")

    def _redirected(self, waiting: Waiting, response: Response) -> tuple[Outcome, str]:
        target = self._normal(response.headers.get("location", ""), base=waiting.url)
        via = (*waiting.via, waiting.url)
        if target is None:
            return ("failed", f"{response.shown} redirects to no address of a page ({response.status})")
        if target in via or len(via) > _MAX_HOPS:
            return ("failed", f"{response.shown} redirects in a circle or more than {_MAX_HOPS} times")
        if target not in self._scope:
            if response.status in _PERMANENT and waiting.url not in self._starts:
                return ("moved", target)
            return (
                "failed",
                f"{response.shown} leads out of the source, to {urlsplit(target).netloc}; name it in start",
            )
        if not self._state.add(target, depth=waiting.depth, via=via, limit=self._spec.max_pages):
            return ("failed", f"{response.shown} leads to a page that is beyond max_pages")
        return ("moved", target)

    def _judged(self, waiting: Waiting, told: Told) -> tuple[Outcome, str]:
        """What becomes of a page that can be read; its links are queued."""
        crawl = self._spec.crawl
        if crawl is not None and waiting.depth < crawl.max_depth:
            for link in told.links:
                self._add(link, depth=waiting.depth + 1)
        if told.is_hidden:
            return ("hidden", "")
        if not self._scope.lists(waiting.url):
            return ("read", "")
        main = told.canonical
        is_other = main not in ("", waiting.url) and main in self._scope and self._scope.lists(main)
        if not is_other or main in waiting.via:
            return ("listed", "")
        other = self._state.waiting(main)
        if other is not None and other.outcome in ("duplicate", "moved") and other.target == waiting.url:
            return ("listed", "")  # each names the other: the one that was met first stays out
        via = (*waiting.via, waiting.url)
        is_room = self._state.add(main, depth=waiting.depth, via=via, limit=self._spec.max_pages)
        return ("duplicate", main) if is_room else ("listed", "")

    def left_out(self) -> Iterable[str]:
        """Pages that stayed out for canonical ones which turned out to be none."""
        for one in self._state.settled("duplicate"):
            target = self._state.waiting(one.target)
            for _ in range(_MAX_HOPS):
                if target is None or target.outcome not in ("duplicate", "moved"):
                    break
                target = self._state.waiting(target.target)
            if target is None or target.outcome not in ("listed", "failed", "waiting"):
                yield one.url

    def problems(self) -> list[str]:
        """Pages that could not be had, and addresses that redirect to each other and never to a page."""
        problems = [one.target for one in self._state.settled("failed")]
        for one in self._state.settled("moved"):
            met, at = {one.url}, self._state.waiting(one.target)
            while at is not None and at.outcome == "moved" and at.url not in met:
                met.add(at.url)
                at = self._state.waiting(at.target)
            if at is not None and at.url in met:
                problems.append(f"{shown(one.url)} redirects in a circle; mend the site, or exclude it")
        return problems

    def _add(self, link: str, *, depth: int, base: str = "", lastmod: str = "") -> None:
        url = self._normal(link, base=base)
        if url is None or url not in self._scope:
            return
        if self._spec.crawl is None and not self._scope.lists(url):
            return
        self._state.add(url, depth=depth, lastmod=lastmod, limit=self._spec.max_pages)

    def _keep(self, waiting: Waiting, response: Response | None, told: Told) -> None:
        """Remember a page; without a response it is too large to be read."""
        headers = response.headers if response else {}
        known = Known(
            etag=headers.get("etag", ""),
            modified=headers.get("last-modified", ""),
            version=digest_of(response.body) if response else "",
            media_type=response.media_type if response else "",
            n_bytes=len(response.body) if response else None,
            told=asdict(told),
            lastmod=waiting.lastmod,
            read_at=time.time(),
        )
        self._state.keep(waiting.url, known, response.body if response else None)

    def _resolved(self, told: Told, url: str) -> Told:
        """Links in the form in which addresses are kept."""
        base = self._normal(told.base, base=url) or url
        links = (self._normal(link, base=base) for link in told.links)
        canonical = self._normal(told.canonical, base=base) if told.canonical else ""
        kept = dict.fromkeys(link for link in links if link is not None and link in self._scope)
        return Told(links=tuple(kept), canonical=canonical or "", is_hidden=told.is_hidden)

    def _sitemap(self, url: str) -> list[Entry]:
        """The addresses of a sitemap, confirmed when it is known."""
        name = f"sitemap {url}"
        known = self._state.page(name)
        if known is not None and not is_fresh(known, days=self._spec.refresh_days):
            known = None
        response = self._manners.get(url, max_bytes=_SITEMAP_BYTES, headers=_conditions(known), follow=True)
        if response.status == 304 and known is not None:
            return [Entry(**one) for one in known.told]
        if response.status != 200:
            raise SitemapError(f"it answers {response.status}")
        found = list(entries_of(response.body, limit=max(50_000, self._spec.max_pages)))
        headers = response.headers
        kept = Known(
            etag=headers.get("etag", ""),
            modified=headers.get("last-modified", ""),
            version="",
            media_type="",
            n_bytes=None,
            told=[asdict(one) for one in found],
            lastmod="",
            read_at=time.time(),
        )
        self._state.keep(name, kept, None)
        return found

    def _normal(self, url: str, *, base: str = "") -> str | None:
        return normal(url, base=base, keep_query=self._spec.keep_query)


def _conditions(known: Known | None) -> dict[str, str]:
    """Headers that ask for a page only if it has changed. A time counts only where there is no tag."""
    if known is None or (not known.version and not isinstance(known.told, list)):
        return {}
    if known.etag:
        return {"if-none-match": known.etag}
    return {"if-modified-since": known.modified} if known.modified else {}
