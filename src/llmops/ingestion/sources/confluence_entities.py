"""`entities.xml` of a Confluence space export, read once from front to back; bodies wait in a temporary file.

Objects used: `Space`, `Page`, `BlogPost`, `BodyContent`, `ConfluenceUserImpl`, `Label`, `Labelling`,
`ContentPermissionSet` and `ContentPermission`. Entities and document types are not resolved.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from lxml import etree

from llmops.errors import SourceError
from llmops.ingestion.sources.exports import BROKEN
from llmops.ingestion.sources.principals import group, person

_MAX_DEPTH = 200
GROUP_SOURCE = "confluence"


@dataclass(kw_only=True, slots=True)
class Content:
    """A page or blog post. `start` and `n_bytes` say where its body waits; `parent` is an id, or ""."""

    key: str
    kind: str
    title: str
    version: str
    space: str
    parent: str
    modified: str
    start: int = 0
    n_bytes: int = 0
    digest: str = ""
    labels: list[str] = field(default_factory=list)


class Entities:
    """What an export holds.

    Args:
        file: `entities.xml`, to be read once.
        name: names it in errors.

    Raises:
        SourceError: it is damaged, or has a document type.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.content: dict[str, Content] = {}
        self._names: dict[str, str] = {}
        self._people: dict[str, str | None] = {}
        self._spaces: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._labelled: list[tuple[str, str]] = []
        self._sets: dict[str, tuple[str, str]] = {}
        self._views: dict[str, list[str]] = {}
        self._admitted: dict[str, list[tuple[str, str]]] = {}
        self._bodies = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this object)
        self._where: dict[str, tuple[int, int, str]] = {}
        try:
            self._read(file)
        except (etree.XMLSyntaxError, *BROKEN) as error:
            self.close()
            raise SourceError(f"{name} is damaged ({error}); export the space again") from error
        except SourceError:
            self.close()
            raise
        self._settle()

    def _read(self, file: IO[bytes]) -> None:
        parsing = etree.iterparse(
            file,
            events=("end",),
            tag="object",
            resolve_entities=False,
            no_network=True,
            huge_tree=True,
            load_dtd=False,
        )
        is_checked = False
        for _, node in parsing:
            if not is_checked:
                if node.getroottree().docinfo.doctype:
                    raise SourceError("entities.xml has a document type, which no export has; it was not read")
                is_checked = True
            self._take(node)
            node.clear()
            while node.getprevious() is not None:
                del node.getparent()[0]

    def _take(self, node: etree._Element) -> None:
        key, properties = _id(node), _properties(node)
        match node.get("class"):
            case "Space":
                self._spaces[key] = properties.get("key", key)
            case "Page" | "BlogPost" as kind:
                self._take_content(key, kind, properties)
            case "BodyContent":
                raw = properties.get("body", "").replace("]] >", "]]>").encode()
                start = self._bodies.seek(0, os.SEEK_END)
                self._bodies.write(raw)
                self._where[properties.get("content", "")] = (start, len(raw), hashlib.sha256(raw).hexdigest())
            case "ConfluenceUserImpl":
                account = properties.get("atlassianAccountId")
                names = (properties.get("lowerName"), properties.get("name"))
                self._people[key] = person(properties.get("email"), account, *names, key)
                self._names[properties.get("atlassianAccountId") or key] = properties.get("name", "")
            case "Label":
                self._labels[key] = properties.get("name", "")
            case "Labelling":
                self._labelled.append((properties.get("content", ""), properties.get("label", "")))
            case "ContentPermissionSet":
                self._sets[key] = (properties.get("owningContent", ""), properties.get("type", ""))
            case "ContentPermission":
                who = (properties.get("userSubject", ""), properties.get("groupName", ""))
                self._admitted.setdefault(properties.get("owningSet", ""), []).append(who)

    def _take_content(self, key: str, kind: str, properties: dict[str, str]) -> None:
        if properties.get("contentStatus", "current") != "current" or properties.get("originalVersion"):
            return  # drafts, trash and earlier versions
        self.content[key] = Content(
            key=key,
            kind="pages" if kind == "Page" else "blogposts",
            title=properties.get("title", ""),
            version=properties.get("version", ""),
            space=properties.get("space", ""),
            parent=properties.get("parent", ""),
            modified=properties.get("lastModificationDate", ""),
        )

    def _settle(self) -> None:
        """Objects refer to later ones, so that only now all of them are known."""
        self._bodies.flush()
        for key, one in self.content.items():
            one.start, one.n_bytes, one.digest = self._where.get(key, (0, 0, ""))
            one.space = self._spaces.get(one.space, one.space)
        for key, (content, kind) in self._sets.items():
            if kind.lower() == "view":
                self._views.setdefault(content, []).append(key)
        for key, label in self._labelled:
            if key in self.content and self._labels.get(label):
                self.content[key].labels.append(self._labels[label])

    def body(self, one: Content) -> str:
        """The page's storage format."""
        return os.pread(self._bodies.fileno(), one.n_bytes, one.start).decode("utf-8", "replace")

    def name(self, account: str) -> str:
        """A person's name by account id, or ""."""
        return self._names.get(account, "")

    def restrictions(self, key: str) -> Iterator[tuple[str, ...] | None]:
        """Readers by each restriction from a page upwards; None where one cannot be told, or in a circle."""
        seen: set[str] = set()
        while key:
            if key in seen or len(seen) > _MAX_DEPTH:
                yield None
                return
            seen.add(key)
            for set_key in self._views.get(key, ()):
                yield self._readers(set_key)
            if key not in self.content:
                yield None  # an ancestor that the export leaves out may have restrictions
                return
            key = self.content[key].parent

    def _readers(self, set_key: str) -> tuple[str, ...] | None:
        found: set[str] = set()
        for user, name in self._admitted.get(set_key, ()):
            who = group(GROUP_SOURCE, name) if name else self._people.get(user)
            if who is None:
                return None
            found.add(who)
        return tuple(sorted(found)) if found else None

    def close(self) -> None:
        self._bodies.close()


def _id(node: etree._Element) -> str:
    found = node.find("id")
    return (found.text or "").strip() if found is not None else ""


def _properties(node: etree._Element) -> dict[str, str]:
    """Name to text, or to the id that a reference holds."""
    found: dict[str, str] = {}
    for one in node.iterfind("property"):
        inner = one.find("id")
        text = "".join(inner.itertext()) if inner is not None else "".join(one.itertext())
        found[str(one.get("name"))] = text.strip() if one.get("name") != "body" else text
    return found
