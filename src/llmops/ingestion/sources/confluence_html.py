"""An HTML space export of Confluence as a source: one file a page, with breadcrumbs; `index.html` is none."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from bs4 import BeautifulSoup, Tag

from llmops.errors import DocumentError
from llmops.ingestion.sources.exports import BROKEN, Export
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.specs_api import ConfluenceExportSource

_ID = re.compile(r"(?:^|_)(\d+)\.html?$")
_PAGES = re.compile(r"\.html?$", re.IGNORECASE)


class ConfluenceHtmlExport:
    """Pages of an HTML export, as `Source`. An export has no permissions: `acl` of the spec says who may read."""

    def __init__(self, spec: ConfluenceExportSource, export: Export, page_size: int) -> None:
        self._spec, self._export, self._page_size = spec, export, page_size

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002
        """All pages, in the order of their files."""
        after = str((checkpoint or {}).get("name", ""))
        names = [
            name for name in self._export.names if _PAGES.search(name) and PurePosixPath(name).stem != "index"
        ]
        rest = [name for name in names if name > after]
        for start in range(0, len(rest), self._page_size):
            some = rest[start : start + self._page_size]
            items, problems = [], []
            for name in some:
                try:
                    items.append(self._item(name))
                except DocumentError as error:
                    problems.append(str(error))
            yield Page(items=tuple(items), problems=tuple(problems), checkpoint={"name": some[-1]})
        yield Page()

    def _item(self, name: str) -> Item:
        digest, n_bytes = hashlib.sha256(), 0
        with self._export.open(name) as file:
            try:
                while piece := file.read(1 << 20):
                    digest.update(piece)
                    n_bytes += len(piece)
            except BROKEN as error:
                raise DocumentError(f"{name!r} is damaged ({error}); export it again") from error
        found = _ID.search(name)
        address = self._spec.base_url
        return Item(
            uri=name,
            acl=self._spec.acl,
            version=digest.hexdigest(),
            n_bytes=n_bytes,
            url=f"{address}/pages/viewpage.action?pageId={found[1]}" if address and found else "",
            media_type="text/html",
            metadata={"kind": "page"},
            handle={"name": name},
        )

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """The page's content without the export's own header and footer."""
        raw = self._export.read(str(item.handle["name"]), max_bytes=max_bytes)
        soup = BeautifulSoup(raw, "lxml")
        heading, crumbs = soup.find(id="title-text"), soup.find(id="breadcrumbs")
        above = [one.get_text(" ", strip=True) for one in crumbs.find_all("li")] if isinstance(crumbs, Tag) else []
        title = heading.get_text(" ", strip=True) if isinstance(heading, Tag) else ""
        if above and title.startswith(f"{above[0]} : "):
            title = title.removeprefix(f"{above[0]} : ")
        main = soup.find(id="main-content")
        version = hashlib.sha256(raw).hexdigest()
        if not isinstance(main, Tag):
            return Fetched(raw=raw, version=version, media_type="text/html", title=title)
        body = f"<!DOCTYPE html><html><head><title>{html.escape(title)}</title></head><body>{main}</body></html>"
        return Fetched(
            raw=body.encode(),
            version=version,
            media_type="text/html",
            title=title,
            metadata={"above": above} if above else {},
        )

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: an export does not tell who is in a group."""
        return {}

    def close(self) -> None:
        self._export.close()
