"""A web site as a source: the pages of its sitemaps, those its links lead to, or both."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from llmops.clients.web import Patience, WebClient
from llmops.clients.web.addresses import LinkError
from llmops.clients.web.response import BodyTooLargeError, ServerFailureError
from llmops.errors import DocumentError, DocumentGoneError
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.rows import digest_of, too_large
from llmops.ingestion.sources.specs_data import WebSource
from llmops.ingestion.sources.web_crawl import Crawl
from llmops.ingestion.sources.web_manners import Manners
from llmops.ingestion.sources.web_page import text_of, told_by
from llmops.ingestion.sources.web_state import CrawlState, Waiting

_BATCH = 50


class WebSite:
    """Pages of a site.

    A listing is the crawl itself. It asks for each page on the condition that it has changed: without changes, a
    server that has tags or times transfers nothing. What was transferred is kept until `fetch` takes it, once. How
    far the crawl has come stands in a file, so that it goes on after a break.

    A page that fails, and the limit of pages, are problems: nothing is then removed. They are told with the last
    page; a crawl that goes on after a break tries failed pages again.

    Args:
        state: a folder of this source's own; removable, all pages are then read anew.

    Raises:
        MissingExtraError: a package for the web is not installed.
    """

    def __init__(self, spec: WebSource, state: Path, *, patience: Patience | None = None) -> None:
        self._spec = spec
        contact = f" (+{spec.contact})" if spec.contact else ""
        headers = {
            "user-agent": f"{spec.user_agent}{contact}",
            "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
        }
        client = WebClient(headers=headers, allow_private=spec.allow_private, patience=patience)
        self._manners = Manners(client, name=spec.user_agent, delay_s=spec.delay_s)
        names = "\n".join((*spec.start, *spec.sitemaps))
        name = hashlib.sha256(names.encode()).hexdigest()[:16]
        self._state = CrawlState(state / f"web-{name}.sqlite3")

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002 (a site does not say what changed)
        """All pages; after a break, those that the crawl had not come to.

        Raises:
            SourceError: the site or its robots.txt is away, or a sitemap cannot be read.
        """
        state, crawl = self._state, Crawl(self._spec, self._manners, self._state)
        if checkpoint and state.about("crawl") == checkpoint["crawl"]:
            name, batch = str(checkpoint["crawl"]), int(checkpoint["batch"])
            if late := state.rebatch(batch):
                batch += 1
                yield self._page(late, name, batch)
        else:
            name, batch = uuid.uuid4().hex, 0
            state.begin(name)
            yield Page(problems=tuple(crawl.begin()), checkpoint={"crawl": name, "batch": batch})
        settled: list[Waiting] = []
        while (waiting := state.next()) is not None:
            outcome, target = crawl.visit(waiting)
            state.settle(waiting.url, outcome, target, batch + 1)
            settled.append(replace(waiting, outcome=outcome, target=target))
            if len(settled) == _BATCH:
                batch += 1
                yield self._page(settled, name, batch)
                settled = []
        yield self._last_page(crawl, settled, name, batch + 1)

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A page as the crawl read it; asked for again when that was taken before.

        Raises:
            DocumentError: too large, forbidden, or it leads elsewhere now.
            DocumentGoneError: it is not there any more, or asks not to be indexed.
            SourceError: the site is away.
        """
        url = str(item.handle["url"])
        raw = self._state.take_body(url, item.version) if item.version else None
        if raw is not None:
            if len(raw) > max_bytes:
                raise DocumentError(too_large(len(raw), max_bytes))
            return Fetched(raw=raw, version=item.version)
        if not self._manners.allows(url):
            raise DocumentError("may not be read any more: the site's robots.txt forbids it")
        try:
            response = self._manners.get(url, max_bytes=max_bytes)
        except (BodyTooLargeError, ServerFailureError, LinkError) as error:
            raise DocumentError(str(error)) from error
        if response.status in (404, 410):
            raise DocumentGoneError(f"{response.shown} is not there any more ({response.status})")
        if 300 <= response.status < 400:
            raise DocumentError(
                f"{response.shown} leads elsewhere now ({response.status}); the next sync follows it"
            )
        if response.status != 200:
            raise DocumentError(f"{response.shown} cannot be had ({response.status}); check who may read it")
        raw = text_of(response)
        if told_by(raw, response.headers, url=url, name=self._spec.user_agent).is_hidden:
            raise DocumentGoneError("asks not to be indexed (noindex)")
        return Fetched(raw=raw, version=digest_of(raw), media_type=response.media_type)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: a site knows nobody."""
        return {}

    def close(self) -> None:
        """End pauses and connections."""
        self._manners.close()
        self._state.close()

    def _page(self, settled: list[Waiting], crawl: str, batch: int) -> Page:
        items = tuple(self._item(one.url) for one in settled if one.outcome == "listed")
        return Page(items=items, checkpoint={"crawl": crawl, "batch": batch})

    def _last_page(self, crawl: Crawl, settled: list[Waiting], name: str, batch: int) -> Page:
        """With what can be said only at the end."""
        for url in crawl.left_out():
            self._state.settle(url, "listed", "", batch)
            if (one := self._state.waiting(url)) is not None:
                settled = [*(other for other in settled if other.url != url), one]
        page = replace(self._page(settled, name, batch), problems=tuple(crawl.problems()))
        if not self._state.about("is_full"):
            self._state.forget_others()
            return page
        limit = f"there are more than {self._spec.max_pages:,} pages: raise source.max_pages, or exclude some"
        return replace(page, problems=(*page.problems, limit))

    def _item(self, url: str) -> Item:
        known = self._state.page(url)
        return Item(
            uri=url,
            url=url,
            version=known.version if known else "",
            acl=tuple(sorted(self._spec.acl)),
            n_bytes=known.n_bytes if known else None,
            media_type=known.media_type if known else "",
            metadata=self._spec.metadata,
            handle={"url": url},
        )
