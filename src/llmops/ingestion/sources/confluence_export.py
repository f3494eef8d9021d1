"""A Confluence space export as a source: XML (`entities.xml` in a zip) or HTML (a zip or a folder of pages).

An XML export has the restrictions of pages and no members of groups. Its readers are named literally: a page is
for those who stand in `acl` of the spec (`everyone` admits all) and in every restriction from the page upwards.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmops.errors import ConfigurationError, DocumentError, DocumentGoneError
from llmops.ingestion.sources.confluence_entities import Content, Entities
from llmops.ingestion.sources.confluence_html import ConfluenceHtmlExport
from llmops.ingestion.sources.confluence_storage import html_of_storage
from llmops.ingestion.sources.exports import Export
from llmops.ingestion.sources.principals import readers_of_all
from llmops.ingestion.sources.protocol import Acl, Checkpoint, Fetched, Item, Page, Source
from llmops.ingestion.sources.specs_api import ConfluenceExportSource


def open_confluence_export(spec: ConfluenceExportSource, spec_file: str, *, page_size: int = 500) -> Source:
    """The export of a spec; `path` is seen from the spec's file.

    Raises:
        ConfigurationError: there is none, or it is no export of Confluence.
    """
    export = Export(Path(spec_file).parent / spec.path, max_bytes=spec.max_export_bytes)
    if (name := export.find("entities.xml")) is not None:
        return ConfluenceXmlExport(spec, export, name, page_size)
    if any(one.endswith((".html", ".htm")) for one in export.names):
        return ConfluenceHtmlExport(spec, export, page_size)
    export.close()
    raise ConfigurationError(
        f"{str(export.path)!r} has neither entities.xml nor HTML pages; is it a space export?"
    )


class ConfluenceXmlExport:
    """Pages and blog posts of an XML export, as `Source`."""

    def __init__(self, spec: ConfluenceExportSource, export: Export, name: str, page_size: int) -> None:
        self._spec, self._export, self._name, self._page_size = spec, export, name, page_size
        self._read: Entities | None = None
        self._reading = threading.Lock()

    @property
    def _entities(self) -> Entities:
        with self._reading:
            if self._read is None:
                with self._export.open(self._name) as file:
                    self._read = Entities(file, f"{self._name!r} in {self._export.path.name!r}")
            return self._read

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002
        """All current pages and blog posts, in the order of their ids."""
        after = int((checkpoint or {}).get("id", -1))
        keys = sorted(int(key) for key in self._entities.content if key.isdecimal() and int(key) > after)
        for start in range(0, len(keys), self._page_size):
            some = keys[start : start + self._page_size]
            items = tuple(self._item(self._entities.content[str(key)]) for key in some)
            yield Page(items=items, checkpoint={"id": some[-1]})
        yield Page()

    def _item(self, one: Content) -> Item:
        address = self._spec.base_url
        return Item(
            uri=f"{one.space}/{one.kind}/{one.key}",
            acl=self._readers(one.key),
            version=f"{one.version}-{one.digest[:32]}",
            n_bytes=one.n_bytes,
            title=one.title,
            url=f"{address}/pages/viewpage.action?pageId={one.key}" if address else "",
            media_type="text/html",
            metadata={
                "space": one.space,
                "kind": one.kind.removesuffix("s"),
                **({"labels": sorted(set(one.labels))} if one.labels else {}),
            },
            handle={"id": one.key},
        )

    def _readers(self, key: str) -> Acl:
        levels = [self._spec.acl]
        for level in self._entities.restrictions(key):
            if level is None:
                return None
            levels.append(level)
        return readers_of_all(levels, {})

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A page as HTML."""
        one = self._entities.content.get(str(item.handle["id"]))
        if one is None:
            raise DocumentGoneError(f"{item.uri} is not in the export any more")
        if one.n_bytes > max_bytes:
            raise DocumentError(
                f"{item.uri} is larger than {max_bytes:,} bytes; raise max_file_bytes or leave it out"
            )
        raw = html_of_storage(self._entities.body(one), one.title, self._entities.name).encode()
        return Fetched(
            raw=raw, version=f"{one.version}-{one.digest[:32]}", media_type="text/html", title=one.title
        )

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: a space export does not tell who is in a group."""
        return {}

    def close(self) -> None:
        self._export.close()
        if self._read is not None:
            self._read.close()
