"""Exports as the vendors write them: Slack's folder of JSON, Confluence's `entities.xml` and HTML pages."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from tests.ingestion.sources.vendors.slack import channel, user

_PAGES = "com.atlassian.confluence.pages"
_SECURITY = "com.atlassian.confluence.security"
_USER = "com.atlassian.confluence.user"


def write_zip(path: Path, files: Mapping[str, str | bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)


def write_folder(path: Path, files: Mapping[str, str | bytes]) -> None:
    for name, raw in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw.encode() if isinstance(raw, str) else raw)


@dataclass(kw_only=True)
class SlackArchive:
    """`days`: file name such as `general/2024-05-06.json` to messages."""

    channels: list[dict[str, Any]] = field(default_factory=lambda: [channel("C1", "general")])
    groups: list[dict[str, Any]] = field(default_factory=list)
    users: list[dict[str, Any]] = field(default_factory=lambda: [user(name) for name in ("ann", "bob", "cat")])
    days: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def files(self) -> dict[str, str | bytes]:
        found: dict[str, Any] = {
            "channels.json": self.channels,
            "users.json": self.users,
            "integration_logs.json": [],
        }
        if self.groups:
            found["groups.json"] = self.groups
        return {name: json.dumps(value) for name, value in {**found, **self.days}.items()}


@dataclass(kw_only=True)
class Entry:
    """A page of a space export."""

    key: int
    title: str
    body: str
    version: int = 1
    kind: str = "Page"
    parent: int | None = None
    labels: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    status: str = "current"
    original: int | None = None


def entities_xml(entries: list[Entry], people: tuple[str, ...] = ("ann", "bob", "cat")) -> str:
    """`entities.xml`; bodies come before their pages, as they may."""
    out = ['<?xml version="1.0" encoding="UTF-8"?>', '<hibernate-generic datetime="2024-05-06 07:08:09">']
    out.append(
        _object("Space", "com.atlassian.confluence.spaces", "98", _text("key", "ENG"), _text("name", "Eng"))
    )
    for name in people:
        body = _text("name", name) + _text("lowerName", name) + _text("email", f"{name.title()}@Example.org")
        out.append(_object("ConfluenceUserImpl", _USER, f"key-{name}", body, id_name="key"))
    for entry in entries:
        out += _entry(entry)
    return "\n".join([*out, "</hibernate-generic>"])


def _entry(entry: Entry) -> list[str]:
    key = str(entry.key)
    body = entry.body.replace("]]>", "]] >")
    out = [
        _object(
            "BodyContent",
            "com.atlassian.confluence.core",
            f"9{key}",
            f'<property name="body"><![CDATA[{body}]]></property>',
            _reference("content", entry.kind, _PAGES, key),
            '<property name="bodyType">2</property>',
        ),
        _object(
            entry.kind,
            _PAGES,
            key,
            _text("title", entry.title),
            f'<property name="version">{entry.version}</property>',
            _text("contentStatus", entry.status),
            _reference("space", "Space", "com.atlassian.confluence.spaces", "98"),
            _reference("parent", "Page", _PAGES, str(entry.parent)) if entry.parent is not None else "",
            _reference("originalVersion", "Page", _PAGES, str(entry.original))
            if entry.original is not None
            else "",
            '<property name="lastModificationDate">2024-05-06 07:08:09.123</property>',
        ),
    ]
    for i, label in enumerate(entry.labels):
        out.append(_object("Label", "com.atlassian.confluence.labels", f"7{key}{i}", _text("name", label)))
        refers = _reference("content", entry.kind, _PAGES, key)
        refers += _reference("label", "Label", "com.atlassian.confluence.labels", f"7{key}{i}")
        out.append(_object("Labelling", "com.atlassian.confluence.labels", f"6{key}{i}", refers))
    if entry.users or entry.groups:
        owner = _reference("owningContent", entry.kind, _PAGES, key)
        out.append(_object("ContentPermissionSet", _SECURITY, f"5{key}", _text("type", "View"), owner))
    owned = _reference("owningSet", "ContentPermissionSet", _SECURITY, f"5{key}") + _text("type", "View")
    for i, name in enumerate(entry.users):
        who = _reference("userSubject", "ConfluenceUserImpl", _USER, f"key-{name}", id_name="key")
        out.append(_object("ContentPermission", _SECURITY, f"4{key}{i}", owned, who))
    for i, name in enumerate(entry.groups):
        out.append(_object("ContentPermission", _SECURITY, f"3{key}{i}", owned, _text("groupName", name)))
    return out


def _object(kind: str, package: str, key: str, *inner: str, id_name: str = "id") -> str:
    return f'<object class="{kind}" package="{package}"><id name="{id_name}">{key}</id>{"".join(inner)}</object>'


def _text(name: str, value: str) -> str:
    return f'<property name="{name}"><![CDATA[{value}]]></property>'


def _reference(name: str, kind: str, package: str, key: str, *, id_name: str = "id") -> str:
    inner = f'<id name="{id_name}"><![CDATA[{key}]]></id>' if id_name == "key" else f'<id name="id">{key}</id>'
    return f'<property name="{name}" class="{kind}" package="{package}">{inner}</property>'


def html_page(title: str, body: str, above: tuple[str, ...] = ("Eng",)) -> str:
    """One page of an HTML space export."""
    crumbs = "".join(f'<li><span><a href="index.html">{escape(one)}</a></span></li>' for one in above)
    return f"""<!DOCTYPE html><html><head><title>{escape(above[0])} : {escape(title)}</title></head>
<body class="theme-default"><div id="page"><div id="main" class="aui-page-panel"><div id="main-header">
<div id="breadcrumb-section"><ol id="breadcrumbs">{crumbs}</ol></div>
<h1 id="title-heading" class="pagetitle"><span id="title-text"> {escape(above[0])} : {escape(title)} </span></h1>
</div>
<div id="content" class="view"><div class="page-metadata">Created by <span class='author'> Ann</span></div>
<div id="main-content" class="wiki-content group">{body}</div></div></div>
<div id="footer"><p>Document generated by Confluence on May 06, 2024</p></div></div></body></html>"""
